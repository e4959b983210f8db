"""What clients call: services, their ports, the endpoints behind them and named subsets of those."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ambientlab.mesh.ir.workloads import Key, Labels, Workload

__all__ = ["AppProtocol", "Endpoint", "Labels", "Port", "Service", "Subset"]


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


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    name: str
    protocol: AppProtocol


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ready address of a service. `ports` maps service ports to target ports; no `workload`, no mesh identity."""

    ip: str
    ports: tuple[tuple[int, int], ...]
    workload: Workload | None

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
    """`host` is the fully qualified name; `waypoint` is set only while it can be used; all endpoints are ready."""

    namespace: str
    name: str
    host: str
    vips: tuple[str, ...]
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]
    subsets: tuple[Subset, ...]
    waypoint: Key | None

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)
