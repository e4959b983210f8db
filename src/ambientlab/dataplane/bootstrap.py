"""How the mesh's Envoys are started: command line, bootstrap, and what of the node they see. Pure data.

Everything else they learn over delta ADS. The bootstrap carries the proxy's token, so it is readable by nobody else.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ambientlab.api import parse
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.api.objects import Object, annotations_of, labels_of, name, namespace, uid
from ambientlab.cluster import CLUSTER_ID, ISTIO_VERSION
from ambientlab.dataplane import prometheus
from ambientlab.mesh.index import meshconfig
from ambientlab.mesh.serve.proxies import environment_of
from ambientlab.mesh.xds import labels

BINARY = "/opt/istio/envoy"
CONFIG = "/etc/istio/proxy/envoy.json"
ADMIN_SOCKET = "/run/istio/admin.sock"
XDS_DIRECTORY = "/run/istio/xds"

FLAGS = (
    "--concurrency", "1",  # one node, one learner: a worker more costs memory and buys nothing
    "--disable-hot-restart",
    "--log-level", "warning",
    # Else each message of a resource is searched for fields that are unknown, deprecated or work in progress, only to
    # warn of them: a tenth of a restart among many pods (source/common/protobuf/utility.cc, checkForUnexpectedFields).
    "--ignore-unknown-dynamic-fields",
    "--log-format", "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n\t%v",
    "--drain-strategy", "immediate",  # who has a connection that is drained is told so with its next answer
    "--file-flush-interval-msec", "50",  # how long an access log line may lag behind its request
)  # fmt: skip

DRAIN = 1
"""Seconds that an Envoy goes on with what is open on a listener, or a filter chain of one, that has been taken away.
Istio's default is 45 (pkg/config/mesh/mesh.go, drainDuration; pkg/envoy/proxy.go), but Envoy keeps a whole listener so
long for each change of one, and here many more changes are pushed in that time than by Istio, which waits for more."""
_PROXY_CONFIG = "proxy.istio.io/config"

# Listeners of pods, tunnels and files: what is open besides the connections of clients.
_OTHER_DESCRIPTORS = 600

OPEN_TUNNELS = "http.connect_terminate.downstream_rq_active"
TUNNELS = "http.connect_terminate.downstream_rq_total"
"""How many of its clients' connections a waypoint has under way, and how many it has ever had."""

_TOKEN = "token"
_CREDENTIALS = "envoy.extensions.http.injected_credentials"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class Startup:
    """What a container of Envoy needs. `files` maps paths in the container to (content, mode); `binds` are pairs of a
    path of the node and where it appears in the container, read-only."""

    argv: Sequence[str]
    files: Mapping[str, tuple[bytes, int]]
    binds: Sequence[tuple[str, str]]


def bootstrap_for_ztunnel(pod: Object, token: str, *, envoy: str, xds_socket: str) -> Startup:
    """The node proxy. `envoy` and `xds_socket` are paths of the node; `token` is the pod's service account token."""
    bootstrap = _bootstrap(pod, "ztunnel", "ztunnel", token, _inside(xds_socket))
    bootstrap["stats_config"] = _only(_OWN_STATS)
    return _startup(bootstrap, envoy, xds_socket, DRAIN)


def bootstrap_for_waypoint(pod: Object, token: str, *, envoy: str, xds_socket: str) -> Startup:
    """A waypoint, named as `istioctl proxy-status` names one: its cluster is `gateway.namespace`. Raises ValueError for
    a configuration that Istio's agent would not start with."""
    gateway = labels_of(pod).get(GATEWAY_NAME_LABEL, name(pod))
    bootstrap = _bootstrap(pod, "waypoint", f"{gateway}.{namespace(pod)}", token, _inside(xds_socket))
    bootstrap["static_resources"]["clusters"] += prometheus.clusters(ADMIN_SOCKET)
    bootstrap["static_resources"]["listeners"] = prometheus.listeners()
    return _startup(bootstrap, envoy, xds_socket, _drain_of(pod))


def flags(drain: int) -> Sequence[str]:
    """Of an Envoy of the mesh that drains for so many seconds."""
    return (*FLAGS, "--drain-time-s", str(drain))


def _drain_of(pod: Object) -> int:
    """What its ProxyConfig says, in the variable that Istio's templates give a proxy or, before that, in an annotation
    (pilot/cmd/pilot-agent/config/config.go)."""
    found: Any = None
    for text in (environment_of(pod).get("PROXY_CONFIG"), annotations_of(pod).get(_PROXY_CONFIG)):
        try:
            config = parse.parse(text.encode(), "application/yaml").value if text else None
        except StatusError as error:
            raise ValueError(f"failed to unmarshal proxy config: {error.message}") from error
        if isinstance(config, dict) and config.get(meshconfig.DRAIN) is not None:
            found = config[meshconfig.DRAIN]
    return DRAIN if found is None else meshconfig.drain_seconds(found)


