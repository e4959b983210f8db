"""Access logs, in the words of the components they stand for.

ztunnel (src/proxy/metrics.rs of istio/ztunnel): four columns separated by tabs, the last followed by fields; values
that it knows are quoted, addresses are not, what it does not know is left out. Bytes are counted as the workload next
to the proxy sees them. What is known beforehand travels with what it is about: of the source as filter state, of the
destination as endpoint metadata. A connection that ended as it should is logged in the final form. Whatever needs a
second look has a MARK in it, and gets its final form on the way to the log (`dataplane.ztunnel_log`): what went wrong,
in Envoy's terms, and sources that only an address tells of. Connections that stay open are reported meanwhile, for
metrics and for who asks what is open; those lines are for nobody else.

Waypoint: Istio's default text format (pilot/pkg/model/telemetry_logging.go, EnvoyTextLogFormat), once for a request or
a connection; what failed at the tunnels' ends or found no filter chain has a line too, since the reason is known only
there (pilot/pkg/networking/core/accesslog.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog

from ambientlab.mesh.ir import Telemetry, Workload
from ambientlab.mesh.xds.messages import packed
from ambientlab.mesh.xds.metrics import only

SOURCE_FIELDS = "ambientlab.fields"
SOURCE_TARGET = "ambientlab.target"
"""Filter state that goes along into the tunnel: what the log says of the source, and the address it asked for where
that is not what the tunnel is asked for. Names of more than 22 octets would be allocated three times a connection."""

ASKED = "ambientlab.asked"
"""Filter state: what a tunnel is asked for. It comes along where the endpoint does not say."""

SOURCE, SOURCE_HEADER = "ambientlab.source", "x-ambientlab-source"
DESTINATION_SERVICE, DESTINATION_SERVICE_HEADER = "service", "x-ambientlab-destination-service"
"""Headers of the CONNECT that tell the other end's log what it cannot know: nothing is decided by them. The first has
the source's fields, without its identity, which its certificate proves, and comes from filter state; the last the host
of the service that was asked for, and comes from the `istio` metadata of the endpoint (in ztunnel: `forwarded`).
"""
TARGET = "log"
"""Key of the `istio` endpoint metadata with what the log says about the destination."""

MARK = "\x01"
"""Nothing that a peer sends can hold it: names, addresses and headers have no control characters."""
UNKNOWN = f"{MARK} "
"""In place of fields that only an address tells: behind a source's, its names, behind a destination's, its service."""
LIVE = f"{MARK}live\t"
"""Begins a line about a connection that is open: when it began, as seconds, what was asked for, and the fields."""
FAILURE = ("flags", "code", "policy", "reason", "target", "method")
"""What the error of a line holds, each behind a MARK."""
HANDSHAKE = "TLS"
"""In place of a method, where there was no tunnel yet."""
REPORT_EVERY_MS = 1000

_TIME = "%EMIT_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%"
TUNNEL = "envoy://"
"""Begins the address of an internal listener."""
_PLAIN_UPSTREAM = f"!upstream.address.startsWith('{TUNNEL}')"
_BEGAN = "%START_TIME(%s.%6f)%"

WAYPOINT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

_LED_NOWHERE = ("NC", "NR", "UH", "UO", "UF", "URX", "LH")
"""Envoy's response flags of a connection that never reached anybody."""
_NO_BYTES = "bytes_sent=0 bytes_recv=0"

REFUSED_STATUS = 401
"""Of a CONNECT that policies refuse."""
_FAILED_STATUS = 400
"""Statuses from here on are not those of a tunnel."""

_REFUSED = "connection closed due to policy rejection: {}"
_REQUEST = {
    "code": "%RESPONSE_CODE%",
    "policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
    "method": "%REQ(:METHOD)%",
}
"""What the failure of a request has besides."""


def no_workload(identity: str, name: str) -> str:
    """The error about a pod that the mesh does not know (src/state.rs, WorkloadInfo)."""
    namespace, _, account = identity.partition("/ns/")[2].partition("/sa/")
    return f"failed to fetch information about local workload: {account}.{namespace} ({name})"


def workload_fields(side: str, workload: str, namespace: str) -> str:
    return f'{side}.workload="{workload}" {side}.namespace="{namespace}"'


