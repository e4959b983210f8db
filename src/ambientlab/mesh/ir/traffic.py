"""How a proxy talks to a service: what a DestinationRule or a BackendTLSPolicy asks for.

Durations are milliseconds. A limit of 0 is none, as an Istio field of 0 is one left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ambientlab.mesh.ir.workloads import Key

CA_SUFFIX = "-cacert"
"""Comes after the name of a credential for its authorities alone, as in Istio."""


class Algorithm(StrEnum):
    """How an endpoint is chosen. PASSTHROUGH goes to the address the client asked for."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class HashKey:
    """What tells clients or sessions apart. A cookie with a lifetime is made where there is none; 0 ends it with the
    browser's session."""

    kind: Literal["header", "cookie", "query", "source-ip"]
    name: str = ""
    path: str = ""
    lifetime: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """The same key to the same endpoint. Without a key, any; `size` is of the ring at least or of the Maglev table."""

    key: HashKey | None
    table: Literal["ring", "maglev"] = "ring"
    size: int = 0


@dataclass(frozen=True, slots=True)
class Warmup:
    """Fewer requests to an endpoint in its first `duration`; None leaves it to Envoy."""

    duration: int
    aggression: float | None = None
    minimum_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Localities:
    """Preference by locality (`region/zone/subzone`, of which any tail may be missing or `*`).

    `distribute` is (from, ((to, percent), ...)) and excludes `failover`, which is (region, region to go to instead).
    `preferred` is of what a service says of itself: that holds whether bad endpoints are found out or not.
    """

    enabled: bool = True
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()
    preferred: bool = False


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    algorithm: Algorithm = Algorithm.LEAST_REQUEST
    hash: ConsistentHash | None = None
    warmup: Warmup | None = None
    localities: Localities | None = None


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Probes of the kernel, in its terms: times in seconds, 0 for its own settings."""

    probes: int = 0
    time: int = 0
    interval: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """`idle_timeout` is of connections to the service, `tcp_idle_timeout` of one carried through; 0 is never, None
    leaves it to Envoy. `http2_ping` is how often, and how long an answer may take."""

    max_connections: int = 0
    max_pending_requests: int = 0
    max_requests: int = 0
    max_retries: int = 0
    max_requests_per_connection: int = 0
    max_concurrent_streams: int = 0
    connect_timeout: int = 0
    idle_timeout: int | None = None
    tcp_idle_timeout: int | None = None
    max_connection_duration: int = 0
    tcp_keepalive: TcpKeepalive | None = None
    http2_ping: tuple[int, int] | None = None
    upgrade: bool = False
    client_protocol: bool = False


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left out for a while; None leaves a threshold to Envoy, 0 switches it off."""

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    consecutive_local: int = 0
    split_local: bool = False
    interval: int = 0
    base_ejection: int = 0
    max_ejection_percent: int = 0
    min_health_percent: int = 0


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the endpoints. DISABLE is plain text (inside HBONE, if that is how an endpoint is reached).

    `credential` names a secret that the control plane serves; otherwise the `*_file`s are read by the proxy, in whose
    container they are, and without `ca_file` what its system trusts is trusted. Without `sni`, the host that the
    request asks for is, and the certificate must be for it. `names` are those a certificate may have.
    """

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL"]
    sni: str = ""
    names: tuple[str, ...] = ()
    credential: str = ""
    ca_file: str = ""
    crl_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    verify: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the proxy is to be given: its own certificate, and the authorities that it trusts."""
        if not self.credential:
            return ()
        own = (self.credential,) if self.mode == "MUTUAL" else ()
        return (*own, self.authorities) if self.verify else own

    @property
    def authorities(self) -> str:
        """The name of the secret with the authorities. A credential without a name stands for none at all."""
        return self.credential if self.credential.endswith("://") else f"{self.credential}{CA_SUFFIX}"


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries under way, in percent of requests under way, beyond `minimum`."""

    percent: float
    minimum: int


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Connections are carried through the service, which is a proxy: it is asked for `target` (host:port)."""

    target: str
    post: bool = False


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What holds for one port of a service or a subset; None is what nobody asked for, and has the mesh's default.

    `origin` is the DestinationRule it comes from. `proxy_protocol` is a version.
    """

    origin: Key | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Tls | None = None
    proxy_protocol: Literal["", "V1", "V2"] = ""
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None
