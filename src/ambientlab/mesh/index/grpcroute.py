"""GRPCRoute's rules, as Istio reads them (pilot/pkg/config/kube/gateway/conversion.go, convertGRPCRoute)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.drafts import Draft, Reading
from ambientlab.mesh.index.gatewayroute import RequestRouteReader, RouteError, Surroundings, modifier, named_matches
from ambientlab.mesh.ir import (
    Action,
    DirectResponse,
    Forward,
    HeaderChange,
    Key,
    Match,
    Mirror,
    Rewrite,
    Route,
    StringMatch,
)


class _GRPCRoute(RequestRouteReader):
    kind = "GRPCRoute"

    def rule(self, field: str, name: str, rule: Mapping[str, Any]) -> list[Draft]:
        request = response = HeaderChange()
        authority = ""
        mirrors: list[Mirror] = []
        for i, item in enumerate(rule.get("filters") or []):
            match item["type"]:
                case "RequestHeaderModifier":
                    request, authority = modifier(item.get("requestHeaderModifier"))
                case "ResponseHeaderModifier":
                    response, _ = modifier(item.get("responseHeaderModifier"))
                case "RequestMirror":
                    # unlike in an HTTPRoute, one that cannot be followed voids the route
                    mirrors.append(self.mirror(f"{field}.filters[{i}]", item["requestMirror"]))
                case other:
                    raise RouteError("InvalidFilter", f'unsupported filter type "{other}"', hard=True)
        destinations = self.destinations(field, rule.get("backendRefs") or [])
        action: Action = DirectResponse(500)
        if destinations:
            action = Forward(
                destinations,
                Rewrite(authority=authority) if authority else None,
                mirrors=tuple(mirror for mirror in mirrors if mirror.parts_per_million),
                not_found_status=500,
            )
        route = Route(name, (self.kind, self.key), Match(), action, None, request, response)
        matches = [_match(match) for match in rule.get("matches") or []] or [Match()]
        return [Draft(replace(route, match=match)) for match in matches]


def read(key: Key, obj: Object, around: Surroundings) -> Reading:
    return _GRPCRoute(key, obj, around).read()


def _match(match: Mapping[str, Any]) -> Match:
    headers = named_matches(match.get("headers"), lower=True)
    return Match(path=_path(match["method"]) if match.get("method") else None, headers=headers)


def _path(method: Mapping[str, Any]) -> StringMatch:
    """A gRPC request's path is `/<service>/<method>` (createGRPCURIMatch). Without a service, any one will do."""
    service, name = method.get("service") or "", method.get("method") or ""
    if method.get("type") == "RegularExpression":
        return StringMatch("regex", f"/{service or '[^/]+'}/{name or '.+'}")
    if not service:
        return StringMatch("regex", f"/[^/]+/{name}")
    return StringMatch("exact", f"/{service}/{name}") if name else StringMatch("path-prefix", f"/{service}")
