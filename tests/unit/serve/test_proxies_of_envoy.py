"""The ADS server with real Envoys at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401 - registers the type
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2 as network_pb2  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds.type.v3 import typed_struct_pb2  # noqa: F401

from ambientlab.mesh.ir import Credential
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.identity import Identity, spiffe_id
from ambientlab.mesh.serve.secrets import Secrets
from ambientlab.mesh.serve.server import AdsServer
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resources
from support.envoy import extension, free_port, http_get, loopback, parse, running_envoy
from support.late import Late
from support.told import tell
from support.waiting import until

ZTUNNEL = Identity("istio-system", "ztunnel", "ztunnel-abcde")
CLIENT, SERVER = spiffe_id("default", "client"), spiffe_id("default", "server")
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for socket paths."""
    with TemporaryDirectory(prefix="xds") as path:
        yield Path(path)


class Serving:
    """An ADS server that serves the same resources to everyone who has the token."""

    def __init__(self, directory: Path) -> None:
        self.resources: Resources = {}
        self.admitted: Callable[[Connection], None] = lambda connection: None
        self.secrets = Secrets(
            CertificateAuthority.create(), lambda proxy, identity: identity == CLIENT, lambda proxy, name: None
        )
        self.socket = directory / "xds.sock"
        self.server = AdsServer(
            self.socket, lambda token: ZTUNNEL if token == "good" else None, self._admit, lambda connection: None
        )

    def _admit(self, proxy: Identity) -> Connection:
        connection = Connection(proxy, self.secrets)
        self.admitted(connection)
        tell(connection, self.resources, {})
        return connection

    @property
    def connection(self) -> Connection:
        return self.server.connections[-1]

    def apply(self, **resources: dict[str, Any]) -> None:
        before, self.resources = self.resources, {**self.resources, **resources}
        for connection in self.server.connections:
            tell(connection, self.resources, before)

    async def connected(self) -> None:
        await until(
            lambda: bool(self.server.connections) and bool(self.connection.session.held(LISTENER)), "Envoy configured"
        )


@pytest.fixture
async def serving(directory: Path) -> AsyncIterator[Serving]:
    serving = Serving(directory)
    await serving.server.start()
    yield serving
    await serving.server.stop()


def static_cluster(name: str, port: int, **more: Any) -> Cluster:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": loopback(port)}}]}]
    return parse(Cluster, {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more})


def eds_cluster(name: str, **more: Any) -> Cluster:
    return parse(Cluster, {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, **more})


def load_assignment(name: str, port: int) -> ClusterLoadAssignment:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": loopback(port)}}]}]
    return parse(ClusterLoadAssignment, {"cluster_name": name, "endpoints": endpoints})


def http_listener(port: int, name: str = "http") -> Listener:
    manager = extension(
        "hcm",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        rds={"route_config_name": "routes", "config_source": ADS},
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    return parse(Listener, {"name": name, "address": loopback(port), "filter_chains": [{"filters": [manager]}]})


def answering_listener(port: int, body: str) -> Listener:
    manager = extension(
        "hcm",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=body,
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": body}},
                        }
                    ],
                }
            ]
        },
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    return parse(Listener, {"name": body, "address": loopback(port), "filter_chains": [{"filters": [manager]}]})


