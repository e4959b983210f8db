"""Access logs, in the words of the components they stand for.

ztunnel (src/proxy/metrics.rs of istio/ztunnel): four columns separated by tabs, the last followed by fields; values
that it knows are quoted, addresses are not, what it does not know is left out. Bytes are counted as the workload next
to the proxy sees them. What is known beforehand travels with what it is about: of the source as filter state, of the
destination as endpoint metadata.

Waypoint: Istio's default text format (pilot/pkg/model/telemetry_logging.go, EnvoyTextLogFormat), once for a request or
a connection; what failed at the tunnels' ends or found no filter chain has a line too, since the reason is known only
there (pilot/pkg/networking/core/accesslog.go).
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog

from ambientlab.mesh.ir import Telemetry, Workload
from ambientlab.mesh.xds.messages import packed

SOURCE_ADDRESS = "ambientlab.source.address"
SOURCE_WORKLOAD = "ambientlab.source.workload"
SOURCE_NAMESPACE = "ambientlab.source.namespace"
SOURCE_IDENTITY = "ambientlab.source.identity"
"""Filter state about the source that goes along into the tunnel."""

SOURCE_NAMESPACE_HEADER = "x-ambientlab-source-namespace"
SOURCE_HEADERS = {"x-ambientlab-source-workload": SOURCE_WORKLOAD, SOURCE_NAMESPACE_HEADER: SOURCE_NAMESPACE}
"""Headers of the CONNECT that tell the other end's log what it cannot know: nothing is decided by them."""
TARGET = "log"
"""Key of the `istio` endpoint metadata with what the log says about the destination."""

_TIME = "%EMIT_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%"
_PLAIN_UPSTREAM = "!upstream.address.startsWith('envoy://')"

WAYPOINT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

_DENIED = ((("NC", "NR"), "no service for target address"), (("UH", "UO"), "no healthy upstream"))
"""Why a connection had nowhere to go, by Envoy's response flags, as ztunnel puts it."""

_FAILED = ("UF", "URX", "LH")
_FAILURES = (
    ("refused", "connection failed: Connection refused (os error 111)"),
    ("tunnel_response:401", "http status: 401 Unauthorized"),
    ("tunnel_response:503", "http status: 503 Service Unavailable"),
)
"""What became of a connection that had: parts of Envoy's reason, and ztunnel's words for it."""
_REASON = "upstream.transport_failure_reason"

REFUSED_STATUS = 401
"""Of a CONNECT that policies refuse."""

_REFUSED = "connection closed due to policy rejection: {}"
_POLICY = "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"


def workload_fields(side: str, workload: str, namespace: str) -> str:
    return f'{side}.workload="{workload}" {side}.namespace="{namespace}"'


def plain_fields(service: str, workload: Workload | None) -> str:
    """What is known beforehand of an endpoint outside the tunnels: fields, each with a space behind it."""
    return "".join(f"{field} " for field in _identified(service, workload))


def tunnel_fields(service: str, workload: Workload) -> str:
    """What is known beforehand of an endpoint at the end of a tunnel, whose identity is therefore proved."""
    return f'{plain_fields(service, workload)}dst.identity="{workload.identity}" '


def service_field(service: str) -> str:
    return f'dst.service="{service}" '


def _identified(service: str, workload: Workload | None) -> list[str]:
    parts = [f'dst.service="{service}"'] if service else []
    if workload is not None:
        parts.append(workload_fields("dst", workload.name, workload.namespace))
    return parts


def tunnelled_outbound() -> list[AccessLog]:
    """For the tunnel's own connection, which knows how it ended; the source came along in filter state."""
    return _variants(
        f"src.addr=%FILTER_STATE({SOURCE_ADDRESS}:PLAIN)% "
        + workload_fields(
            "src", f"%FILTER_STATE({SOURCE_WORKLOAD}:PLAIN)%", f"%FILTER_STATE({SOURCE_NAMESPACE}:PLAIN)%"
        )
        + f' src.identity="%FILTER_STATE({SOURCE_IDENTITY}:PLAIN)%" '
        "dst.addr=%DYNAMIC_METADATA(istio:tunnel)% dst.hbone_addr=%DOWNSTREAM_LOCAL_ADDRESS% "
        f"%DYNAMIC_METADATA(istio:{TARGET})%",
        "outbound",
        "%DOWNSTREAM_LOCAL_ADDRESS%",
    )


def plain_outbound(workload: str, namespace: str) -> list[AccessLog]:
    """For a captured connection that enters no tunnel: those that do are logged there."""
    source = workload_fields("src", workload, namespace)
    return _variants(
        f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% {source} dst.addr=%UPSTREAM_HOST% "
        f"%METADATA(UPSTREAM_HOST:istio:{TARGET})%%METADATA(CLUSTER:istio:{TARGET})%",
        "outbound",
        "%DOWNSTREAM_LOCAL_ADDRESS%",
        only=_PLAIN_UPSTREAM,
    )


def tunnelled_inbound(workload: str, namespace: str, identity: str) -> list[AccessLog]:
    """For a CONNECT to a captured pod."""
    names = [f"%REQ({header.upper()})%" for header in SOURCE_HEADERS]
    fields = (
        f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% {workload_fields('src', *names)} "
        'src.identity="%DOWNSTREAM_PEER_URI_SAN%" dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% dst.hbone_addr=%REQ(:AUTHORITY)% '
        f'%METADATA(ROUTE:istio:{TARGET})%{workload_fields("dst", workload, namespace)} dst.identity="{identity}" '
    )
    good, *others = _variants(fields, "inbound", "%DOWNSTREAM_LOCAL_ADDRESS%")
    good.filter.CopyFrom(_every(_status("NE", REFUSED_STATUS), good.filter))
    return [good, *others, _refused(fields, _POLICY, status(REFUSED_STATUS))]


