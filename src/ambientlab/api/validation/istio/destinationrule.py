"""DestinationRules (ValidateDestinationRule)."""

from __future__ import annotations

from ambientlab.api.durations import seconds
from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common, localities
from ambientlab.api.validation.istio.common import Messages

_POLICIES = ("outlierDetection", "connectionPool", "loadBalancer", "tls")
_MAX_TABLE = 5_000_011
_CONFIG_MAP = "configmap://"


def validate(spec: Object, namespace: str) -> Messages:
    problems = common.wildcard_domain(spec.get("host", ""))
    problems += _traffic_policy(spec.get("trafficPolicy"), namespace)
    seen: set[str] = set()
    for subset in spec.get("subsets") or ():
        name = subset.get("name", "")
        if name in seen:
            problems.append(f"duplicate subset names: {name}")
        seen.add(name)
        problems += common.subset_name(name) + common.labels(subset.get("labels"))
        problems += _traffic_policy(subset.get("trafficPolicy"), namespace)
    problems += common.export_to(spec.get("exportTo") or (), namespace)
    return problems + _selector_exports(spec, namespace)


def _selector_exports(spec: Object, namespace: str) -> Messages:
    exported = {namespace if name == "." else name for name in spec.get("exportTo") or ()}
    if "workloadSelector" not in spec or not exported:
        return []
    if namespace not in exported:
        return ["destination rule with workload selector cannot have exportTo beyond current namespace"]
    if len(exported) > 1:
        return ["destination rule with workload selector cannot have multiple entries in exportTo"]
    return []


