"""The CustomResourceDefinitions the server ships, as objects.

Fields, bounds and rules are those of Gateway API v1.5 (experimental channel) and Istio 1.31; descriptions are our own.
"""

from __future__ import annotations

from ambientlab.api.crds import (
    authorizationpolicy,
    backendtlspolicy,
    destinationrule,
    gateway,
    gatewayclass,
    grpcroute,
    httproute,
    peerauthentication,
    referencegrant,
    requestauthentication,
    serviceentry,
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
    )
