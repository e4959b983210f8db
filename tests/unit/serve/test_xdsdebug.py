"""What istioctl asks of istiod over xDS: by TLS with a token, as it asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.admin.v3 import config_dump_shared_pb2
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse
from envoy.service.status.v3 import csds_pb2

from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.serve.xdsdebug import DEBUG, DUMP, HOST, SYNCZ, DebugXds
from ambientlab.mesh.session import Config, Session
from ambientlab.mesh.xds.types import SECRET

CLUSTERS, ROUTES = (
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
)
CALLERS = {"root": "istio-system", "elsewhere": "hello"}


def served(namespace: str, name: str, **progress: tuple[str, str]) -> Any:
    """A connection, as far as it tells about itself."""
    types = {CLUSTERS: progress.get("clusters"), ROUTES: progress.get("routes")}
    refused = [SimpleNamespace(type_url=ROUTES, detail="no such thing")] if "refused" in progress else []
    session = SimpleNamespace(progress=types.get, rejections=refused)
    account = "ztunnel" if name == "ztunnel" else "waypoint"
    return SimpleNamespace(proxy=Identity(namespace, account, name), session=session, pushed={CLUSTERS: 1764072000.0})


CONNECTIONS = [
    served("istio-system", "ztunnel", clusters=("2", "1"), routes=("", "")),
    served("hello", "waypoint", clusters=("1", "1"), routes=("1", "1"), refused=("", "")),
]


@pytest.fixture
async def stub() -> AsyncIterator[ads_pb2_grpc.AggregatedDiscoveryServiceStub]:
    ca = CertificateAuthority.create()
    server = DebugXds(lambda: CONNECTIONS, lambda: "istiod-1", ca, CALLERS.get, address="127.0.0.1:0")
    await server.start()
    credentials = grpc.ssl_channel_credentials(ca.root_pem)
    options = [("grpc.ssl_target_name_override", HOST)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        yield ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
    await server.stop()


async def ask(stub: Any, request: DiscoveryRequest, token: str = "root") -> DiscoveryResponse:
    """As istioctl: its first question has a nonce already."""
    request.response_nonce = "2026-11-25 22:00:00"
    call = stub.StreamAggregatedResources(metadata=[("authorization", f"Bearer {token}")])
    await call.write(request)
    response = await call.read()
    await call.write(DiscoveryRequest(type_url=request.type_url, response_nonce=response.nonce))
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF, "an acknowledgement is not answered"
    answer: DiscoveryResponse = response
    return answer


def configs(response: DiscoveryResponse) -> dict[str, dict[str, str]]:
    found = {}
    for resource in response.resources:
        config = csds_pb2.ClientConfig()
        assert resource.Unpack(config)
        found[config.node.id] = {
            one.type_url: csds_pb2.ConfigStatus.Name(one.config_status) for one in config.generic_xds_configs
        }
    return found


async def test_every_proxy_and_how_far_it_is(stub: Any) -> None:
    response = await ask(stub, DiscoveryRequest(type_url=SYNCZ))
    assert configs(response) == {
        "waypoint.hello": {CLUSTERS: "SYNCED", ROUTES: "ERROR"},
        "ztunnel.istio-system": {CLUSTERS: "STALE", ROUTES: "NOT_SENT"},
    }
    said = json.loads(response.control_plane.identifier)
    assert (said["Component"], said["ID"], said["Info"]["version"]) == ("istiod", "istiod-1", "1.31.0")
    config = csds_pb2.ClientConfig()
    response.resources[0].Unpack(config)
    assert dict(config.node.metadata) == {"CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0", "NAMESPACE": "hello"}
    assert config.generic_xds_configs[0].last_updated.seconds == 1764072000
    assert config.generic_xds_configs[1].error_state.details == "no such thing"


async def test_other_namespaces_see_their_own_proxies(stub: Any) -> None:
    assert list(configs(await ask(stub, DiscoveryRequest(type_url=SYNCZ), "elsewhere"))) == ["waypoint.hello"]


async def test_debug_pages(stub: Any) -> None:
    response = await ask(stub, DiscoveryRequest(type_url=DEBUG, resource_names=["syncz"]))
    [page] = response.resources
    assert [one["proxy"] for one in json.loads(page.value)] == ["waypoint.hello", "ztunnel.istio-system"]


async def test_what_a_proxy_is_to_run(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    session.update(CLUSTERS, {name: Config.of(Cluster(name=name)) for name in ("b", "a")})
    session.receive(DeltaDiscoveryRequest(type_url=CLUSTERS))
    session.update(SECRET, {"default": Config.of(Secret(name="default"))})
    session.receive(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=["default"]))
    monkeypatch.setattr(CONNECTIONS[1], "session", session)
    response = await ask(stub, DiscoveryRequest(type_url=DUMP, resource_names=["waypoint.hello"]))
    kinds = [one.type_url.rpartition(".")[2] for one in response.resources]
    assert kinds == ["ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"], "and no secrets"
    clusters = config_dump_shared_pb2.ClustersConfigDump()
    response.resources[0].Unpack(clusters)
    found = [Cluster.FromString(one.cluster.value).name for one in clusters.dynamic_active_clusters]
    assert found == ["a", "b"]
    for caller, name in (("elsewhere", "ztunnel.istio-system"), ("root", "nobody.hello")):
        nothing = await ask(stub, DiscoveryRequest(type_url=DUMP, resource_names=[name]), caller)
        assert list(nothing.resources) == []


@pytest.mark.parametrize(
    ("token", "request_", "code"),
    [
        ("nobody", DiscoveryRequest(type_url=SYNCZ), grpc.StatusCode.UNAUTHENTICATED),
        ("root", DiscoveryRequest(type_url=CLUSTERS), grpc.StatusCode.UNIMPLEMENTED),
        ("root", DiscoveryRequest(type_url=DEBUG, resource_names=["mesh"]), grpc.StatusCode.INVALID_ARGUMENT),
        ("root", DiscoveryRequest(type_url=DEBUG), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_is_refused(stub: Any, token: str, request_: DiscoveryRequest, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(stub, request_, token)
    assert refused.value.code() is code


async def test_a_method_that_is_not_served_is_no_fault(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    call = stub.DeltaAggregatedResources()
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caplog.records == []


def test_a_certificate_is_renewed_at_half_of_its_life() -> None:
    server = DebugXds(list, str, CertificateAuthority.create(), CALLERS.get)
    server._certificate()
    first = server._svid
    server._certificate()
    assert server._svid is first
    assert first is not None
    server._svid = replace(first, renew_at=first.not_before)
    server._certificate()
    assert server._svid.serial != first.serial
