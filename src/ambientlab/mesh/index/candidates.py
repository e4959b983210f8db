"""Who may route a service, and in which order they are asked.

Candidates come in this order: VirtualServices private to the waypoint's namespace, those exported to it, routes of the
Gateway API of that namespace, then all others, each by creation, then by name (push_context.go, initVirtualServices and
VirtualServicesForGateway). Those of other namespaces than the service's and the waypoint's are left out
(listener_waypoint.go, getVirtualServiceForWaypoint). HTTPRoutes and GRPCRoutes of one namespace for the
same service and port count as one (route_collections.go, mergeHTTPRoutes).
"""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.drafts import Draft, RouteSet
from ambientlab.mesh.index.gatewayroute import precedence
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.values import host_matches
from ambientlab.mesh.ir import Key


@dataclass(frozen=True, slots=True)
class Candidate:
    """One or more route sets that count as one. `rank` is the place in the order of candidates."""

    rank: tuple[int, str, str]
    sets: tuple[RouteSet, ...]
    drafts: tuple[Draft, ...]


class RouteSets:
    """Route sets by the host they are for."""

    def __init__(self, *collections: Collection[tuple[Key, int], RouteSet]) -> None:
        self._exact = [sets.index(lambda _, s: s.hosts) for sets in collections]
        self._wild = [
            sets.index(lambda _, s: ("*",) if any(h.startswith("*") for h in s.hosts) else ()) for sets in collections
        ]

    def of(self, ctx: Context, host: str) -> list[RouteSet]:
        exact = [s for index in self._exact for s in ctx.select(index, host)]
        wild = [
            s for index in self._wild for s in ctx.select(index, "*") if any(host_matches(h, host) for h in s.hosts)
        ]
        return exact + [s for s in wild if s not in exact]


def admitted(asking: list[RouteSet], shape: Shape, waypoint: Key, notes: list[Diagnostic]) -> tuple[Candidate, ...]:
    """Those of `asking` that the waypoint of a service listens to, in order; `notes` gets why it does not to others."""
    eligible = []
    for s in asking:
        if s.origin.namespace not in (shape.key.namespace, waypoint.namespace):
            notes.append(
                Diagnostic(
                    s.origin,
                    "ForeignNamespace",
                    f"no effect on {shape.host}: a waypoint takes routes only from the namespace of the service "
                    f"({shape.key.namespace}) or its own ({waypoint.namespace})",
                    field=s.field,
                    host=shape.host,
                )
            )
        elif not (_public(s) or waypoint.namespace in _exported(s)):
            notes.append(
                Diagnostic(
                    s.origin,
                    "NotExported",
                    f"no effect on {shape.host}: exportTo does not reach {waypoint.namespace}, where its waypoint is",
                    field="spec.exportTo",
                    host=shape.host,
                )
            )
        else:
            eligible.append(s)
    return tuple(sorted(_ranked(eligible, shape.host, waypoint.namespace), key=lambda c: c.rank))


def _public(s: RouteSet) -> bool:
    return not s.export_to or "*" in s.export_to


def _exported(s: RouteSet) -> frozenset[str]:
    return frozenset(s.origin.namespace if e == "." else e for e in s.export_to)


def _ranked(sets: list[RouteSet], host: str, home: str) -> list[Candidate]:
    result = []
    merged: dict[tuple[str, int], list[RouteSet]] = {}
    for s in sets:
        if s.gateway_api and s.http:
            merged.setdefault((s.origin.namespace, s.port), []).append(s)
            continue
        at_home = s.origin.namespace == home
        if s.gateway_api:
            place = 2 if at_home else 3
        elif _public(s):
            place = 3
        else:
            place = 0 if at_home else 1
        result.append(Candidate((place, s.created, f"{s.origin.name}.{s.origin.namespace}"), (s,), s.drafts))
    for (namespace, port), group in merged.items():
        group.sort(key=lambda s: (s.created, s.origin.namespace, s.origin.name))
        drafts = sorted((d for s in group for d in s.drafts), key=lambda d: precedence(d.route))
        name = f"{namespace}~{port}~{host}" if port else f"{namespace}~{host}"
        place = 2 if namespace == home else 3
        result.append(Candidate((place, group[0].created, f"{name}.{namespace}"), tuple(group), tuple(drafts)))
    return result