def plain_inbound(workload: str, namespace: str) -> list[AccessLog]:
    """For a connection from outside the mesh to a captured pod."""
    return _variants(_plain_inbound_fields(workload, namespace), "inbound", "%DOWNSTREAM_LOCAL_ADDRESS%")


def plain_refused(workload: str, namespace: str, reason: str) -> list[AccessLog]:
    """For one that policies refuse."""
    return [_refused(_plain_inbound_fields(workload, namespace), reason, None)]


def _plain_inbound_fields(workload: str, namespace: str) -> str:
    target = workload_fields("dst", workload, namespace)
    return f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% {target} "


def _refused(fields: str, reason: str, condition: AccessLogFilter | None) -> AccessLog:
    return _stdout(_line("error", fields, "inbound", f' error="{_REFUSED.format(reason)}"'), condition)


def waypoint_requests(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry)


def waypoint_connections(telemetry: Telemetry) -> list[AccessLog]:
    """For a TCP proxy, which also tells its other logs when it has connected."""
    result = AccessLogFilter()
    result.log_type_filter.types.append(AccessLogType.TcpConnectionEnd)
    return _waypoint(telemetry, result)


def waypoint_originations(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry, _with(("UF",)))


def waypoint_terminations(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry, _status("GE", 400))


def status(value: int) -> AccessLogFilter:
    return _status("EQ", value)


def _status(operator: str, value: int) -> AccessLogFilter:
    """0 is that of what was never answered."""
    result = AccessLogFilter()
    comparison = result.status_code_filter.comparison
    comparison.op = comparison.Op.Value(operator)
    comparison.value.default_value = value
    comparison.value.runtime_key = "istio.io/unset"
    return result


def waypoint_listener(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry, _with(("NR",)))


def _waypoint(telemetry: Telemetry, *conditions: AccessLogFilter) -> list[AccessLog]:
    """One log, or none, of what fits all conditions and the filter somebody asked for."""
    if not telemetry.log:
        return []
    wanted = [_expression(telemetry.log_filter)] if telemetry.log_filter else []
    return [_stdout(WAYPOINT_FORMAT, _all_of(*conditions, *wanted), omit_empty=False)]


def _all_of(*conditions: AccessLogFilter) -> AccessLogFilter | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return _every(*conditions)


def _every(*conditions: AccessLogFilter) -> AccessLogFilter:
    result = AccessLogFilter()
    result.and_filter.filters.extend(conditions)
    return result


def _variants(fields: str, direction: str, target: str, *, only: str = "") -> list[AccessLog]:
    """`fields` end in a space; `target` is what was asked for, which is all there is to say of what led nowhere."""
    denied = [flag for flags, _ in _DENIED for flag in flags]
    logs = [_stdout(_line("info", fields, direction, ""), _without([*denied, *_FAILED], only))]
    for flags, words in _DENIED:
        text = f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% dst.addr={target} "
        line = f'{_TIME}\twarn\taccess\tconnection failed\t{text}direction="{direction}" error="{words}: {target}"\n'
        logs.append(_stdout(line, _with(flags)))
    known = [(words, f"{_REASON}.contains('{part}')") for part, words in _FAILURES]
    others = " && ".join(f"!({condition})" for _, condition in known)
    for words, condition in [*known, ("connection failed: %UPSTREAM_TRANSPORT_FAILURE_REASON%", others)]:
        line = _line("error", fields, direction, f' error="{words}"')
        logs.append(_stdout(line, _with(_FAILED, *filter(None, [only, condition]))))
    return logs


def _line(level: str, fields: str, direction: str, error: str) -> str:
    received, sent = ("%BYTES_SENT%", "%BYTES_RECEIVED%")
    if direction == "inbound":
        received, sent = sent, received
    return (
        f'{_TIME}\t{level}\taccess\tconnection complete\t{fields}direction="{direction}" '
        f'bytes_sent={sent} bytes_recv={received} duration="%DURATION%ms"{error}\n'
    )


def _with(flags: Sequence[str], *conditions: str) -> AccessLogFilter:
    by_flag = AccessLogFilter()
    by_flag.response_flag_filter.flags.extend(flags)
    if not conditions:
        return by_flag
    both = AccessLogFilter()
    both.and_filter.filters.extend([by_flag, _expression(" && ".join(conditions))])
    return both


def _without(flags: Sequence[str], condition: str) -> AccessLogFilter:
    """Envoy has no filter for the absence of flags; in CEL they are the bits of one number, without bit operators."""
    absent = [f"(response.flags / {1 << _BITS[flag]}) % 2 == 0" for flag in flags]
    return _expression(" && ".join([*filter(None, [condition]), *absent]))


_BITS = {"LH": 0, "UH": 1, "UF": 5, "UO": 7, "NR": 8, "URX": 15, "NC": 24}
"""envoy/stream_info/stream_info.h, CoreResponseFlag."""


def _expression(text: str) -> AccessLogFilter:
    result = AccessLogFilter()
    result.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    result.extension_filter.typed_config.CopyFrom(packed(ExpressionFilter(expression=text)))
    return result


def _stdout(text: str, condition: AccessLogFilter | None, *, omit_empty: bool = True) -> AccessLog:
    log = StdoutAccessLog()
    log.log_format.text_format_source.inline_string = text
    log.log_format.omit_empty_values = omit_empty
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=packed(log), filter=condition)
