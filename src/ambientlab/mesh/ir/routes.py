"""What a waypoint does with a request: HTTPRoute and VirtualService both become a RouteTable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ambientlab.mesh.ir.workloads import Key

MatchKind = Literal["exact", "prefix", "regex", "path-prefix", "present"]


@dataclass(frozen=True, slots=True)
class StringMatch:
    """`path-prefix` matches whole path elements, as the Gateway API's PathPrefix does; `prefix` any leading characters.

    `regex` is RE2 and matches the whole value. `present` asks only that the thing is there.
    """

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """One set of conditions, all of which hold for a request to match; an absent one always holds."""

    path: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    scheme: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query: tuple[tuple[str, StringMatch], ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """Order of effect as in both APIs' implementations: remove, then set, then add."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


@dataclass(frozen=True, slots=True)
class Destination:
    """A port of a service, or of one of its subsets. `host` is fully qualified; "" where a reference means nothing."""

    host: str
    port: int
    subset: str = ""


@dataclass(frozen=True, slots=True)
class WeightedDestination:
    """A share of the requests. Where what it names is not there, `found` is false and the proxy answers the share
    itself, with the `not_found_status` of the route. `authority`, if any, replaces the one asked for."""

    weight: int
    destination: Destination
    found: bool = True
    request_headers: HeaderChange = HeaderChange()
    response_headers: HeaderChange = HeaderChange()
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Delay:
    """`parts_per_million` of the requests wait `milliseconds` before they go on."""

    milliseconds: int
    parts_per_million: int


@dataclass(frozen=True, slots=True)
class Abort:
    """`parts_per_million` of the requests are answered by the proxy: with a status of gRPC, if there is one."""

    http_status: int
    parts_per_million: int
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True)
class Cors:
    """How the proxy itself answers cross-origin requests of `origins`.

    A preflight of any other origin goes on to the destination if `forward_unmatched`, and otherwise gets an answer that
    allows nothing. Without `max_age_s`, seconds, browsers are not told how long to remember.
    """

    origins: tuple[StringMatch, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int | None = None
    forward_unmatched: bool = True


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` of 0 forbids retries; without a policy, the mesh's default applies. `same_hosts` allows a retry to
    reach a host again that was tried already, None where one host alone should get the request; `other_localities`
    allows a host of the next priority."""

    attempts: int
    per_try_timeout_ms: int = 0
    retry_on: str = ""
    status_codes: tuple[int, ...] = ()
    backoff_ms: int = 0
    same_hosts: bool | None = None
    other_localities: bool = False


DEFAULT_RETRIES = RetryPolicy(2, retry_on="connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes")
"""Of routes that say nothing of retries, and of ports without routes (route/retry/retry.go, newRetryPolicy)."""


@dataclass(frozen=True, slots=True)
class Mirror:
    destination: Destination
    parts_per_million: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`full_path` replaces the path; `prefix` what the match's prefix matched; `regex` what a pattern matches."""

    authority: str = ""
    full_path: str | None = None
    prefix: str | None = None
    regex: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """A request passed on. A timeout of 0 is none. `not_found_status` is 500 or 503."""

    destinations: tuple[WeightedDestination, ...]
    rewrite: Rewrite | None = None
    timeout_ms: int = 0
    retries: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()
    not_found_status: int = 503


@dataclass(frozen=True, slots=True)
class Redirect:
    """Fields left empty keep the request's; a port of 0 is the scheme's own."""

    status: int = 302
    scheme: str = ""
    host: str = ""
    port: int = 0
    full_path: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """`encoded` is a body in base64, which need not be text."""

    status: int
    body: str = ""
    encoded: str = ""


Action = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True)
class Route:
    """`origin` names the object that asked for it ("HTTPRoute hello/route"); `name` goes into logs, `stat_prefix` into
    the names of statistics, which are kept for a route only if it has one."""

    name: str
    origin: tuple[str, Key]
    match: Match
    action: Action
    fault: Fault | None = None
    request_headers: HeaderChange = HeaderChange()
    response_headers: HeaderChange = HeaderChange()
    cors: Cors | None = None
    stat_prefix: str = ""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of one port of a service, tried in order. A request that matches none of a non-empty table is 404."""

    host: str
    port: int
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """Where the connections to one port of a service go, if not to itself. `origin` is as a Route's. A share of a
    destination that is not there is closed, and so are all connections where there is none."""

    host: str
    port: int
    origin: tuple[str, Key]
    destinations: tuple[WeightedDestination, ...]
