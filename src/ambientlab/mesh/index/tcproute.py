"""TCPRoute and TLSRoute, as Istio reads them (pilot/pkg/config/kube/gateway: conversion.go, route_collections.go)."""

from __future__ import annotations

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.drafts import Reading, RouteSet, TcpDraft
from ambientlab.mesh.index.gatewayroute import Parent, RouteReader, Surroundings
from ambientlab.mesh.index.values import host_matches
from ambientlab.mesh.ir import Key, WeightedDestination


class _TCPRoute(RouteReader):
    kind = "TCPRoute"

    def sets(self, parents: list[Parent]) -> tuple[RouteSet, ...]:
        rules = [
            (f"spec.rules[{i}]", self._shares(f"spec.rules[{i}]", rule.get("backendRefs") or []))
            for i, rule in enumerate(self.spec.get("rules") or [])
        ]
        return tuple(self._set(parent, rules) for parent in parents)

    def _shares(self, field: str, refs: list[Object]) -> tuple[WeightedDestination, ...]:
        shares = self.destinations(field, refs)
        if not shares:
            message = "all weights are 0: connections are closed"
            self.notes.append(Diagnostic(self.ref, "NoDestination", message, field=field))
        return shares

    def _set(self, parent: Parent, rules: list[tuple[str, tuple[WeightedDestination, ...]]]) -> RouteSet:
        matches = ((parent.port, self._server_names(parent.host)),)
        drafts = tuple(TcpDraft(field, shares, matches) for field, shares in rules)
        empty: tuple[TcpDraft, ...] = ()
        tls, tcp = (drafts, empty) if self.kind == "TLSRoute" else (empty, drafts)
        return RouteSet(
            self.ref, self.created, (parent.host,), (), True, parent.port, (), parent.field, False, tls, tcp
        )

    def _server_names(self, host: str) -> tuple[str, ...] | None:
        return None


class _TLSRoute(_TCPRoute):
    kind = "TLSRoute"

    def _server_names(self, host: str) -> tuple[str, ...]:
        """Of several, those that go with the parent (augmentTLSPortMatch, compatibleRoutesForHost)."""
        names = tuple(self.spec.get("hostnames") or ())
        if len(names) > 1:
            return tuple(name for name in names if host_matches(name, host))
        return names or (host,)


def read_tcp(key: Key, obj: Object, around: Surroundings) -> Reading:
    return _TCPRoute(key, obj, around).read()


def read_tls(key: Key, obj: Object, around: Surroundings) -> Reading:
    return _TLSRoute(key, obj, around).read()
