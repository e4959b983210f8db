"""Istio's own analysis: the messages of `istioctl analyze` that matter where there are no sidecars.

Left out is what only sidecars, several clusters, webhooks or ingress gateways can have.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.mesh.analysis.finding import Analyser
from ambientlab.mesh.analysis.istio import (
    codes,
    conditions,
    deprecation,
    gateways,
    metadata,
    policies,
    schema,
    services,
    virtualservices,
    workloads,
)

__all__ = ["ANALYSERS", "CODES", "NAMED", "Named"]


@dataclass(frozen=True, slots=True)
class Named:
    """An analyser under its name in Istio, by which `--analyzer` chooses it. `about_workloads` are those that make no
    sense without the pods, Services and Namespaces of a cluster."""

    name: str
    description: str
    analyser: Analyser
    about_workloads: bool = False


NAMED = (
    Named(
        "annotations.K8sAnalyzer",
        "Checks for misplaced and invalid Istio annotations in Kubernetes resources",
        metadata.analyse,
        True,
    ),
    Named("applicationUID.Analyzer", "Checks invalid application UID", workloads.users, True),
    Named(
        "auth.AuthorizationPoliciesAnalyzer",
        "Checks the validity of authorization policies",
        policies.authorization,
        True,
    ),
    Named(
        "authn.BlockedCIDRsAnalyzer",
        "Checks that BLOCKED_CIDRS_IN_JWKS_URIS is configured on istiod when RequestAuthentication resources exist",
        workloads.key_sets,
    ),
    Named(
        "conditions.ConditionAnalyzer", "Checks for negative status conditions on resources", conditions.analyse, True
    ),
    Named("deprecation.DeprecationAnalyzer", "Checks for deprecated Istio types and fields", deprecation.analyse),
    Named(
        "destinationrule.CaCertificateAnalyzer",
        "Checks if caCertificates is set when TLS mode is SIMPLE/MUTUAL",
        services.certificates,
    ),
    Named(
        "destinationrule.SubsetSelectPodAnalyzer",
        "Checks if pods are selected by subsets in destination rules.",
        services.subsets,
        True,
    ),
    Named(
        "gateway.IngressGatewayPortAnalyzer",
        "Checks a gateway's ports against the gateway's Kubernetes service ports",
        gateways.analyse,
        True,
    ),
    Named("injection.Analyzer", "Checks conditions related to Istio sidecar injection", workloads.injection, True),
    Named(
        "k8sgateway.SelectorAnalyzer",
        "Check that selectors are effective for Kubernetes gateway",
        policies.selectors,
        True,
    ),
    *(
        Named(
            f"schema.ValidationAnalyzer.{resource.kind}",
            f"Runs schema validation as an analyzer on '{resource.kind}' resources",
            schema.of(resource),
        )
        for resource in schema.RESOURCES
    ),
    Named("service.PortNameAnalyzer", "Checks the port names associated with each service", services.port_names, True),
    Named("serviceentry.Analyzer", "Checks the validity of ServiceEntry", services.addresses),
    Named(
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        "Checks if multiple ServiceEntries define the same host and port with different protocols",
        services.protocols,
    ),
    Named(
        "sidecar.SelectorAnalyzer",
        "Validates that sidecars that define a workload selector match at least one pod, and that there aren't multiple"
        " sidecar resources that select overlapping pods",
        policies.sidecars,
        True,
    ),
    Named(
        "telemetry.DefaultSelectorAnalyzer",
        "Validates that there aren't multiple telemetry resources that have no selector",
        policies.default_telemetries,
    ),
    Named("telemetry.ProviderAnalyzer", "Validates that providers in telemetry resource is valid", policies.providers),
    Named(
        "telemetry.SelectorAnalyzer",
        "Validates that telemetries that define a selector match at least one pod, and that there aren't multiple"
        " telemetry resources that select overlapping pods",
        policies.telemetries,
        True,
    ),
    Named(
        "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        "Checks if multiple virtual services associated with the mesh gateway have conflicting hosts",
        virtualservices.conflicts,
    ),
    Named(
        "virtualservice.DestinationHostAnalyzer",
        "Checks the destination hosts associated with each virtual service",
        virtualservices.hosts,
        True,
    ),
    Named(
        "virtualservice.DestinationRuleAnalyzer",
        "Checks the destination rules associated with each virtual service",
        virtualservices.subsets,
    ),
    Named(
        "virtualservice.GatewayAnalyzer",
        "Checks the gateways associated with each virtual service",
        virtualservices.gateways,
    ),
)
ANALYSERS: tuple[Analyser, ...] = tuple(one.analyser for one in NAMED)
CODES = codes.REGISTRY.codes