def routes_to(cluster: str) -> RouteConfiguration:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    return parse(
        RouteConfiguration,
        {"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )


async def test_envoy_runs_what_it_is_told_and_what_changes(serving: Serving, directory: Path) -> None:
    entry, first, second = free_port(), free_port(), free_port()
    serving.resources = {
        CLUSTER: {"first": eds_cluster("first")},
        ENDPOINTS: {"first": load_assignment("first", first)},
        LISTENER: {
            "http": http_listener(entry),
            "one": answering_listener(first, "one"),
            "two": answering_listener(second, "two"),
        },
        ROUTES: {"routes": routes_to("first")},
    }
    async with running_envoy(directory, serving.socket, "good") as admin:
        await serving.connected()
        await serving.connection.in_force(ROUTES, ["routes"], 5)
        assert await http_get(entry) == (200, b"one")
        assert await admin.ready()
        serving.apply(**{ENDPOINTS: {"first": load_assignment("first", second)}})
        await serving.connection.in_force(ENDPOINTS, ["first"], 5)
        assert await http_get(entry) == (200, b"two")


async def test_one_bad_resource_leaves_the_others_alone_and_is_explained(serving: Serving, directory: Path) -> None:
    good = {f"good-{i}": static_cluster(f"good-{i}", 9) for i in range(5)}
    bad = static_cluster("bad", 9, connect_timeout="-1s")
    serving.resources = {CLUSTER: {**good, "bad": bad}, LISTENER: {"http": answering_listener(free_port(), "here")}}
    async with running_envoy(directory, serving.socket, "good") as admin:
        await serving.connected()
        assert {c["name"] for c in (await admin.clusters())["cluster_statuses"]} == {*good, "xds-grpc"}
        [rejection] = serving.connection.session.rejections
        assert (rejection.type_url, rejection.name) == (CLUSTER, "bad")
        assert "Expected positive duration" in rejection.detail
        with pytest.raises(OSError, match=r"refuses bad: .*Expected positive duration"):
            await serving.connection.in_force(CLUSTER, ["bad"], 5)
        serving.apply(**{CLUSTER: {**good, "bad": static_cluster("bad", 9)}})
        await serving.connection.in_force(CLUSTER, ["bad"], 5)
        assert serving.connection.session.rejections == []


async def test_a_refused_credential_is_forgotten_with_the_last_cluster_that_is_made_with_it(
    serving: Serving, directory: Path
) -> None:
    name = "kubernetes://authority-cacert"
    ca = CertificateAuthority.create()
    refused = Credential(authorities=b"no certificate")
    serving.secrets = Secrets(ca, lambda *_: False, lambda _, asked: refused if asked == name else None)
    secret = {"name": name, "sds_config": ADS}
    context = {"validation_context_sds_secret_config": secret}
    tls = extension("tls", "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=context)
    serving.resources = {
        CLUSTER: {"c": static_cluster("c", 9), "guarded": static_cluster("guarded", 9, transport_socket=tls)},
        LISTENER: {"l": answering_listener(free_port(), "l")},
    }
    async with running_envoy(directory, serving.socket, "good"):
        await until(lambda: serving.server.connections and serving.connection.session.rejections, "it is refused")
        [rejected] = serving.connection.session.rejections
        assert (rejected.type_url, rejected.name) == (SECRET, name)
        assert "Failed to load trusted CA certificates" in rejected.detail
        serving.apply(**{CLUSTER: {"c": static_cluster("c", 9)}})
        await until(lambda: not serving.connection.session.rejections, "it is forgotten")


async def test_traffic_moves_to_a_new_cluster_without_a_failed_request(serving: Serving, directory: Path) -> None:
    entry, backend = free_port(), free_port()
    serving.resources = {
        CLUSTER: {"c0": eds_cluster("c0")},
        ENDPOINTS: {"c0": load_assignment("c0", backend)},
        LISTENER: {"http": http_listener(entry), "app": answering_listener(backend, "app")},
        ROUTES: {"routes": routes_to("c0")},
    }
    answers: list[int] = []
    async with running_envoy(directory, serving.socket, "good"):
        await serving.connected()
        await serving.connection.in_force(ROUTES, ["routes"], 5)
        moving = True

        async def load() -> None:
            while moving:
                answers.append((await http_get(entry))[0])

        clients = [asyncio.create_task(load()) for _ in range(4)]
        for i in range(1, 20):
            serving.apply(
                **{
                    CLUSTER: {f"c{i}": eds_cluster(f"c{i}")},
                    ENDPOINTS: {f"c{i}": load_assignment(f"c{i}", backend)},
                    ROUTES: {"routes": routes_to(f"c{i}")},
                }
            )
            await serving.connection.in_force(CLUSTER, [f"c{i}", f"c{i - 1}"], 5)
        # the same cluster with another setting has to warm again, from endpoints it already has
        serving.apply(**{CLUSTER: {"c19": eds_cluster("c19", connect_timeout="3s")}})
        await serving.connection.in_force(CLUSTER, ["c19"], 5)
        moving = False
        await asyncio.gather(*clients)
    assert len(answers) > 50
    assert set(answers) == {200}


async def test_a_proxy_that_lost_its_control_plane_finds_the_next_and_keeps_what_is_the_same(
    serving: Serving, directory: Path
) -> None:
    entry = free_port()
    serving.resources = {CLUSTER: {"a": static_cluster("a", 9)}, LISTENER: {"l": answering_listener(entry, "l")}}
    async with running_envoy(directory, serving.socket, "good"):
        await serving.connected()
        await serving.server.stop()
        assert await http_get(entry) == (200, b"l")
        again = Serving(directory)
        again.resources = {CLUSTER: {"b": static_cluster("b", 9)}, LISTENER: serving.resources[LISTENER]}
        await again.server.start()
        await again.connected()
        await again.connection.in_force(CLUSTER, ["a", "b"], 5)
        assert set(again.connection.session.held(CLUSTER)) == {"b"}
        await again.server.stop()


async def test_a_proxy_starts_although_a_cluster_it_waits_for_needs_no_endpoints_any_more(
    serving: Serving, directory: Path
) -> None:
    late: list[Late] = []
    serving.admitted = lambda connection: late.append(Late(connection, ENDPOINTS))
    serving.resources = {
        CLUSTER: {"moves": eds_cluster("moves"), "stays": eds_cluster("stays")},
        ENDPOINTS: {"moves": load_assignment("moves", 9), "stays": load_assignment("stays", 9)},
        LISTENER: {"l": answering_listener(free_port(), "l")},
    }
    async with running_envoy(directory, serving.socket, "good"):
        await until(lambda: late and serving.connection.session.subscribed(ENDPOINTS), "Envoy waits for endpoints")
        serving.apply(**{CLUSTER: {**serving.resources[CLUSTER], "moves": static_cluster("moves", 9)}})
        await serving.connection.in_force(CLUSTER, ["moves"], 5)
        late[0].arrive()
        await serving.connected()


async def test_each_client_certificate_comes_on_demand_and_only_to_the_entitled(
    serving: Serving, directory: Path
) -> None:
    """The tunnel of one identity to another: the secret is asked for by SPIFFE ID when a connection needs it."""
    entry, denied, tunnel = free_port(), free_port(), free_port()
    access_log = directory / "access.log"
    serving.secrets._entitled = lambda proxy, identity: identity in (CLIENT, SERVER)
    serving.resources = {
        CLUSTER: {"tunnel": static_cluster("tunnel", tunnel, **tunnel_client())},
        LISTENER: {
            "entry": originating_listener(entry, CLIENT),
            "denied": originating_listener(denied, spiffe_id("kube-system", "admin")),
            "tunnel": terminating_listener(tunnel, SERVER, access_log),
        },
    }
    async with running_envoy(directory, serving.socket, "good"):
        await serving.connected()
        await until(lambda: SERVER in serving.connection.session.held(SECRET), "the server's certificate")
        assert CLIENT not in serving.connection.session.held(SECRET)
        for port in (entry, denied):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            writer.close()
        await until(lambda: access_log.exists() and access_log.read_text() != "", "an access log line")
        assert access_log.read_text() == f"{CLIENT} -> {SERVER} 200\n"
        await until(lambda: CLIENT in serving.connection.session.held(SECRET), "its acknowledgement")
        before = serving.connection.session.held(SECRET)[CLIENT]
        serving.secrets.forget(CLIENT)
        serving.connection.refresh_secrets()
        await serving.connection.in_force(SECRET, [CLIENT], 5)
        assert serving.connection.session.held(SECRET)[CLIENT] != before
        assert spiffe_id("kube-system", "admin") not in serving.connection.session.held(SECRET)


def common_tls(**certificates: Any) -> dict[str, Any]:
    return {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
        **certificates,
    }


def tunnel_client() -> dict[str, Any]:
    """xds-protos has no message for the selector, so it travels as a TypedStruct."""
    kind = "filter_state_override.v3.Config"
    mapper = {
        "@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_mappers.{kind}",
        "default_value": "none",
    }
    selector = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_selectors."
        "on_demand_secret.v3.Config",
        "value": {"config_source": ADS, "certificate_mapper": {"name": "mapper", "typed_config": mapper}},
    }
    tls = common_tls(custom_tls_certificate_selector={"name": "on-demand", "typed_config": selector})
    options = "upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/envoy.extensions.{options}"}
    http2 |= {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}  # type: ignore[dict-item]  # JSON
    return {
        "transport_socket": extension("tls", "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=tls),
        "typed_extension_protocol_options": {f"envoy.extensions.{options}": http2},
    }


def originating_listener(port: int, identity: str) -> Listener:
    chosen = {
        "object_key": "envoy.tls.certificate_mappers.on_demand_secret",
        "factory_key": "envoy.hashable_string",
        "format_string": {"text_format_source": {"inline_string": identity}},
        "shared_with_upstream": "ONCE",
    }
    filters = [
        extension("set", "filters.network.set_filter_state.v3.Config", on_new_connection=[chosen]),
        extension(
            "tcp",
            "filters.network.tcp_proxy.v3.TcpProxy",
            stat_prefix="tunnel",
            cluster="tunnel",
            tunneling_config={"hostname": "10.0.0.1:80"},
        ),
    ]
    return parse(
        Listener, {"name": f"to {identity}", "address": loopback(port), "filter_chains": [{"filters": filters}]}
    )


def terminating_listener(port: int, identity: str, access_log: Path) -> Listener:
    line = "%DOWNSTREAM_PEER_URI_SAN% -> %DOWNSTREAM_LOCAL_URI_SAN% %RESPONSE_CODE%\n"
    manager = extension(
        "hcm",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="tunnel",
        codec_type="HTTP2",
        http2_protocol_options={"allow_connect": True},
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        access_log=[
            extension(
                "file",
                "access_loggers.file.v3.FileAccessLog",
                path=str(access_log),
                log_format={"text_format_source": {"inline_string": line}},
            )
        ],
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"connect_matcher": {}}, "direct_response": {"status": 200}}],
                }
            ]
        },
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    tls = common_tls(tls_certificate_sds_secret_configs=[{"name": identity, "sds_config": ADS}])
    socket = extension(
        "tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=tls,
    )
    return parse(
        Listener,
        {
            "name": "tunnel",
            "address": loopback(port),
            "filter_chains": [{"filters": [manager], "transport_socket": socket}],
        },
    )


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "Bearer bad"),), (("authorization", "good"),), (("authorization", "Basic good"),)],
)
async def test_a_stream_without_a_valid_token_is_refused(serving: Serving, metadata: Any) -> None:
    async with grpc.aio.insecure_channel(f"unix:{serving.socket}") as channel:
        stream = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources(metadata=metadata)
        assert await stream.code() == grpc.StatusCode.UNAUTHENTICATED
    assert serving.server.connections == []


