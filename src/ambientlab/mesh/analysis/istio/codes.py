"""Istio's messages as far as they concern a mesh like this: codes, levels and wording.

They are those of pkg/config/analysis/msg of 1.31, to the letter: people search for them, and scripts look for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.mesh.analysis import cures
from ambientlab.mesh.analysis.finding import Code, Finding, Registry, Severity
from ambientlab.mesh.explain import Remedy
from ambientlab.mesh.index import ObjectRef

REGISTRY = Registry("IST", lambda id_: f"https://istio.io/latest/docs/reference/config/analysis/{id_.lower()}/")

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True)
class Message:
    code: Code
    template: str

    def __call__(self, ref: ObjectRef, *values: object, field: str = "", remedies: tuple[Remedy, ...] = ()) -> Finding:
        return Finding(self.code, ref, self.template.format(*values), field, remedies or (cures.edit(ref, field),))


def listed(values: list[str] | list[int]) -> str:
    """As Go writes a slice."""
    return f"[{' '.join(map(str, values))}]"


def _add(number: int, name: str, severity: Severity, template: str, title: str, why: str) -> Message:
    return Message(REGISTRY.add(number, name, severity, title, why), template)


DEPRECATED = _add(
    2, "Deprecated", _WARNING, "Deprecated: {}",
    "A field that is going away", "A later Istio does without it, and another field says the same.",
)  # fmt: skip
NOT_FOUND = _add(
    101, "ReferencedResourceNotFound", _ERROR, 'Referenced {} not found: "{}"',
    "Something is named that does not exist", "What is named is looked up by that name, and nothing has it.",
)  # fmt: skip
NOT_INJECTED = _add(
    102, "NamespaceNotInjected", _INFO,
    "The namespace is not enabled for Istio injection. Run 'kubectl label namespace {0} istio-injection=enabled' to"
    " enable it, or 'kubectl label namespace {0} istio-injection=disabled' to explicitly mark it as not needing"
    " injection.",
    "A namespace outside the mesh",
    "Neither sidecars nor ambient mode are asked for. In ambient mode the label istio.io/dataplane-mode=ambient is"
    " what brings a namespace into the mesh.",
)  # fmt: skip
MISSING_PROXY = _add(
    103, "PodMissingProxy", _WARNING,
    "The pod {} is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.",
    "A pod without the sidecar that its namespace asks for",
    "The label istio-injection=enabled asks for sidecars. A pod without one is not in the mesh, and with that label a"
    " namespace is not in ambient mode.",
)  # fmt: skip
SCHEMA_ERROR = _add(
    106, "SchemaValidationError", _ERROR, "Schema validation error: {}",
    "An object that the API refuses", "It is not stored, and so has no effect at all.",
)  # fmt: skip
MISPLACED_ANNOTATION = _add(
    107, "MisplacedAnnotation", _WARNING, "Misplaced annotation: {} can only be applied to {}",
    "An annotation on the wrong kind of object", "Istio reads it from other kinds only.",
)  # fmt: skip
UNKNOWN_ANNOTATION = _add(
    108, "UnknownAnnotation", _WARNING, "Unknown annotation: {}",
    "An annotation that Istio does not know", "Nothing reads it. Often it is misspelt, or a label.",
)  # fmt: skip
CONFLICTING_HOSTS = _add(
    109, "ConflictingMeshGatewayVirtualServiceHosts", _ERROR,
    "The VirtualServices {} associated with mesh gateway define the same host {} which can lead to undefined behavior."
    " This can be fixed by merging the conflicting VirtualServices into a single resource.",
    "Several VirtualServices for one host", "The oldest decides, and what the others say has no effect.",
)  # fmt: skip
CONFLICTING_SIDECARS = _add(
    110, "ConflictingSidecarWorkloadSelectors", _ERROR,
    'The Sidecars {} in namespace "{}" select the same workload pod "{}", which can lead to undefined behavior.',
    "Several Sidecars for one pod", "One of them is taken.",
)  # fmt: skip
SEVERAL_SIDECARS = _add(
    111, "MultipleSidecarsWithoutWorkloadSelectors", _ERROR,
    'The Sidecars {} in namespace "{}" have no workload selector, which can lead to undefined behavior.',
    "Several Sidecars for one namespace", "One of them is taken.",
)  # fmt: skip
PORT_REQUIRED = _add(
    112, "VirtualServiceDestinationPortSelectorRequired", _ERROR,
    'This VirtualService routes to a service "{}" that exposes multiple ports {}. Specifying a port in the destination'
    " is required to disambiguate.",
    "A destination without a port", "Of several ports none is the obvious one.",
)  # fmt: skip
PORT_NAME = _add(
    118, "PortNameIsNotUnderNamingConvention", _INFO,
    "Port name {} (port: {}, targetPort: {}) doesn't follow the naming convention of Istio port.",
    "A port whose name does not say what it carries",
    "A name begins with a protocol, http-web, or appProtocol says it. Otherwise Istio has to find out.",
)  # fmt: skip
SEVERAL_LABELS = _add(
    123, "NamespaceMultipleInjectionLabels", _WARNING,
    "The namespace has more than one type of injection labels {}, which may lead to undefined behavior. Make sure only"
    " one injection label exists.",
    "Labels that contradict each other", "A namespace has sidecars or is in ambient mode. Sidecars win.",
)  # fmt: skip
NO_WORKLOADS = _add(
    127, "NoMatchingWorkloadsFound", _WARNING, "No matching workloads for this resource with the following labels: {}",
    "A policy that is for nobody", "No pod in the mesh has all the labels that the selector asks for.",
)  # fmt: skip
UNVERIFIED = _add(
    128, "NoServerCertificateVerificationDestinationLevel", _WARNING,
    "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server"
    " identity for host: {}",
    "TLS to somebody whose certificate nobody checks", "Without caCertificates any certificate is taken.",
)  # fmt: skip
UNVERIFIED_PORT = _add(
    129, "NoServerCertificateVerificationPortLevel", _WARNING,
    "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server"
    " identity for host: {} at port {}",
    "TLS to a port whose certificate nobody checks", "Without caCertificates any certificate is taken.",
)  # fmt: skip
UNREACHABLE_RULE = _add(
    130, "VirtualServiceUnreachableRule", _WARNING, "VirtualService rule {} not used ({}).",
    "A rule that no request comes to", "Rules are tried in order, and those before it take everything.",
)  # fmt: skip
INEFFECTIVE_MATCH = _add(
    131, "VirtualServiceIneffectiveMatch", _INFO,
    "VirtualService rule {} match {} is not used (duplicate/overlapping match in rule {}).",
    "A match that no request comes to", "Rules are tried in order, and one before it takes all that it would.",
)  # fmt: skip
HOST_NOT_IN_GATEWAY = _add(
    132, "VirtualServiceHostNotFoundInGateway", _WARNING,
    "one or more host {} defined in VirtualService {} not found in Gateway {}.",
    "A host that the gateway does not have", "A gateway takes requests for the hosts of its servers only.",
)  # fmt: skip
SCHEMA_WARNING = _add(
    133, "SchemaWarning", _WARNING, "Schema validation warning: {}",
    "An object that the API warns of", "Istio's webhook lets it pass, and kubectl shows what it says.",
)  # fmt: skip
ADDRESSES_REQUIRED = _add(
    134, "ServiceEntryAddressesRequired", _WARNING, "ServiceEntry addresses are required for this protocol.",
    "A TCP ServiceEntry without an address", "TCP names no host: what is not told apart by address cannot be at all.",
)  # fmt: skip
DEPRECATED_ANNOTATION = _add(
    135, "DeprecatedAnnotation", _INFO,
    'Annotation "{}" has been deprecated{} and may not work in future Istio versions.',
    "An annotation that is going away", "Something else does what it did.",
)  # fmt: skip
SUBSET_NOT_AT_INGRESS = _add(
    140, "IngressRouteRulesNotAffected", _WARNING,
    "Subset in virtual service {} has no effect on ingress gateway {} requests",
    "Subsets that requests from outside pass by",
    "A gateway's VirtualService decides for its requests; what the mesh's says of the host has no part in it.",
)  # fmt: skip
RESERVED_USER = _add(
    144, "InvalidApplicationUID", _WARNING, "User ID (UID) 1337 is reserved for the sidecar proxy.",
    "The proxy's user", "A sidecar's own traffic is told apart by this user. In ambient mode it is of no account.",
)  # fmt: skip
EXTERNAL_NAME = _add(
    150, "ExternalNameServiceTypeInvalidPortName", _WARNING,
    "Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports"
    " serving TCP protocol from being forwarded correctly",
    "A port of an ExternalName service that says TCP", "TCP has no host by which it could be forwarded.",
)  # fmt: skip
NO_PROVIDERS = _add(
    157, "InvalidTelemetryProvider", _WARNING,
    'The Telemetry {} in namespace "{}" with empty providers will be ignored.',
    "Access logs of no provider", "Without providers, and none by default in meshConfig, nothing is logged.",
)  # fmt: skip
CONFLICTING_TELEMETRIES = _add(
    159, "ConflictingTelemetryWorkloadSelectors", _ERROR,
    'The Telemetries {} in namespace "{}" select the same workload pod "{}", which can lead to undefined behavior.',
    "Several Telemetries for one pod", "The oldest is taken.",
)  # fmt: skip
SEVERAL_TELEMETRIES = _add(
    160, "MultipleTelemetriesWithoutWorkloadSelectors", _ERROR,
    'The Telemetries {} in namespace "{}" have no workload selector, which can lead to undefined behavior.',
    "Several Telemetries for one namespace", "The oldest is taken.",
)  # fmt: skip
PORT_NOT_ON_SERVICE = _add(
    162, "GatewayPortNotDefinedOnService", _WARNING,
    "The gateway is listening on a target port (port {}) that is not defined in the Service associated with its"
    " workload instances (Pod selector {}). If you need to access the gateway port through the gateway Service, it"
    " will not be available.",
    "A gateway's port that its Service lacks", "Nobody outside reaches it.",
)  # fmt: skip
INTERNAL_GATEWAY = _add(
    165, "ReferencedInternalGateway", _WARNING,
    "Gateway reference in VirtualService {} is to an implementation-generated internal Gateway: {}.",
    "A gateway that Istio made for itself", "Its name may change, and it is not for VirtualServices.",
)  # fmt: skip
INEFFECTIVE_SELECTOR = _add(
    166, "IneffectiveSelector", _WARNING,
    "Ineffective selector on Kubernetes Gateway {}. Use the TargetRef field instead.",
    "A selector that selects a waypoint or a gateway",
    "Gateways of the Gateway API, waypoints among them, take policies by targetRefs only.",
)  # fmt: skip
INEFFECTIVE_POLICY = _add(
    167, "IneffectivePolicy", _WARNING, "The policy has no impact: {}.",
    "A policy that ambient mode ignores", "Sidecars would follow it; ztunnel and waypoints do not.",
)  # fmt: skip
NEGATIVE_CONDITION = _add(
    171, "NegativeConditionStatus", _WARNING,
    "A condition with a negative status is present: type={}, reason={}, message={}.",
    "Istio says of the object that something is wrong", "The reason and the message say what.",
)  # fmt: skip
EMPTY_SUBSET = _add(
    173, "DestinationRuleSubsetNotSelectPods", _ERROR,
    "The Subset {} defined in the DestinationRule does not select any pods. Which may lead to 503 UH"
    " (NoHealthyUpstream).",
    "A subset without pods", "Requests that are sent there fail.",
)  # fmt: skip
UNKNOWN_HOST = _add(
    174, "UnknownDestinationRuleHost", _WARNING,
    "The host {} defined in the DestinationRule does not match any services in the mesh.",
    "A DestinationRule for no service", "It has no effect until there is a service of that name.",
)  # fmt: skip
KEYS_FROM_ANYWHERE = _add(
    175, "JwksUriFetchUnrestricted", _WARNING,
    "BLOCKED_CIDRS_IN_JWKS_URIS is not configured but {} RequestAuthentication resource(s) exist ({}). Consider"
    " configuring it to restrict JWKS URI fetches to trusted networks.",
    "istiod fetches keys from wherever it is told", "Who may write a RequestAuthentication has istiod ask any address.",
)  # fmt: skip
CONFLICTING_PROTOCOLS = _add(
    177, "ConflictingServiceEntryProtocol", _WARNING,
    'Multiple ServiceEntries ({}) define the same host "{}" and port {} with conflicting protocols ({}).',
    "ServiceEntries that disagree about a protocol", "One of them is taken.",
)  # fmt: skip