def plain_fields(service: str, workload: Workload | None) -> str:
    """What is known beforehand of an endpoint outside the tunnels: fields, each with a space behind it."""
    return "".join(f"{field} " for field in _identified(service, workload))


def source_fields(workload: str, namespace: str, identity: str) -> str:
    """The value of SOURCE_FIELDS, a format."""
    named = workload_fields("src", workload, namespace)
    return f'src.addr=%DOWNSTREAM_REMOTE_ADDRESS% {named} src.identity="{identity}" '


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
    return _connections(
        f"%FILTER_STATE({SOURCE_FIELDS}:PLAIN)%"
        f"dst.addr=%DYNAMIC_METADATA(istio:tunnel)% dst.hbone_addr=%FILTER_STATE({ASKED}:PLAIN)% "
        f"%DYNAMIC_METADATA(istio:{TARGET})%",
        "outbound",
        f"%FILTER_STATE({SOURCE_TARGET}:PLAIN)%",
    )


BY_ENDPOINT, BY_CLUSTER = f"%METADATA(UPSTREAM_HOST:istio:{TARGET})%", "%UPSTREAM_CLUSTER%"
"""Where there is what to say of a destination: in its endpoint's metadata, or as the cluster's name for statistics."""


def plain_outbound(workload: str, namespace: str, destination: str = "") -> list[AccessLog]:
    """For a captured connection that enters no tunnel: those that do are logged there. `destination` is where there is
    what to say of it, BY_ENDPOINT or BY_CLUSTER; without it there is nothing.

    Of those that do enter one, a line is left out on the way to the log, unless Envoy is asked not to write it. It is
    asked where many do: an expression costs each connection, so that the others would pay for it."""
    source = workload_fields("src", workload, namespace)
    return _connections(
        f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% {source} dst.addr=%UPSTREAM_HOST% {destination}",
        "outbound",
        "%DOWNSTREAM_LOCAL_ADDRESS%",
        only_if=_PLAIN_UPSTREAM if destination == BY_ENDPOINT else "",
    )


def tunnelled_inbound(workload: str, namespace: str, identity: str) -> list[AccessLog]:
    """For a CONNECT to a captured pod."""
    fields = (
        f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% %REQ({SOURCE_HEADER.upper()})% "
        'src.identity="%DOWNSTREAM_PEER_URI_SAN%" dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% dst.hbone_addr=%REQ(:AUTHORITY)% '
        f'%METADATA(ROUTE:istio:{TARGET})%{workload_fields("dst", workload, namespace)} dst.identity="{identity}" '
    )
    failed = _failed(fields, "inbound", "%REQ(:AUTHORITY)%", _REQUEST)
    ended, live = only(AccessLogType.DownstreamEnd), only(AccessLogType.DownstreamPeriodic)
    return [
        _stdout(_ended(fields, "inbound"), _all_of(ended, _status("LE", _FAILED_STATUS - 1))),
        _stdout(failed, _all_of(ended, _status("GE", _FAILED_STATUS))),
        _stdout(_live(fields, "inbound", f"%REQ({DESTINATION_SERVICE_HEADER.upper()})%"), live),
    ]


def refused_inbound() -> list[AccessLog]:
    """For a listener of tunnels: connections that no tunnel came of, because they are not what a mesh's peers are. The
    log leaves out those without a reason, which are all others: there are few, since tunnels share them."""
    fields = "src.addr=%DOWNSTREAM_REMOTE_ADDRESS% dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% "
    error = _error(reason="%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", method=HANDSHAKE)
    return [_stdout(_line("error", fields, "inbound", _NO_BYTES, error), None)]


def plain_inbound(workload: str, namespace: str) -> list[AccessLog]:
    """For a connection from outside the mesh to a captured pod."""
    return _connections(_plain_inbound_fields(workload, namespace), "inbound", "")


def closed(direction: str, error: str) -> list[AccessLog]:
    """For a connection that is refused before anything is known of it."""
    line = (
        f"{_TIME}\twarn\taccess\tconnection failed\tsrc.addr=%DOWNSTREAM_REMOTE_ADDRESS% "
        f'dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% direction="{direction}" error="{error}"\n'
    )
    return [_stdout(line, only(AccessLogType.TcpConnectionEnd))]


