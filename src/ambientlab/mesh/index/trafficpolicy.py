"""`trafficPolicy` of a DestinationRule, as a waypoint reads it.

What becomes of each field is in pilot/pkg/networking/core/cluster_traffic_policy.go and cluster_waypoint.go; how the
levels of a rule override each other is in pilot/pkg/model/destination_rule.go (MergeTrafficPolicy) and
pilot/pkg/networking/util/util.go (MergeSubsetTrafficPolicy).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ambientlab.mesh.index.credentials import SECRET
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import (
    Algorithm,
    ConnectionPool,
    ConsistentHash,
    HashKey,
    Key,
    LoadBalancer,
    Localities,
    OutlierDetection,
    RetryBudget,
    TcpKeepalive,
    Tls,
    TrafficPolicy,
    Tunnel,
    Warmup,
)

_RING_SIZE = 1024
"""Of a ring whose size is left out, where neither `ringHash` nor `maglev` is given."""
_RETRY_PERCENT, _RETRY_MINIMUM = 20.0, 3
_ALGORITHMS = {
    "LEAST_CONN": Algorithm.LEAST_REQUEST,
    "LEAST_REQUEST": Algorithm.LEAST_REQUEST,
    "ROUND_ROBIN": Algorithm.ROUND_ROBIN,
    "RANDOM": Algorithm.RANDOM,
    "PASSTHROUGH": Algorithm.PASSTHROUGH,
}
_WARMED = (Algorithm.LEAST_REQUEST, Algorithm.ROUND_ROBIN)


@dataclass(frozen=True, slots=True)
class Policies:
    """One `trafficPolicy`: what it says for all ports, and for single ones."""

    common: TrafficPolicy
    ports: tuple[tuple[int, TrafficPolicy], ...] = ()

    def of(self, port: int) -> tuple[TrafficPolicy, bool]:
        """What holds for a port, and whether it says so of that port. Settings of a port replace all others: what they
        leave out is the default, not what holds for the rest (GetPortLevelTrafficPolicy)."""
        for number, policy in self.ports:
            if number == port:
                return policy, True
        return self.common, False

    def over(self, below: Policies) -> Policies:
        """These, with what `below` says where they say nothing, for each port as for all."""
        ports = dict(self.ports)
        for number, policy in below.ports:
            ports[number] = overridden(policy, ports[number]) if number in ports else policy
        return Policies(overridden(below.common, self.common), tuple(ports.items()))


def effective(rule: Policies | None, subset: Policies | None, port: int) -> TrafficPolicy | None:
    """What holds for a port of a subset, or of the service itself where `subset` is None."""
    original = rule.of(port)[0] if rule is not None else None
    if subset is None:
        return original
    policy, of_port = subset.of(port)
    if original is None:
        return policy
    return overridden(original, policy, everything=of_port)


def overridden(below: TrafficPolicy, above: TrafficPolicy, *, everything: bool = False) -> TrafficPolicy:
    """`below` with what `above` says; with `everything`, also what `above` does not say replaces what is there."""
    result = below
    for name in ("load_balancer", "connection_pool", "outlier_detection", "tls"):
        value = getattr(above, name)
        if value is not None or everything:
            result = replace(result, **{name: value})
    for name in ("proxy_protocol", "retry_budget", "tunnel"):
        if value := getattr(above, name):
            result = replace(result, **{name: value})
    return result


@dataclass(slots=True)
class Reader:
    """Reads the policies of one rule and collects what is to be said about them, and where secrets are asked for."""

    key: Key
    ref: ObjectRef
    notes: list[Diagnostic] = field(default_factory=list)
    secrets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, policy: Mapping[str, Any] | None, path: str) -> Policies | None:
        if policy is None:
            return None
        common = self._shared(policy, path)
        if (version := policy.get("proxyProtocol")) is not None:
            common = replace(common, proxy_protocol=version.get("version", "V1"))
        if (budget := policy.get("retryBudget")) is not None:
            common = replace(common, retry_budget=_retry_budget(budget))
        if (tunnel := policy.get("tunnel")) is not None:
            host = tunnel["targetHost"]
            target = f"{f'[{host}]' if ':' in host else host}:{tunnel['targetPort']}"
            common = replace(common, tunnel=Tunnel(target, tunnel.get("protocol") == "POST"))
        ports: dict[int, TrafficPolicy] = {}
        for i, settings in enumerate(policy.get("portLevelSettings") or ()):
            number = settings["port"].get("number", 0)
            ports.setdefault(number, self._shared(settings, f"{path}.portLevelSettings[{i}]"))
        return Policies(common, tuple(ports.items()))

    def _shared(self, policy: Mapping[str, Any], path: str) -> TrafficPolicy:
        """The fields that a port may have as well."""
        balancer, pool = policy.get("loadBalancer"), policy.get("connectionPool")
        outliers, tls = policy.get("outlierDetection"), policy.get("tls")
        return TrafficPolicy(
            origin=self.key,
            load_balancer=None if balancer is None else self._load_balancer(balancer, f"{path}.loadBalancer"),
            connection_pool=None if pool is None else _connection_pool(pool),
            outlier_detection=None if outliers is None else _outliers(outliers),
            tls=None if tls is None else self._tls(tls, f"{path}.tls"),
        )

    def _load_balancer(self, settings: Mapping[str, Any], path: str) -> LoadBalancer:
        algorithm = _ALGORITHMS.get(settings.get("simple", ""), Algorithm.LEAST_REQUEST)
        hashing = settings.get("consistentHash")
        warmup = _warmup(settings)
        if warmup is not None and (hashing is not None or algorithm not in _WARMED):
            why = "warmup takes effect with ROUND_ROBIN and LEAST_REQUEST only"
            self.notes.append(ignored(self.ref, f"{path}.warmup", why))
            warmup = None
        localities = settings.get("localityLbSetting")
        return LoadBalancer(
            algorithm,
            None if hashing is None else self._consistent_hash(hashing, f"{path}.consistentHash"),
            warmup,
            _localities(localities, zones="zoneAwareLbSetting" in settings),
        )

    def _consistent_hash(self, settings: Mapping[str, Any], path: str) -> ConsistentHash:
        """A key that Envoy refuses is left out: it would take the routes of the whole service with it."""
        key = _hash_key(settings)
        if key is not None and (problem := _unusable(key)):
            text = f"{problem}: any endpoint is chosen; Istio's waypoint would refuse all routes to the service"
            self.notes.append(Diagnostic(self.ref, "Invalid", text, field=path))
            key = None
        if (maglev := settings.get("maglev")) is not None:
            return ConsistentHash(key, "maglev", int(maglev.get("tableSize", 0)))
        if (ring := settings.get("ringHash")) is not None:
            return ConsistentHash(key, "ring", int(ring.get("minimumRingSize", 0)))
        return ConsistentHash(key, "ring", int(settings.get("minimumRingSize") or _RING_SIZE))

    def _tls(self, settings: Mapping[str, Any], path: str) -> Tls:
        mode = settings.get("mode", "DISABLE")
        if mode == "ISTIO_MUTUAL":
            why = "a waypoint reaches endpoints of the mesh by HBONE, which has mutual TLS of its own"
            self.notes.append(ignored(self.ref, path, f"ISTIO_MUTUAL changes nothing: {why}"))
        if mode not in ("SIMPLE", "MUTUAL"):
            return Tls("DISABLE")
        name = settings.get("credentialName", "")
        tls = Tls(
            mode,
            sni=settings.get("sni", ""),
            names=tuple(settings.get("subjectAltNames") or ()),
            credential=f"{SECRET}{name.removeprefix(SECRET)}" if name else "",
            ca_file=settings.get("caCertificates", ""),
            crl_file=settings.get("caCrl", ""),
            certificate_file=settings.get("clientCertificate", "") if mode == "MUTUAL" else "",
            key_file=settings.get("privateKey", "") if mode == "MUTUAL" else "",
            verify=not settings.get("insecureSkipVerify"),
        )
        if tls.secrets:
            self.secrets[f"{path}.credentialName"] = tls.secrets
        return tls


def _duration(settings: Mapping[str, Any], name: str) -> int:
    return milliseconds(settings[name]) if name in settings else 0


def _optional(settings: Mapping[str, Any], name: str) -> int | None:
    return milliseconds(settings[name]) if name in settings else None


def _retry_budget(budget: Mapping[str, Any]) -> RetryBudget:
    percent = budget.get("percent")
    return RetryBudget(
        _RETRY_PERCENT if percent is None else float(percent),
        budget.get("minRetryConcurrency") or _RETRY_MINIMUM,
    )


def _outliers(settings: Mapping[str, Any]) -> OutlierDetection:
    split = bool(settings.get("splitExternalLocalOriginErrors"))
    return OutlierDetection(
        consecutive_5xx=settings.get("consecutive5xxErrors"),
        consecutive_gateway=settings.get("consecutiveGatewayErrors"),
        consecutive_local=(settings.get("consecutiveLocalOriginFailures") or 0) if split else 0,
        split_local=split,
        interval=_duration(settings, "interval"),
        base_ejection=_duration(settings, "baseEjectionTime"),
        max_ejection_percent=settings.get("maxEjectionPercent", 0),
        min_health_percent=settings.get("minHealthPercent", 0),
    )


def _connection_pool(pool: Mapping[str, Any]) -> ConnectionPool:
    """`http.idleTimeout` comes before `tcp.idleTimeout` for connections to the service (applyConnectionPool)."""
    http, tcp = pool.get("http") or {}, pool.get("tcp") or {}
    idle, tcp_idle = _optional(http, "idleTimeout"), _optional(tcp, "idleTimeout")
    ping = http.get("http2KeepAlive")
    probes = tcp.get("tcpKeepalive")
    return ConnectionPool(
        max_connections=tcp.get("maxConnections", 0),
        max_pending_requests=http.get("http1MaxPendingRequests", 0),
        max_requests=http.get("http2MaxRequests", 0),
        max_retries=http.get("maxRetries", 0),
        max_requests_per_connection=http.get("maxRequestsPerConnection", 0),
        max_concurrent_streams=http.get("maxConcurrentStreams", 0),
        connect_timeout=_duration(tcp, "connectTimeout"),
        idle_timeout=tcp_idle if idle is None else idle,
        tcp_idle_timeout=tcp_idle,
        max_connection_duration=_duration(tcp, "maxConnectionDuration"),
        tcp_keepalive=None
        if probes is None
        else TcpKeepalive(
            probes.get("probes", 0), _duration(probes, "time") // 1000, _duration(probes, "interval") // 1000
        ),
        http2_ping=None if ping is None else (milliseconds(ping["interval"]), milliseconds(ping["timeout"])),
        upgrade=http.get("h2UpgradePolicy") == "UPGRADE",
        client_protocol=bool(http.get("useClientProtocol")),
    )


def _warmup(settings: Mapping[str, Any]) -> Warmup | None:
    """Left out in `warmup`, the aggression is 1 and the least share 10 %, as in Envoy (setWarmup)."""
    warmup = settings.get("warmup")
    if warmup is not None:
        aggression, minimum = warmup.get("aggression"), warmup.get("minimumPercent")
        return Warmup(
            milliseconds(warmup["duration"]),
            1.0 if aggression is None else float(aggression),
            10.0 if minimum is None else float(minimum),
        )
    deprecated = settings.get("warmupDurationSecs")
    return None if deprecated is None else Warmup(milliseconds(deprecated))


def _hash_key(settings: Mapping[str, Any]) -> HashKey | None:
    """consistentHashToHashPolicy (pilot/pkg/networking/core/route/route.go)."""
    if name := settings.get("httpHeaderName"):
        return HashKey("header", name)
    if cookie := settings.get("httpCookie"):
        attributes = tuple((a["name"], a.get("value", "")) for a in cookie.get("attributes") or ())
        return HashKey("cookie", cookie["name"], cookie.get("path", ""), _optional(cookie, "ttl"), attributes)
    if settings.get("useSourceIp"):
        return HashKey("source-ip")
    if name := settings.get("httpQueryParameterName"):
        return HashKey("query", name)
    return None


def _unusable(key: HashKey) -> str:
    """What Envoy has against the key, or "" (api/envoy/config/route/v3/route_components.proto, HashPolicy)."""
    if key.kind == "header" and re.search(r"[\0\r\n]", key.name):
        return f"no request has a header named {key.name!r}"
    if key.lifetime is not None and key.lifetime < 0:
        return f"a cookie does not live for {key.lifetime} ms"
    for name, value in key.attributes:
        if not name or re.search(r"[\0\r\n]", name + value):
            return f"{name!r}={value!r} is no attribute of a cookie"
    return ""


def _localities(settings: Mapping[str, Any] | None, *, zones: bool) -> Localities | None:
    """A waypoint that is asked for zone-aware load balancing does neither (endpoint_builder.go)."""
    if settings is None:
        return Localities(enabled=False) if zones else None
    return Localities(
        enabled=settings.get("enabled") is not False,
        distribute=tuple(
            (one.get("from", ""), tuple(sorted((one.get("to") or {}).items())))
            for one in settings.get("distribute") or ()
        ),
        failover=tuple((one.get("from", ""), one.get("to", "")) for one in settings.get("failover") or ()),
        failover_priority=tuple(settings.get("failoverPriority") or ()),
    )
