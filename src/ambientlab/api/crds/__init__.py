"""The CustomResourceDefinitions the server ships, as objects.

Fields, bounds and rules are those of Gateway API v1.5 (standard channel) and Istio 1.31; descriptions are our own.
"""

from __future__ import annotations

from ambientlab.api.crds import (
    destinationrule,
    gateway,
    gatewayclass,
    httproute,
    referencegrant,
    virtualservice,
)
from ambientlab.api.objects import Object


def shipped() -> tuple[Object, ...]:
    """GatewayClass, Gateway, HTTPRoute, ReferenceGrant, VirtualService and DestinationRule, without status."""
    return (
        gatewayclass.crd(),
        gateway.crd(),
        httproute.crd(),
        referencegrant.crd(),
        virtualservice.crd(),
        destinationrule.crd(),
    )
