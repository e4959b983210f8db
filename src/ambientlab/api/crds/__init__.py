"""The CustomResourceDefinitions the server ships, as objects.

Fields, bounds and rules are those of Gateway API v1.6 (experimental channel) and Istio 1.31; descriptions are our own.
"""

from __future__ import annotations

from ambientlab.api.crds import (
    authorizationpolicy,
    backendtlspolicy,
    destinationrule,
    envoyfilter,
    extensions,
    gateway,
    gatewayclass,
    grpcroute,
    httproute,
    istiogateway,
    peerauthentication,
    proxyconfig,
    referencegrant,
    requestauthentication,
    serviceentry,
    sidecar,
    tcproute,
    telemetry,
    virtualservice,
    workloadentry,
)
from ambientlab.api.objects import Object


def shipped() -> tuple[Object, ...]:
    """In the order they appear in discovery, without status."""
    return (
        gatewayclass.crd(),
        gateway.crd(),
        httproute.crd(),
        grpcroute.crd(),
        tcproute.tcp(),
        tcproute.tls(),
        referencegrant.crd(),
        backendtlspolicy.crd(),
        virtualservice.crd(),
        destinationrule.crd(),
        serviceentry.crd(),
        workloadentry.crd(),
        authorizationpolicy.crd(),
        requestauthentication.crd(),
        peerauthentication.crd(),
        telemetry.crd(),
        envoyfilter.crd(),
        sidecar.crd(),
        proxyconfig.crd(),
        istiogateway.crd(),
        extensions.wasm_plugin(),
        extensions.traffic_extension(),
    )
