"""Where a service's port sends connections that are no HTTP.

The first rule for TLS that holds for a port decides, else the first for TCP, whatever objects they are of
(listener_waypoint.go, getWaypointTCPRoutes). All a rule can ask of a connection is the port: a waypoint reads neither
server names nor compares addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

from ambientlab.mesh.index import resolve
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.drafts import RouteSet, TcpDraft
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import TcpRoute

_Rule = tuple[RouteSet, TcpDraft]


def routes(
    shape: Shape, sets: Sequence[RouteSet], around: resolve.Surroundings, notes: list[Diagnostic]
) -> tuple[TcpRoute, ...]:
    """`sets` are in the order they are asked; `notes` gets what becomes of rules that do not decide."""
    rules = [(s, draft) for s in sets for draft in s.tls] + [(s, draft) for s in sets for draft in s.tcp]
    found = []
    deciding: list[_Rule] = []
    overruled: dict[_Rule, _Rule] = {}
    for port in shape.ports:
        holding = [] if port.protocol.http else [rule for rule in rules if rule[1].holds(shape.hostname, port.number)]
        if holding:
            first = holding[0]
            deciding.append(first)
            overruled.update(dict.fromkeys(holding[1:], first))
            origin, key = first[0].origin, first[0].key
            destinations = resolve.destinations(first[1].destinations, port.number, around)
            found.append(TcpRoute(shape.host, port.number, (origin.kind, key), destinations))
            notes += [
                Diagnostic(
                    origin,
                    "DestinationMissing",
                    f"connections for {resolve.words(item.destination)} are closed: there is no such destination",
                    field=first[1].field,
                    host=shape.host,
                    destination=item.destination,
                )
                for item in destinations
                if not item.found
            ]
    notes[:] = dict.fromkeys(notes)
    notes += [_without_effect(shape, rule, overruled.get(rule)) for rule in rules if rule not in deciding]
    return tuple(found)


def _without_effect(shape: Shape, rule: _Rule, by: _Rule | None) -> Diagnostic:
    asking, draft = rule
    first = () if by is None else (by[0].origin,)
    if by is not None:
        reason, why = "Shadowed", f"{by[1].field} of {by[0].origin} comes first"
    elif draft.matches and all(names not in (None, (shape.hostname,)) for _, names in draft.matches):
        reason = "ServerName"
        why = "a waypoint reads no server names, and follows only rules for TLS that name the service's host alone"
    else:
        reason, why = "NoPort", "it has no TCP port that matches"
    message = f"no effect on {shape.host}: {why}"
    return Diagnostic(asking.origin, reason, message, field=draft.field, host=shape.host, first=first)