def proxy_bootstrap(
    *, node_id: str, cluster: str, token: str, xds_socket: str, admin_socket: str, metadata: Mapping[str, str]
) -> dict[str, Any]:
    """An Envoy that asks `xds_socket` for everything, as Envoy's v3 Bootstrap in JSON."""
    return {
        "node": {"id": node_id, "cluster": cluster, "metadata": dict(metadata)},
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "xds-grpc",
                            # How soon a restarted control plane is found again; Envoy's own default reaches 30 s.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}},
                        },
                    }
                ],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [_xds_cluster(xds_socket)], "secrets": [_credential(token)]},
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {
                    "@type": _type("envoy.extensions.bootstrap.internal_listener.v3.InternalListener"),
                    "buffer_size_kb": 64,
                },
            }
        ],
        "stats_config": _only((*_OWN_STATS, *_TRAFFIC_STATS)),
        "layered_runtime": runtime(),
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _type(
                            "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
                        ),
                        "max_active_downstream_connections": _most_connections(),
                    },
                }
            ]
        },
    }


def runtime() -> dict[str, Any]:
    """What decides how every Envoy of the mesh takes its configuration and its requests."""
    return {"layers": [{"name": "static", "static_layer": _RUNTIME}]}


def _most_connections() -> int:
    """Each connection has a socket on either side of the proxy, and Envoy ends by an assertion when it cannot open one
    (source/common/network/socket_interface_impl.cc). Containers inherit this process's limit."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(50_000, max(100, (descriptors - _OTHER_DESCRIPTORS) // 2))


def _bootstrap(pod: Object, kind: str, cluster: str, token: str, xds_socket: str) -> dict[str, Any]:
    """The node id has the form of Istio's agents: type~ip~pod.namespace~domain."""
    ip = pod.get("status", {}).get("podIP", "")
    return proxy_bootstrap(
        node_id=f"{kind}~{ip}~{name(pod)}.{namespace(pod)}~{namespace(pod)}.svc.cluster.local",
        cluster=cluster,
        token=token,
        xds_socket=xds_socket,
        admin_socket=ADMIN_SOCKET,
        metadata={
            "NAME": name(pod),
            "NAMESPACE": namespace(pod),
            "POD_UID": uid(pod),
            "CLUSTER_ID": CLUSTER_ID,
            "ISTIO_VERSION": ISTIO_VERSION,
        },
    )


def _startup(bootstrap: dict[str, Any], envoy: str, xds_socket: str, drain: int) -> Startup:
    directory = xds_socket.rpartition("/")[0]
    return Startup(
        argv=(BINARY, "--config-path", CONFIG, *flags(drain)),
        files={CONFIG: (orjson.dumps(bootstrap), 0o600)},
        binds=((envoy, BINARY), (directory, XDS_DIRECTORY)),
    )


def _inside(xds_socket: str) -> str:
    return f"{XDS_DIRECTORY}/{xds_socket.rpartition('/')[2]}"


def _credential(token: str) -> dict[str, Any]:
    """As a secret, because Envoy shows everything else of its bootstrap to whoever may see its configuration."""
    return {"name": _TOKEN, "generic_secret": {"secret": {"inline_string": f"Bearer {token}"}}}


def _xds_cluster(path: str) -> dict[str, Any]:
    generic = {"@type": _type(f"{_CREDENTIALS}.generic.v3.Generic"), "credential": {"name": _TOKEN}}
    injector = {
        "@type": _type("envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"),
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
    }
    codec = {"@type": _type("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")}
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _type(_HTTP_OPTIONS),
                "explicit_http_config": {"http2_protocol_options": {}},
                "http_filters": [
                    {"name": "envoy.filters.http.credential_injector", "typed_config": injector},
                    {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
                ],
            }
        },
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
        },
    }


def _type(message: str) -> str:
    return f"type.googleapis.com/{message}"


_RUNTIME = {
    # A tunnelled server that closes first ends its HTTP/2 stream with RST_STREAM(NO_ERROR) (RFC 9113, section 8.1).
    # Passed on as a TCP reset, that would take from the client what it has not read yet.
    "envoy.reloadable_features.propagate_upstream_rst_through_tunneled_tcp_proxy": False,
    # As Istio has them: by default Envoy refuses expressions of more than some 90 characters, and paths with a `#`
    # where Istio's cuts that off.
    "re2.max_program_size.error_level": 32768,
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
}

_OWN_STATS = (
    {"prefix": "cluster_manager."},
    {"prefix": "listener_manager."},
    {"prefix": "server."},
    {"prefix": "cluster.xds-grpc."},
)
"""Where there are no others, Envoy leaves out the rest by the first parts of their names, and does not spell out each
(source/common/stats/stats_matcher_impl.cc, fastRejects): those of ztunnel's listeners are hundreds for each pod."""

_TRAFFIC_STATS = (
    {"prefix": labels.PREFIX},
    {"prefix": "vhost."},
    {"contains": "rbac"},
    {"exact": OPEN_TUNNELS},
    {"exact": TUNNELS},
)
"""What Istio keeps of a waypoint, and its metrics. Of virtual hosts there are those that routes ask for by statPrefix
(pkg/bootstrap/config.go, requiredEnvoyStatsMatcherInclusionRegexes)."""


def _only(patterns: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Every statistic that is not kept saves memory for each cluster and listener."""
    return {"stats_matcher": {"inclusion_list": {"patterns": list(patterns)}}}
