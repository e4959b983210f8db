"""Routes as one object asks for them, before they meet the service they are for.

A draft knows neither which of its destinations exist nor the port a request came to: a destination port of 0 and a
redirect port of `REQUEST_PORT` stand for "as the service has it", and `tables` fills them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.ir import HeaderChange, Key, Match, Route, WeightedDestination

REQUEST_PORT = -1
_EVERYTHING = (("present", ""), ("prefix", "/"), ("prefix", ""), ("path-prefix", "/"), ("regex", ".*"))


@dataclass(frozen=True, slots=True)
class Draft:
    """`port` is the only service port the route is for, or 0; `source_namespace` that of the only waypoints, or ""."""

    route: Route
    port: int = 0
    source_namespace: str = ""

    @property
    def takes_all(self) -> bool:
        """Whether no request that it is for gets past it (route.go, IsCatchAllRoute)."""
        path = self.route.match.path
        everything = path is None or (path.kind, path.value) in _EVERYTHING
        return everything and replace(self.route.match, path=None) == Match()


@dataclass(frozen=True, slots=True)
class TcpDraft:
    """A rule for connections, written in `field`. Each match is the only service port it is for, or 0, and the server
    names it asks for, which is None for all connections; one of them has to hold, or there are none."""

    field: str
    destinations: tuple[WeightedDestination, ...]
    matches: tuple[tuple[int, tuple[str, ...] | None], ...] = ()

    def holds(self, host: str, port: int) -> bool:
        """A waypoint reads no server names: a rule that asks for another than the service's host never holds
        (listener_waypoint.go, getTLSRouteMatch)."""
        return not self.matches or any(
            number in (0, port) and names in (None, (host,)) for number, names in self.matches
        )


@dataclass(frozen=True, slots=True)
class RouteSet:
    """The routes of one object for some hosts, in the order they are tried.

    `export_to` is a VirtualService's; `gateway_api` tells the two APIs' semantics apart; `field` is the part of the
    object that asked for these hosts; `http` is whether the object says anything about HTTP, even if it has no drafts.
    """

    origin: ObjectRef
    created: str
    hosts: tuple[str, ...]
    export_to: tuple[str, ...]
    gateway_api: bool
    port: int
    drafts: tuple[Draft, ...]
    field: str
    http: bool = True
    tls: tuple[TcpDraft, ...] = ()
    tcp: tuple[TcpDraft, ...] = ()

    @property
    def key(self) -> Key:
        return Key(self.origin.namespace, self.origin.name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one routing object says, and what is to be said about it."""

    sets: tuple[RouteSet, ...]
    diagnostics: tuple[Diagnostic, ...]


def header_change(set_: Mapping[str, str], add: Mapping[str, str], remove: Iterable[str]) -> tuple[HeaderChange, str]:
    """The change, and the authority it asks for: pseudo-headers and Host cannot be changed as headers, so they are left
    out, and Host means a rewrite (pilot/pkg/networking/core/route/route.go, TranslateHeadersOperations)."""
    authority = _authority(set_) or _authority(add)
    return (
        HeaderChange(_plain(set_), _plain(add), tuple(name.lower() for name in remove if not _internal(name))),
        authority,
    )


def _internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _authority(headers: Mapping[str, str]) -> str:
    return next((v for k, v in headers.items() if k.lower() in ("host", ":authority")), "")


def _plain(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k.lower(), v) for k, v in headers.items() if not _internal(k)))
