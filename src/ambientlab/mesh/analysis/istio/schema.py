"""What Istio's webhook warns of, found of what is stored too (pkg/config/analysis/analyzers/schema).

What it refuses is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    DESTINATIONRULE,
    ENVOYFILTER,
    PEERAUTHENTICATION,
    REQUESTAUTHENTICATION,
    SERVICEENTRY,
    SIDECAR,
    TELEMETRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)
from ambientlab.api.resources import Resource
from ambientlab.api.validation.istio.unreachable import UnreachableRule, unused
from ambientlab.api.validation.semantic import webhook_warnings
from ambientlab.mesh.analysis.finding import Analyser, Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import Item, items
from ambientlab.mesh.index import MeshIndex

RESOURCES = (
    AUTHORIZATIONPOLICY, DESTINATIONRULE, ENVOYFILTER, PEERAUTHENTICATION, REQUESTAUTHENTICATION, SERVICEENTRY, SIDECAR,
    TELEMETRY, VIRTUALSERVICE, WORKLOADENTRY,
)  # fmt: skip
"""The kinds that it warns of."""


def of(resource: Resource) -> Analyser:
    """Istio has an analyser for each kind."""

    def analyse(index: MeshIndex) -> Iterator[Finding]:
        for item in items(index, resource):
            yield from _warnings(resource, item)

    return analyse


def _warnings(resource: Resource, item: Item) -> Iterator[Finding]:
    """Rules and matches of VirtualServices that others before them leave nothing to have codes of their own."""
    idle = list(unused(item.spec)) if resource is VIRTUALSERVICE else []
    for found in idle:
        if isinstance(found, UnreachableRule):
            yield codes.UNREACHABLE_RULE(item.ref, found.rule, found.reason, field="spec")
        else:
            yield codes.INEFFECTIVE_MATCH(item.ref, found.rule, found.match, found.former, field="spec")
    told = {str(found) for found in idle}
    for text in webhook_warnings(resource, item.obj):
        if text not in told:
            yield codes.SCHEMA_WARNING(item.ref, text, field="spec")
