"""A waypoint's metrics: what Istio's `istio.stats` filter counts, with Envoy's own stats access logger.

The filter's rules for a reporter of kind SERVER_GATEWAY: istio/proxy, source/extensions/filters/http/istio_stats.
Names and labels get their final form when they are served (`dataplane.prometheus`). Bytes of a TCP connection are
counted when it ends; Istio also reports them every five seconds before.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.stats.v3.stats_pb2 import Config

from ambientlab.mesh.ir import MetricChange, Telemetry
from ambientlab.mesh.xds import labels
from ambientlab.mesh.xds.messages import packed

SOURCE_LABELS = "ambientlab.source.labels"
"""Filter state of a connection through a waypoint: the labels of its source."""

SOURCE_NAMES, SOURCE_NAMES_HEADER = "ambientlab.names", "x-ambientlab-source-names"
"""Filter state and header of the CONNECT by which the source's node proxy tells what Istio's waypoints look up by
address: see `labels.names`."""

_CONNECTED = AccessLogType.TcpUpstreamConnected
_ENDED = AccessLogType.TcpConnectionEnd
_NEVER_CONNECTED = ("UF", "UH", "NR", "NC", "UO", "URX")

_GRPC_CONTENT = r"application/grpc(\+.*)?"
"""As Envoy's Grpc::Common::isGrpcRequestHeaders, which istio.stats asks."""
_COUNTED_MESSAGES = "%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%"
"""`sent,received` of a gRPC call, by the filter that counts them."""


def source_labels() -> str:
    """The value of SOURCE_LABELS where a CONNECT ends, a format."""
    return labels.peer(f"%REQ({SOURCE_NAMES_HEADER.upper()})%", "%DOWNSTREAM_PEER_URI_SAN%")


def http(telemetry: Telemetry) -> Iterator[AccessLog]:
    """For a connection manager. gRPC has a label more that is filled, and is told by its content."""
    if telemetry.metrics:
        yield from _requests(telemetry, "http", grpc=False)
        yield from _requests(telemetry, "grpc", grpc=True)


def tcp(telemetry: Telemetry) -> Iterator[AccessLog]:
    """For a TCP proxy that logs both when it has connected and at the end."""
    if not telemetry.metrics:
        return
    opened, closed = Counting(telemetry, "", "tcp"), Counting(telemetry, "", "tcp")
    opened.count("istio_tcp_connections_opened_total")
    closed.count("istio_tcp_connections_closed_total")
    closed.count("istio_tcp_sent_bytes_total", "%DOWNSTREAM_WIRE_BYTES_SENT%")
    closed.count("istio_tcp_received_bytes_total", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%")
    failed = AccessLogFilter()
    failed.and_filter.filters.add().CopyFrom(only(_ENDED))
    failed.and_filter.filters.add().response_flag_filter.flags.extend(_NEVER_CONNECTED)
    either = AccessLogFilter()
    either.or_filter.filters.extend([only(_CONNECTED), failed])
    yield from opened.logger(either)
    yield from closed.logger(only(_ENDED))


def only(kind: AccessLogType.ValueType) -> AccessLogFilter:
    result = AccessLogFilter()
    result.log_type_filter.types.append(kind)
    return result


def _requests(telemetry: Telemetry, protocol: str, *, grpc: bool) -> Iterator[AccessLog]:
    counting = Counting(telemetry, "%RESPONSE_CODE%", protocol, "%GRPC_STATUS_NUMBER%" if grpc else "")
    counting.count("istio_requests_total")
    counting.measure("istio_request_duration_milliseconds", "Milliseconds", "%DURATION%")
    counting.measure("istio_request_bytes", "Bytes", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%")
    counting.measure("istio_response_bytes", "Bytes", "%DOWNSTREAM_WIRE_BYTES_SENT%")
    if grpc:
        for metric in labels.MESSAGES:
            counting.count(metric)
    yield from counting.logger(_content(grpc=grpc))


def _content(*, grpc: bool) -> AccessLogFilter:
    """The prefix alone decides for nearly all requests: the regular expression costs five times as much."""
    result = AccessLogFilter()
    both = (result.and_filter if grpc else result.or_filter).filters
    prefix, exact = (both.add().header_filter.header for _ in range(2))
    prefix.string_match.prefix = "application/grpc"
    exact.string_match.safe_regex.regex = _GRPC_CONTENT
    for matcher in (prefix, exact):
        matcher.name = "content-type"
        matcher.treat_missing_header_as_empty = True
        matcher.invert_match = not grpc
    return result


class Counting:
    """One logger's metrics as they are added, each with the labels that `telemetry` leaves or gives it."""

    def __init__(self, telemetry: Telemetry, code: str, protocol: str, grpc_status: str = "") -> None:
        self._telemetry = telemetry
        self._config = Config(stat_prefix=labels.PREFIX)
        self._groups = (
            f"%FILTER_STATE({SOURCE_LABELS}:PLAIN)%",
            "%UPSTREAM_HOST_NAME%",
            "%UPSTREAM_CLUSTER%",
            "%RESPONSE_FLAGS%",
            code,
            protocol,
            grpc_status,
        )

    def count(self, name: str, value: str = "") -> None:
        """Add one, or what `value` formats to."""
        text = self._text(name)
        if text is None:
            return
        counter = self._config.counters.add(value_format=value)
        counter.stat.name = name
        counter.stat.tags.add(name=labels.TAG, value_format=text)
        if not value:
            counter.value_fixed.value = 1

    def measure(self, name: str, unit: str, value: str) -> None:
        text = self._text(name)
        if text is None:
            return
        histogram = self._config.histograms.add(unit=Config.Histogram.Unit.Value(unit), value_format=value)
        histogram.stat.name = name
        histogram.stat.tags.add(name=labels.TAG, value_format=text)

    def logger(self, condition: AccessLogFilter) -> Iterator[AccessLog]:
        if self._config.counters or self._config.histograms:
            yield AccessLog(name="envoy.access_loggers.stats", typed_config=packed(self._config), filter=condition)

    def _text(self, name: str) -> str | None:
        change = self._telemetry.change(name) or MetricChange(name)
        if change.disabled:
            return None
        given = {label: f"%CEL({cel})%" if cel else "" for label, cel in change.labels if cel is not None}
        changed = [label for label, _ in change.labels]
        messages = _COUNTED_MESSAGES if name in labels.MESSAGES else ""
        return labels.instructions(changed, messages) + labels.tag(self._groups, given)