def plain_refused(workload: str, namespace: str, reason: str) -> list[AccessLog]:
    """For one that policies refuse."""
    error = f' error="{_REFUSED.format(reason)}"'
    line = _line("error", _plain_inbound_fields(workload, namespace), "inbound", _NO_BYTES, error)
    return [_stdout(line, only(AccessLogType.TcpConnectionEnd))]


def _plain_inbound_fields(workload: str, namespace: str) -> str:
    target = workload_fields("dst", workload, namespace)
    return f"src.addr=%DOWNSTREAM_REMOTE_ADDRESS% {UNKNOWN}dst.addr=%DOWNSTREAM_LOCAL_ADDRESS% {UNKNOWN}{target} "


def waypoint_requests(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry)


def waypoint_connections(telemetry: Telemetry) -> list[AccessLog]:
    """For a TCP proxy, which also tells its other logs when it has connected."""
    return _waypoint(telemetry, only(AccessLogType.TcpConnectionEnd))


def waypoint_originations(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry, _with(("UF",)))


def waypoint_terminations(telemetry: Telemetry) -> list[AccessLog]:
    return _waypoint(telemetry, _status("GE", _FAILED_STATUS))


def status(value: int) -> AccessLogFilter:
    return _status("EQ", value)


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
    every = AccessLogFilter()
    every.and_filter.filters.extend(conditions)
    return every


def _connections(fields: str, direction: str, target: str, *, only_if: str = "") -> list[AccessLog]:
    """The logs of a TCP proxy. `fields` end in a space; `target` is what was asked for, which is all there is to say of
    what led nowhere; `only_if` is a condition for what had somewhere to go and has ended.

    Envoy has no filter for the absence of flags but expressions, which cost a restart among many pods more than
    anything else. So what led nowhere is logged as if it had ended well besides, behind the line that says why; the
    second is left out on the way to the log.
    """
    ended, live = only(AccessLogType.TcpConnectionEnd), only(AccessLogType.TcpPeriodic)
    return [
        _stdout(_failed(fields, direction, target), _all_of(ended, _with(_LED_NOWHERE))),
        _stdout(_ended(fields, direction), _all_of(ended, *([_expression(only_if)] if only_if else []))),
        _stdout(_live(fields, direction, target), live),
    ]


def _line(level: str, fields: str, direction: str, amount: str, error: str = "") -> str:
    return (
        f'{_TIME}\t{level}\taccess\tconnection complete\t{fields}direction="{direction}" {amount} '
        f'duration="%DURATION%ms"{error}\n'
    )


def _ended(fields: str, direction: str) -> str:
    return _line("info", fields, direction, _bytes(direction))


def _failed(fields: str, direction: str, target: str, request: Mapping[str, str] = MappingProxyType({})) -> str:
    """No byte went anywhere: Envoy counts those of its own answer."""
    error = _error(reason="%UPSTREAM_TRANSPORT_FAILURE_REASON%", target=target, **request)
    return _line("error", fields, direction, _NO_BYTES, error)


def _error(**given: str) -> str:
    """Of what is `given`: a connection has no more than these, a request besides what is in _REQUEST."""
    given["flags"] = "%RESPONSE_FLAGS%"
    return f' error="{"".join(MARK + given.get(name, "") for name in FAILURE)}"'


def _live(fields: str, direction: str, target: str) -> str:
    return f'{LIVE}{_BEGAN}\t{target}\t{fields}direction="{direction}" {_bytes(direction)}\n'


def _bytes(direction: str) -> str:
    received, sent = ("%BYTES_SENT%", "%BYTES_RECEIVED%")
    if direction == "inbound":
        received, sent = sent, received
    return f"bytes_sent={sent} bytes_recv={received}"


def _status(op: str, code: int) -> AccessLogFilter:
    """0 is that of what was never answered."""
    result = AccessLogFilter()
    comparison = result.status_code_filter.comparison
    comparison.op = comparison.Op.Value(op)
    comparison.value.default_value = code
    comparison.value.runtime_key = "istio.io/unset"
    return result


def _with(flags: Sequence[str]) -> AccessLogFilter:
    result = AccessLogFilter()
    result.response_flag_filter.flags.extend(flags)
    return result


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
