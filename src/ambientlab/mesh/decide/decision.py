"""What becomes of a request, as values to compare and to render.

    Decision ── source, target ── who asks, and what the name they asked for stands for
       ├── passages ── the waypoint the request goes through, or several to draw one from
       │      ├── hop ── client ▶ waypoint
       │      └── routing ── what it went by: the route that matched, and how each other fell short
       └── outcomes ── the exact distribution: every possible end of the request with its probability

Probabilities are fractions, for whoever compares or adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from ambientlab.mesh.decide.admission import OPEN, Admission
from ambientlab.mesh.decide.matching import Candidate
from ambientlab.mesh.decide.policy import NONE as NO_VERDICT
from ambientlab.mesh.decide.policy import Verdict
from ambientlab.mesh.decide.request import Headers, Request
from ambientlab.mesh.ir import (
    Destination,
    Endpoint,
    HeaderChange,
    Key,
    Mirror,
    Protocol,
    RetryPolicy,
    RouteTable,
    TcpRoute,
)


@dataclass(frozen=True, slots=True)
class Source:
    """Who sends. `workload` is None for one that is no pod of this cluster; only a captured one's traffic meets the
    mesh's proxies on its way out. `node` is where it is, "" if that is not known."""

    workload: Key | None
    captured: bool
    identity: str = ""
    address: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What the client's address belongs to: a service by its host, else a workload, else nothing in the mesh.

    `address` is "" where a name stands for several, or for none.
    """

    address: str
    port: int
    service: str = ""
    workload: Key | None = None


class Why(StrEnum):
    """Why a request goes through a waypoint, or why through none."""

    SERVICE = "the service uses a waypoint"
    WORKLOAD = "the workload uses a waypoint"
    NOT_CAPTURED = "the client is not in the mesh, so nothing takes its traffic to a waypoint"
    NO_WAYPOINT = "it uses no waypoint that is ready"
    OUTSIDE = "the address belongs to nothing in the mesh"
    ITSELF = "it is the client's own address, and what a pod says to itself does not leave it"


@dataclass(frozen=True, slots=True)
class Hop:
    """One leg of the way. Identities are those of mTLS, and empty in plain TCP. `endpoint` is the address of the far
    end; `waypoint` names it where it is one."""

    protocol: Protocol
    endpoint: str
    workload: Key | None = None
    waypoint: Key | None = None
    source_identity: str = ""
    target_identity: str = ""


@dataclass(frozen=True, slots=True)
class Routing:
    """What a waypoint went by. Without a `table` nothing routes the port, and everything goes to the service itself.

    `candidates` are all routes in the order they are tried; `chosen` is the first that matches, None where none does.
    """

    waypoint: Key
    table: RouteTable | None = None
    candidates: tuple[Candidate, ...] = ()
    chosen: Candidate | None = None
    timeout_ms: int = 0
    retries: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()

    @property
    def came_close(self) -> tuple[Candidate, ...]:
        """Routes that one condition kept from matching, the first tried first."""
        return tuple(c for c in self.candidates if len(c.failed) == 1)


@dataclass(frozen=True, slots=True)
class Passage:
    """A waypoint that a request may go through. It is routed as HTTP (`routing`) or as bytes of a connection, by
    `connections` if there is such a route; by nothing if neither is set. `verdict` is of the policies there."""

    probability: Fraction
    hop: Hop
    verdict: Verdict = NO_VERDICT
    routing: Routing | None = None
    connections: TcpRoute | None = None


class Reason(StrEnum):
    """Why a proxy answers itself or cuts a connection; values are Envoy's response flags where it has one."""

    DENIED = "denied by policy"
    TOKEN = "the token is not accepted"
    NO_ROUTE = "NR"
    NO_CLUSTER = "NC"
    NO_ENDPOINT = "UH"
    FAULT = "FI"
    PREFLIGHT = "CORS preflight"
    REDIRECT = "redirect"
    DIRECT_RESPONSE = "direct response"
    UNRESOLVED = "the name belongs to nothing"
    NO_PORT = "the service has no such port"
    BAD_PATH = "the path is none"
    OWN_PORT = "the port is ztunnel's own"
    WAYPOINT = "the port is for the tunnels of a waypoint"
    PROTOCOL = "TLS where plain HTTP is expected"


