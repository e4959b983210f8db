"""What clients call: services, their ports, the endpoints behind them and named subsets of those."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ambientlab.mesh.ir import names
from ambientlab.mesh.ir.addresses import is_ipv6
from ambientlab.mesh.ir.nearness import Distribution, Place
from ambientlab.mesh.ir.traffic import TrafficPolicy
from ambientlab.mesh.ir.workloads import Canary, Key, Labels, Workload

__all__ = [
    "SERVICE_KIND",
    "AppProtocol",
    "Endpoint",
    "Labels",
    "Port",
    "Resolution",
    "Service",
    "Subset",
    "by_address",
    "precedence",
]


SERVICE_KIND = "Service"


class AppProtocol(StrEnum):
    """What a service port declares about the bytes on it; UNDECLARED is found out from the first of them."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TLS = "TLS"
    TCP = "TCP"
    UNDECLARED = "UNDECLARED"

    @property
    def http(self) -> bool:
        return self in (AppProtocol.HTTP, AppProtocol.HTTP2, AppProtocol.GRPC)

    @property
    def http2(self) -> bool:
        return self in (AppProtocol.HTTP2, AppProtocol.GRPC)


class Resolution(StrEnum):
    """How a proxy finds the addresses of a service's endpoints (networking/v1alpha3/service_entry.proto)."""

    STATIC = "STATIC"
    """The endpoints say."""
    NONE = "NONE"
    """It is the address that the client called."""
    DNS = "DNS"
    """The endpoints' names say: every address they have."""
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """The only endpoint's name says: the first address it has when a connection is made."""
    DYNAMIC_DNS = "DYNAMIC_DNS"
    """The name that the client asked for says."""

    @property
    def by_name(self) -> bool:
        """Whether endpoints are names to be resolved."""
        return self in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


@dataclass(frozen=True, slots=True)
class Port:
    """`target` is the port that connections are passed on to where no endpoint says; 0 for the one called."""

    number: int
    name: str
    protocol: AppProtocol
    target: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ready address of a service, or with a resolution by DNS its name.

    `ports` maps service ports to target ports; no `workload`, no mesh identity. Weights are relative to each other's, 0
    is as good as 1. `place` is known where the service's distribution asks for it. `second` is its address in the other
    family of IP.
    """

    address: str
    ports: tuple[tuple[int, int], ...]
    workload: Workload | None
    weight: int = 0
    place: Place | None = None
    second: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address, self.second) if self.second else (self.address,)

    def reached_by(self, address: str) -> str:
        """Which of its addresses clients get to that have called `address`: that of the same family if it has one
        (istio/ztunnel, src/state.rs, pick_workload_destination_or_resolve)."""
        other = self.second and is_ipv6(self.second) == is_ipv6(address) != is_ipv6(self.address)
        return self.second if other else self.address

    def as_reached_by(self, address: str) -> Endpoint:
        """With that address first."""
        if self.reached_by(address) == self.address:
            return self
        return replace(self, address=self.second, second=self.address)

    def target(self, port: int) -> int | None:
        """The port to connect to for service port `port`, or None where this endpoint does not serve it."""
        return next((target for number, target in self.ports if number == port), None)


@dataclass(frozen=True, slots=True)
class Subset:
    """A DestinationRule's name for the endpoints whose workload carries all of `labels`."""

    name: str
    labels: Labels

    def selects(self, endpoint: Endpoint) -> bool:
        return endpoint.workload is not None and set(self.labels) <= set(endpoint.workload.labels)


@dataclass(frozen=True, slots=True)
class Service:
    """Something that clients call by name, whatever object of the API declares it: `kind` and `key` say which.

    `host` is the fully qualified name, or a wildcard that begins with `*.`; where a name has several meanings, `names`
    has the rest. `waypoint` is set only while it can be used, and `canary` only with it; all endpoints are ready.
    `subject_alt_names` are those that a server's certificate may bear.

    `networks` are those all of whose addresses are its own as well, where nothing more particular is known of one.

    `policies` is (port, subset, what holds for it), with port 0 for what holds for no port in particular.
    """

    namespace: str
    name: str
    host: str
    vips: tuple[str, ...]
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]
    subsets: tuple[Subset, ...]
    waypoint: Key | None
    kind: str = SERVICE_KIND
    resolution: Resolution = Resolution.STATIC
    subject_alt_names: tuple[str, ...] = ()
    policies: tuple[tuple[int, str, TrafficPolicy], ...] = ()
    canary: Canary | None = None
    distribution: Distribution = Distribution.ANY
    networks: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def hostname(self) -> str:
        return names.hostname(self.host)

    @property
    def waypoints(self) -> tuple[tuple[Key, int], ...]:
        """Those in front of it, each with its share of new connections in percent, which may be 0."""
        if self.waypoint is None:
            return ()
        if self.canary is None:
            return ((self.waypoint, 100),)
        return ((self.waypoint, 100 - self.canary.percent), (self.canary.waypoint, self.canary.percent))

    def port(self, number: int) -> Port | None:
        return next((p for p in self.ports if p.number == number), None)

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)

    def policy(self, port: int, subset: str = "") -> TrafficPolicy:
        """How to talk to a port; the port 0 is for what is asked of the service as a whole."""
        return next((p for number, name, p in self.policies if (number, name) == (port, subset)), _NOTHING_ASKED)


_NOTHING_ASKED = TrafficPolicy()


def precedence(service: Service) -> tuple[bool, bool, str]:
    """Of what answers at one address, the least counts: a Service, else what is for all clients, else the first."""
    return service.kind != SERVICE_KIND, bool(names.namespace_of(service.host)), service.host


def by_address(services: Iterable[Service]) -> dict[tuple[str, int], Service]:
    """What answers at each address and port."""
    found: dict[tuple[str, int], Service] = {}
    for service in sorted(services, key=precedence):
        for vip in service.vips:
            for port in service.ports:
                found.setdefault((vip, port.number), service)
    return found