async def test_a_method_that_is_not_served_is_no_fault(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    async with grpc.aio.insecure_channel(f"unix:{serving.socket}") as channel:
        stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        assert await stream.code() == grpc.StatusCode.UNIMPLEMENTED
    assert caplog.records == []


async def test_nonsense_from_a_proxy_does_not_end_the_stream(serving: Serving) -> None:
    serving.resources = {CLUSTER: {"a": static_cluster("a", 9)}}
    async with grpc.aio.insecure_channel(f"unix:{serving.socket}") as channel:
        stream = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources(
            metadata=(("authorization", "Bearer good"),)
        )
        for request in (
            DeltaDiscoveryRequest(),
            DeltaDiscoveryRequest(type_url="no such type", resource_names_subscribe=["x"]),
            DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce="999"),
        ):
            await stream.write(request)
        answer = await stream.read()
        assert [r.name for r in answer.resources] == ["a"]


async def test_the_socket_is_for_its_owner_alone(serving: Serving) -> None:
    assert serving.socket.stat().st_mode & 0o777 == 0o600
    await serving.server.stop()
    assert not serving.socket.exists()


async def test_a_path_that_is_something_else_is_not_overwritten(directory: Path) -> None:
    serving = Serving(directory)
    serving.socket.write_text("precious")
    with pytest.raises(OSError, match="is not a socket"):
        await serving.server.start()
    assert serving.socket.read_text() == "precious"