def _traffic_policy(policy: Object | None, namespace: str) -> Messages:
    if policy is None:
        return []
    if not any(name in policy for name in (*_POLICIES, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")):
        return ["traffic policy must have at least one field"]
    if "tunnel" in policy and "proxyProtocol" in policy:
        return ["tunnel and proxyProtocol must not be set together"]
    problems = _shared(policy, namespace)
    for port in policy.get("portLevelSettings") or ():
        if "port" not in port:
            problems.append("portTrafficPolicy must have valid port")
        if not any(name in port for name in _POLICIES):
            problems.append("port traffic policy must have at least one field")
        else:
            problems += _shared(port, namespace)
    return problems + _tunnel(policy.get("tunnel"))


def _shared(policy: Object, namespace: str) -> Messages:
    return [
        *_outlier_detection(policy.get("outlierDetection") or {}),
        *_connection_pool(policy.get("connectionPool")),
        *_load_balancer(policy.get("loadBalancer") or {}),
        *_tls(policy.get("tls") or {}, namespace),
    ]


def _outlier_detection(outlier: Object) -> Messages:
    problems = common.durations(outlier, "baseEjectionTime")
    if not outlier.get("splitExternalLocalOriginErrors") and (outlier.get("consecutiveLocalOriginFailures") or 0) > 0:
        problems.append(
            "outlier detection consecutive local origin failures is specified, but split external local origin errors "
            "is set to false"
        )
    problems += common.durations(outlier, "interval")
    return problems + [
        problem
        for name in ("maxEjectionPercent", "minHealthPercent")
        for problem in common.percent(outlier.get(name, 0))
    ]


def _connection_pool(pool: Object | None) -> Messages:
    if pool is None:
        return []
    if "http" not in pool and "tcp" not in pool:
        return ["connection pool must have at least one field"]
    return _http_pool(pool.get("http") or {}) + _tcp_pool(pool.get("tcp") or {})


def _not_negative(settings: Object, names: dict[str, str]) -> Messages:
    return [f"{text} must be non-negative" for name, text in names.items() if settings.get(name, 0) < 0]


def _http_pool(http: Object) -> Messages:
    problems = _not_negative(
        http,
        {
            "http1MaxPendingRequests": "http1 max pending requests",
            "http2MaxRequests": "http2 max requests",
            "maxRequestsPerConnection": "max requests per connection",
            "maxRetries": "max retries",
            "maxConcurrentStreams": "max concurrent streams",
        },
    )
    problems += common.durations(http, "idleTimeout")
    if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        problems.append("use client protocol must not be true when H2UpgradePolicy is UPGRADE")
    if (keepalive := http.get("http2KeepAlive")) is not None:
        for name in ("interval", "timeout"):
            if name not in keepalive:
                problems.append(f"http2 keepalive {name} is required")
        problems += common.durations(keepalive, "interval", "timeout")
    return problems


def _tcp_pool(tcp: Object) -> Messages:
    problems = _not_negative(tcp, {"maxConnections": "max connections"})
    problems += common.durations(tcp, "connectTimeout", "maxConnectionDuration")
    if "idleTimeout" in tcp and seconds(tcp["idleTimeout"]) != 0:
        problems += common.durations(tcp, "idleTimeout")
    return problems + common.durations(tcp.get("tcpKeepalive") or {}, "time", "interval")


def _load_balancer(settings: Object) -> Messages:
    problems = _consistent_hash(settings.get("consistentHash") or {})
    if "localityLbSetting" in settings and "zoneAwareLbSetting" in settings:
        problems.append("only one of localityLbSetting and zoneAwareLbSetting can be set")
    problems += localities.locality(settings.get("localityLbSetting") or {})
    problems += localities.zone_aware(settings.get("zoneAwareLbSetting") or {})
    if (warmup := settings.get("warmup")) is not None:
        problems += common.durations(warmup, "duration")
        if warmup.get("aggression") is not None and warmup["aggression"] <= 0:
            problems.append("aggression should be greater than 0")
    return problems


def _consistent_hash(settings: Object) -> Messages:
    problems: Messages = []
    cookie = settings.get("httpCookie")
    if cookie is not None:
        if not cookie.get("name"):
            problems.append("name required for HttpCookie")
        if "ttl" in cookie and seconds(cookie["ttl"]) is None:
            problems.append(f"bad Duration: time: invalid duration {quote(cookie['ttl'])}")
        seen: set[str] = set()
        for attribute in cookie.get("attributes") or ():
            name = attribute.get("name", "")
            if not name:
                problems.append("cookie attribute name cannot be empty")
            elif name in seen:
                problems.append(f"duplicate cookie attribute name: {name}")
            seen.add(name)
    if settings.get("minimumRingSize") and ("ringHash" in settings or "maglev" in settings):
        problems.append("only one of MinimumRingSize or Maglev/Ringhash can be specified")
    if (maglev := settings.get("maglev")) is not None:
        size = maglev.get("tableSize", 0)
        if size == 0:
            problems.append("tableSize must be set for maglev")
        if size >= _MAX_TABLE:
            problems.append(f"tableSize must be less than {_MAX_TABLE} for maglev")
        elif not _is_prime(size):
            problems.append("tableSize must be a prime number for maglev")
    return problems


def _is_prime(number: int) -> bool:
    if number < 4:
        return number > 0
    return number % 2 == 1 and all(number % factor for factor in range(3, int(number**0.5) + 1, 2))


def _config_map(credential: str, namespace: str) -> Messages:
    """Credentials in ConfigMaps are of the namespace of the rule, which they name."""
    invalid, name = "invalid configmap:// credentialName: ", credential.removeprefix(_CONFIG_MAP)
    parts = name.split("/")
    if name == credential:
        return []
    for missing, what in ((len(parts) < 2, "namespace and name"), (not parts[0], "namespace"), (not parts[-1], "name")):
        if missing:
            return [f"{invalid}invalid resource name {quote(credential)}. Expected {what}"]
    if parts[0] != namespace:
        return [f"{invalid}namespace must match the configuration namespace {quote(namespace)}"]
    return []


def _tls(tls: Object, namespace: str) -> Messages:
    problems = _config_map(tls.get("credentialName", ""), namespace)
    mode = tls.get("mode", "DISABLE")
    named = bool(tls.get("credentialName"))
    if tls.get("insecureSkipVerify"):
        if mode == "SIMPLE" and (tls.get("caCertificates") or named or "subjectAltNames" in tls):
            problems.append(
                "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true"
            )
        if mode == "MUTUAL" and (tls.get("caCertificates") or "subjectAltNames" in tls):
            problems.append("cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true")
    if mode in ("SIMPLE", "MUTUAL") and named:
        if any(tls.get(name) for name in ("clientCertificate", "caCertificates", "privateKey", "caCrl")):
            problems.append("cannot specify client certificates or CA certificate or CA CRL If credentialName is set")
    elif mode == "MUTUAL":
        if not tls.get("clientCertificate"):
            problems.append("client certificate required for mutual tls")
        if not tls.get("privateKey"):
            problems.append("private key required for mutual tls")
    return problems


def _tunnel(tunnel: Object | None) -> Messages:
    if tunnel is None:
        return []
    problems: Messages = []
    if tunnel.get("protocol") not in (None, "", "CONNECT", "POST"):
        problems.append('tunnel protocol must be "CONNECT" or "POST"')
    host = tunnel["targetHost"]
    if (wrong := common.fqdn(host)) and not common.is_address(host):
        detail = f"{wrong[0]}; {quote(host)} is not a valid IP"
        problems.append(f"tunnel target host must be valid FQDN or IP address: {detail}")
    return problems + [f"tunnel target port is invalid: {one}" for one in common.port(tunnel["targetPort"])]