@dataclass(frozen=True, slots=True)
class Delivered:
    """An endpoint gets the request, as it then is. `changes` are made to its response on the way back, in turn.
    `admission` is ztunnel's, before the endpoint."""

    destination: Destination
    endpoint: Endpoint
    hop: Hop
    request: Request
    changes: tuple[HeaderChange, ...] = ()
    admission: Admission = OPEN


@dataclass(frozen=True, slots=True)
class Answered:
    """A proxy answers. The status of gRPC is for requests of gRPC, and only for them. `admission` is ztunnel's, before
    an endpoint that the proxy could not reach because of it."""

    status: int
    reason: Reason
    body: str = ""
    headers: Headers = ()
    grpc_status: int | None = None
    destination: Destination | None = None
    admission: Admission = OPEN


@dataclass(frozen=True, slots=True)
class Failed:
    """No response at all: curl says 000. `admission` is ztunnel's, before an endpoint, if that is why."""

    reason: Reason
    admission: Admission = OPEN


def refused(admission: Admission) -> Reason:
    """Why a connection is not let in."""
    if admission.by_waypoint:
        return Reason.WAYPOINT
    return Reason.OWN_PORT if admission.unasked else Reason.DENIED


Result = Delivered | Answered | Failed

End = tuple[int, Result]
"""Milliseconds that were waited, and what came then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One possible end of the request, after a delay that was injected."""

    probability: Fraction
    result: Result
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """`waypoint` is what the address asks to go through and `why` the reason, also for going through none. `passages`
    are empty where the request gets to no waypoint."""

    request: Request
    source: Source
    target: Target
    waypoint: Key | None
    why: Why
    passages: tuple[Passage, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def routing(self) -> Routing | None:
        """What the first waypoint went by: usually there is one."""
        return self.passages[0].routing if self.passages else None

    def distribution(self, name: Callable[[Result], str]) -> dict[str, Fraction]:
        """Shares by whatever names a result, the greatest first: never 0, and 1 together."""
        found: dict[str, Fraction] = {}
        for outcome in self.outcomes:
            key = name(outcome.result)
            found[key] = found.get(key, Fraction(0)) + outcome.probability
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def delays(self) -> dict[int, Fraction]:
        """Shares by the milliseconds that faults add."""
        found: dict[int, Fraction] = {}
        for outcome in self.outcomes:
            found[outcome.delay_ms] = found.get(outcome.delay_ms, Fraction(0)) + outcome.probability
        return dict(sorted(found.items()))

    def delivered(self) -> Iterator[Delivered]:
        for outcome in self.outcomes:
            if isinstance(outcome.result, Delivered):
                yield outcome.result


def by_workload(result: Result) -> str:
    """`hello/helloworld-v1-abc`, or what came instead."""
    if isinstance(result, Delivered):
        workload = result.endpoint.workload
        return str(workload.key) if workload is not None else result.endpoint.address
    return by_answer(result)


def by_answer(result: Result) -> str:
    """`delivered`, `500`, `000`: what a client sees of it at a glance."""
    match result:
        case Delivered():
            return "delivered"
        case Answered():
            return str(result.status)
        case Failed():
            return "000"


def by_label(label: str) -> Callable[[Result], str]:
    """The value of a label of the pod that gets the request, such as `version`; or what came instead."""

    def name(result: Result) -> str:
        if isinstance(result, Delivered) and result.endpoint.workload is not None:
            return dict(result.endpoint.workload.labels).get(label, "")
        return by_workload(result)

    return name
