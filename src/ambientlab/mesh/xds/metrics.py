"""A waypoint's metrics: what Istio's `istio.stats` filter counts, with Envoy's own stats access logger.

The filter's rules for a reporter of kind SERVER_GATEWAY: istio/proxy, source/extensions/filters/http/istio_stats.

Names and labels get their final form when they are served (`dataplane.prometheus`). Bytes of a TCP connection are
counted when it ends; Istio also reports them every five seconds before.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.stats.v3.stats_pb2 import Config

from ambientlab.mesh.xds import labels
from ambientlab.mesh.xds.labels import AND, EMPTY_OR, IS
from ambientlab.mesh.xds.messages import metadata, packed

SOURCE_LABELS = "ambientlab.source.labels"
"""Filter state of a connection through a waypoint: the labels of its source."""

SOURCE_NAMES = {
    "x-ambientlab-source-workload-name": "ambientlab.source.workload_name",
    "x-ambientlab-source-canonical-name": "ambientlab.source.canonical_name",
    "x-ambientlab-source-canonical-revision": "ambientlab.source.canonical_revision",
}
"""Headers of the CONNECT by which the source's node proxy tells what Istio's waypoints look up by address, and the
filter state they are made of."""

_CONNECTED = AccessLogType.TcpUpstreamConnected
_ENDED = AccessLogType.TcpConnectionEnd
_NEVER_CONNECTED = ("UF", "UH", "NR", "NC", "UO", "URX")

_GRPC_CONTENT = r"application/grpc(\+.*)?"
"""As Envoy's Grpc::Common::isGrpcRequestHeaders, which istio.stats asks."""


def source_labels(namespace: str) -> str:
    """The value of SOURCE_LABELS where a CONNECT ends; `namespace` is a format, like the result."""
    workload, service, revision = (f"%REQ({header.upper()})%" for header in SOURCE_NAMES)
    return labels.text(
        labels.peer(
            "source",
            workload=workload,
            service=service,
            revision=revision,
            namespace=namespace,
            principal="%DOWNSTREAM_PEER_URI_SAN%",
        )
    )


def group(text: str) -> Metadata:
    """Labels that an endpoint or a cluster brings along."""
    return metadata({labels.METADATA: {labels.GROUP: text}})


def http() -> list[AccessLog]:
    """For a connection manager. gRPC has a label more that is filled, and is told by its content."""
    return [_requests("http", grpc=False), _requests("grpc", grpc=True)]


def tcp() -> list[AccessLog]:
    """For a TCP proxy that logs both when it has connected and at the end."""
    tag = _tag({"request_protocol": "tcp"}, {})
    opened = Config(stat_prefix=labels.PREFIX)
    _count(opened, "istio_tcp_connections_opened_total", tag)
    closed = Config(stat_prefix=labels.PREFIX)
    _count(closed, "istio_tcp_connections_closed_total", tag)
    _count(closed, "istio_tcp_sent_bytes_total", tag, "%DOWNSTREAM_WIRE_BYTES_SENT%")
    _count(closed, "istio_tcp_received_bytes_total", tag, "%DOWNSTREAM_WIRE_BYTES_RECEIVED%")
    failed = AccessLogFilter()
    failed.and_filter.filters.add().CopyFrom(only(_ENDED))
    failed.and_filter.filters.add().response_flag_filter.flags.extend(_NEVER_CONNECTED)
    either = AccessLogFilter()
    either.or_filter.filters.extend([only(_CONNECTED), failed])
    return [_logger(opened, either), _logger(closed, only(_ENDED))]


def only(kind: AccessLogType.ValueType) -> AccessLogFilter:
    result = AccessLogFilter()
    result.log_type_filter.types.append(kind)
    return result


def _requests(protocol: str, *, grpc: bool) -> AccessLog:
    tag = _tag(
        {"request_protocol": protocol, "response_code": "%RESPONSE_CODE%"},
        {"grpc_response_status": "%GRPC_STATUS_NUMBER%" if grpc else ""},
    )
    config = Config(stat_prefix=labels.PREFIX)
    _count(config, "istio_requests_total", tag)
    units = Config.Histogram
    _measure(config, "istio_request_duration_milliseconds", tag, units.Milliseconds, "%DURATION%")
    _measure(config, "istio_request_bytes", tag, units.Bytes, "%DOWNSTREAM_WIRE_BYTES_RECEIVED%")
    _measure(config, "istio_response_bytes", tag, units.Bytes, "%DOWNSTREAM_WIRE_BYTES_SENT%")
    content = AccessLogFilter()
    matcher = content.header_filter.header
    matcher.name = "content-type"
    matcher.string_match.safe_regex.regex = _GRPC_CONTENT
    matcher.treat_missing_header_as_empty = True
    matcher.invert_match = not grpc
    return _logger(config, content)


def _tag(known: Mapping[str, str], may_be_empty: Mapping[str, str]) -> Config.Tag:
    chosen = [
        (labels.DESTINATION, f"%METADATA(UPSTREAM_HOST:{labels.METADATA}:{labels.GROUP})%"),
        (labels.SERVICE, f"%METADATA(CLUSTER:{labels.METADATA}:{labels.GROUP})%"),
    ]
    parts = [
        labels.text({"reporter": "waypoint"}),
        f"%FILTER_STATE({SOURCE_LABELS}:PLAIN)%",
        *(f"{start}{value}{end}" for (start, end), value in chosen),
        labels.text(known),
        *(f"{name}{IS}{value}{EMPTY_OR}" for name, value in may_be_empty.items()),
        labels.text({"response_flags": "%RESPONSE_FLAGS%", "connection_security_policy": "mutual_tls"}).removesuffix(
            AND
        ),
    ]
    return Config.Tag(name=labels.TAG, value_format="".join(parts))


def _count(config: Config, name: str, tag: Config.Tag, value: str = "") -> None:
    counter = config.counters.add(value_format=value)
    counter.stat.name = name
    counter.stat.tags.append(tag)
    if not value:
        counter.value_fixed.value = 1


def _measure(config: Config, name: str, tag: Config.Tag, unit: Config.Histogram.Unit.ValueType, value: str) -> None:
    histogram = config.histograms.add(unit=unit, value_format=value)
    histogram.stat.name = name
    histogram.stat.tags.append(tag)


def _logger(config: Config, condition: AccessLogFilter) -> AccessLog:
    return AccessLog(name="envoy.access_loggers.stats", typed_config=packed(config), filter=condition)
