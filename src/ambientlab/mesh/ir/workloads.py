"""Who takes part in the mesh: workloads, and the waypoints that stand in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ambientlab.mesh.ir.addresses import is_ipv6


class Key(NamedTuple):
    """What names a namespaced thing; sorts by namespace, then name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Labels = tuple[tuple[str, str], ...]
"""Labels sorted by key: a mapping that is a value."""


TUNNEL_LABEL = "networking.istio.io/tunnel"
"""On what takes tunnels itself, the protocols: on waypoints, and on sidecars where ambient mode is installed."""


def takes_tunnels(labels: Mapping[str, str]) -> bool:
    return "http" in labels.get(TUNNEL_LABEL, "").split(",")


class Protocol(StrEnum):
    """How a workload's port is reached: inside an mTLS tunnel, or in plain TCP."""

    HBONE = "HBONE"
    TCP = "TCP"


class Traffic(StrEnum):
    """What a waypoint is willing to serve (label `istio.io/waypoint-for`)."""

    SERVICE = "service"
    WORKLOAD = "workload"
    ALL = "all"
    NONE = "none"

    @property
    def services(self) -> bool:
        return self in (Traffic.SERVICE, Traffic.ALL)

    @property
    def workloads(self) -> bool:
        return self in (Traffic.WORKLOAD, Traffic.ALL)


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod that has an address, or what is said to be a workload outside of the cluster.

    `identity` is its SPIFFE ID; `waypoint` is set only while it can be used. `locality` is `region/zone/subzone`.
    `second_ip` is its address in the other family of IP.

    Metrics tell it by the last three: what made it, and Istio's canonical service and revision; "" is unknown.
    """

    uid: str
    namespace: str
    name: str
    ip: str
    identity: str
    node: str
    protocol: Protocol
    labels: Labels
    waypoint: Key | None
    ready: bool
    workload_name: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    locality: str = ""
    second_ip: str = ""

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def ips(self) -> tuple[str, ...]:
        return tuple(ip for ip in (self.ip, self.second_ip) if ip)

    def towards(self, address: str) -> str:
        """Which of its addresses it has when it calls `address`."""
        return next((ip for ip in self.ips if is_ipv6(ip) == is_ipv6(address)), self.ip)

    @property
    def captured(self) -> bool:
        """Whether ztunnel takes what it sends and gets."""
        return self.protocol is Protocol.HBONE and not takes_tunnels(dict(self.labels))


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A Gateway of a waypoint class that traffic can be sent to: its status names an address.

    `addresses` are those that it is known by; `members` are the workloads that serve them, the proxies themselves.
    """

    namespace: str
    name: str
    traffic: Traffic
    addresses: tuple[str, ...]
    hbone_port: int
    members: tuple[Workload, ...]

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def address(self) -> str:
        return self.addresses[0]

    def towards(self, called: str) -> str:
        """Its address for a client that has called `called`: of the same family if it has one (istio/ztunnel,
        src/state.rs, fetch_waypoint and pick_workload_destination_or_resolve)."""
        return next((own for own in self.addresses if is_ipv6(own) == is_ipv6(called)), self.address)


@dataclass(frozen=True, slots=True)
class Canary:
    """A second waypoint, and the share of new connections that it gets in place of the first."""

    waypoint: Key
    percent: int
