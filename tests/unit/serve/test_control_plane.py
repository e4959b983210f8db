"""From API objects to a proxy's stream and back to statuses, with a gRPC client in Envoy's place."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    DESTINATIONRULE,
    GATEWAY,
    HTTPROUTE,
    NAMESPACE,
    POD,
    REQUESTAUTHENTICATION,
    SERVICE,
    SERVICEENTRY,
    VIRTUALSERVICE,
)
from ambientlab.api.kinds import (
    SECRET as SECRETS,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.configdump import Certificates
from ambientlab.mesh.serve.ca import CertificateAuthority, Svid
from ambientlab.mesh.serve.control_plane import ControlPlane
from ambientlab.mesh.serve.identity import Identity, spiffe_id
from ambientlab.mesh.session import Config
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION, LISTENER, ROUTES, SECRET
from support.certificates import authority
from support.memory_client import MemoryClient
from support.waiting import until

CLIENT = spiffe_id("default", "client")
TOKENS = {
    "ztunnel": Identity("istio-system", "ztunnel", "ztunnel-abcde"),
    "waypoint": Identity("hello", "waypoint", "waypoint-1"),
    "stranger": Identity("hello", "default", "app-1"),
    "thief": Identity("hello", "default", "waypoint-1"),
}
POD_OF_CLIENT = Captured("u1", "default", "client", "10.244.0.5", "/proc/42/ns/net", CLIENT)


class Proxy:
    """Asks, and accepts or refuses what comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def ask(self, type_url: str, *names: str) -> DeltaDiscoveryResponse:
        await self.subscribe(type_url, *names)
        return await self.next(type_url)

    async def next(self, type_url: str) -> DeltaDiscoveryResponse:
        """The next response of this type; whatever comes is accepted."""
        while True:
            response = await self._stream.read()
            await self._stream.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
            if response.type_url == type_url:
                return response

    async def subscribe(self, type_url: str, *names: str) -> None:
        await self._stream.write(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names))

    async def ended(self) -> grpc.StatusCode:
        """How the server ends the stream, which it may do before anything is asked: asking would be an error then."""
        code: grpc.StatusCode = await self._stream.code()
        return code

    def cancel(self) -> None:
        self._stream.cancel()

    async def refuse_next(self, detail: str) -> None:
        response = await self._stream.read()
        refusal = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        refusal.error_detail.message = detail
        await self._stream.write(refusal)


class World:
    def __init__(self, socket: Path) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.client = MemoryClient()
        self.client.put(NAMESPACE, {"metadata": {"name": "hello"}})
        self.client.put(
            POD,
            {
                "metadata": {
                    "name": "waypoint-1",
                    "namespace": "hello",
                    "labels": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
                },
                "spec": {"serviceAccountName": "waypoint"},
            },
        )
        self.ca = CertificateAuthority.create(clock=self.clock)
        self.istiod = ControlPlane(self.client, self.ca, TOKENS.get, socket, clock=self.clock, patience=1.0)
        self.socket = socket

    def clock(self) -> datetime:
        return self.now

    @asynccontextmanager
    async def proxy(self, token: str) -> AsyncIterator[Proxy]:
        async with grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            stream = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources(
                metadata=(("authorization", f"Bearer {token}"),)
            )
            proxy = Proxy(stream)
            yield proxy
            proxy.cancel()


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="cp") as path:
        yield Path(path)


@pytest.fixture
async def world(directory: Path) -> AsyncIterator[World]:
    world = World(directory / "xds.sock")
    await world.istiod.start()
    yield world
    await world.istiod.stop()


def service(name: str, vip: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "hello"},
        "spec": {"clusterIP": vip, "clusterIPs": [vip], "ports": [{"port": 80, "targetPort": 8080}]},
    }


def names(response: DeltaDiscoveryResponse) -> set[str]:
    return {resource.name for resource in response.resources}


async def test_an_object_becomes_configuration_and_goes_with_it(world: World) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        before = names(await ztunnel.ask(CLUSTER))
        world.client.put(SERVICE, service("a", "10.96.0.7"))
        assert names(await ztunnel.next(CLUSTER)) == {"vip|10.96.0.7:80"}
        assert "vip|10.96.0.7:80" not in before
        world.client.drop(SERVICE, "a", "hello")
        assert list((await ztunnel.next(CLUSTER)).removed_resources) == ["vip|10.96.0.7:80"]


async def test_a_burst_of_changes_is_one_push(world: World) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(CLUSTER)
        for number in range(20):
            world.client.put(SERVICE, service(f"s{number}", f"10.96.1.{number}"))
        assert len((await ztunnel.next(CLUSTER)).resources) == 20


async def test_who_a_proxy_is_decides_what_it_gets(world: World) -> None:
    async with world.proxy("waypoint") as waypoint:
        assert "connect_terminate" in names(await waypoint.ask(LISTENER))
    async with world.proxy("ztunnel") as ztunnel:
        assert "connect_terminate" not in names(await ztunnel.ask(LISTENER))


@pytest.mark.parametrize("token", ["stranger", "thief"])
async def test_a_pod_that_is_no_proxy_gets_nothing(world: World, token: str) -> None:
    async with world.proxy(token) as proxy:
        assert await proxy.ended() == grpc.StatusCode.PERMISSION_DENIED


async def captured(world: World, ztunnel: Proxy, pod: Captured = POD_OF_CLIENT) -> set[str]:
    """Captures the pod; the names of its listeners. The proxy must have asked for listeners."""
    adding = asyncio.create_task(world.istiod.captures.add(pod))
    listeners = names(await ztunnel.next(LISTENER))
    assert not adding.done(), "a listener without its routes does not accept"
    await ztunnel.ask(ROUTES, f"inbound|{pod.namespace}/{pod.name}")
    await adding
    return listeners - set((await ztunnel.next(LISTENER)).removed_resources)


async def test_a_captured_pods_certificate_is_for_the_node_proxy_while_it_carries_the_pod(world: World) -> None:
    async with world.proxy("waypoint") as waypoint:
        assert names(await waypoint.ask(SECRET, "default", "ROOTCA")) == {"default", "ROOTCA"}
        assert list((await waypoint.ask(SECRET, CLIENT)).removed_resources) == [CLIENT]
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        assert list((await ztunnel.ask(SECRET, CLIENT)).removed_resources) == [CLIENT]
        listeners = await captured(world, ztunnel)
        assert len(listeners) == 3
        assert names(await ztunnel.ask(SECRET, CLIENT)) == {CLIENT}
        removing = asyncio.create_task(world.istiod.captures.remove(POD_OF_CLIENT.uid))
        assert set((await ztunnel.next(LISTENER)).removed_resources) == listeners
        await removing
    async with world.proxy("ztunnel") as ztunnel:
        assert list((await ztunnel.ask(SECRET, CLIENT)).removed_resources) == [CLIENT]


async def test_capturing_a_pod_looks_at_no_certificate_of_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        await ztunnel.ask(SECRET, CLIENT, "ROOTCA")
        looked: list[str] = []
        get = world.istiod.secrets.get

        def counted(proxy: Identity, name: str) -> Config | None:
            looked.append(name)
            return get(proxy, name)

        monkeypatch.setattr(world.istiod.secrets, "get", counted)
        other = replace(POD_OF_CLIENT, uid="u2", name="other", identity=f"{CLIENT}-2")
        await captured(world, ztunnel, other)
        assert looked == []
        again = asyncio.create_task(world.istiod.captures.remove(POD_OF_CLIENT.uid))
        await ztunnel.next(LISTENER)
        await again
        assert looked == [CLIENT], "which it may not have any more"


async def test_the_certificates_of_the_node_proxy_are_told_in_ztunnels_states(world: World) -> None:
    assert world.istiod.certificates() == []
    root = authority("root")
    plugged = authority("intermediate", root)
    world.ca.adopt(plugged)
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        assert world.istiod.certificates() == [Certificates(CLIENT, "Initializing")]
        await ztunnel.ask(SECRET, f"on-demand|{CLIENT}")
        await until(lambda: world.istiod.certificates()[0].state == "Available", "acknowledged")
        [one] = world.istiod.certificates()
        assert one.roots == root.certificate_pem
        leaf, *above = x509.load_pem_x509_certificates(one.chain)
        assert above == [plugged.certificate, root.certificate]
        assert leaf.not_valid_after_utc == world.now + timedelta(hours=24)
        world.now += timedelta(days=400)
        world.istiod.renewal.renew()
        [one] = world.istiod.certificates()
        assert one == Certificates(CLIENT, "Unavailable: CSR signing error (cert chain has expired)")


async def test_a_certificate_that_the_node_proxy_refuses_is_told_with_its_words(world: World) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        await ztunnel.subscribe(SECRET, CLIENT)
        await ztunnel.refuse_next("Failed to load private key")
        await until(lambda: world.istiod.certificates()[0].state != "Initializing", "refused")
        assert world.istiod.certificates() == [Certificates(CLIENT, "Unavailable: Failed to load private key")]


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [("90s", timedelta(seconds=90)), ("never", timedelta(hours=24)), ("-1h", timedelta(hours=24))],
)
async def test_a_proxy_has_its_lifetime_from_its_pod_as_istios_agents_have(
    world: World, ttl: str, expected: timedelta
) -> None:
    """SECRET_TTL, 24 hours without it (pilot/cmd/pilot-agent/options/options.go)."""
    container = {"name": "istio-proxy", "env": [{"name": "SECRET_TTL", "value": ttl}]}
    place = {"name": "ztunnel-abcde", "namespace": "istio-system"}
    world.client.put(POD, {"metadata": place, "spec": {"containers": [container]}})
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        await ztunnel.ask(SECRET, CLIENT)
    svid = world.istiod.secrets.in_use(TOKENS["ztunnel"], CLIENT)
    assert isinstance(svid, Svid)
    assert svid.not_after - world.now == expected


async def test_certificates_are_renewed_though_the_machine_has_slept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock has gone on, and timers have not."""
    monkeypatch.setattr("ambientlab.mesh.serve.renewal.LOOK_AGAIN", 0.01)
    async with world.proxy("waypoint") as waypoint:
        await waypoint.ask(SECRET, "default")
        world.now += timedelta(hours=13)
        assert names(await waypoint.next(SECRET)) == {"default"}


async def test_other_roots_reach_every_proxy_with_certificates_under_them(world: World) -> None:
    async with world.proxy("waypoint") as waypoint:
        first = await waypoint.ask(SECRET, "default", "ROOTCA")
        world.ca.adopt(authority("other"))
        assert names(await waypoint.next(SECRET)) == names(first) == {"default", "ROOTCA"}


async def test_a_node_proxy_that_refuses_a_pod_is_quoted(world: World) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        adding = asyncio.create_task(world.istiod.captures.add(POD_OF_CLIENT))
        for _ in range(5):  # three listeners, in halves
            await ztunnel.refuse_next("failed to open netns file")
        with pytest.raises(OSError, match=r"ztunnel-abcde\.istio-system refuses .* failed to open netns file"):
            await adding


async def test_capture_without_a_node_proxy_says_so_and_removal_needs_none(world: World) -> None:
    for call in (world.istiod.captures.present(), world.istiod.captures.add(POD_OF_CLIENT)):
        with pytest.raises(ConnectionError, match="no ztunnel is connected"):
            await call
    await world.istiod.captures.remove(POD_OF_CLIENT.uid)
    await world.istiod.captures.remove("never captured")


async def test_a_node_proxy_that_is_starting_is_waited_for(world: World) -> None:
    waiting = asyncio.create_task(world.istiod.captures.present())
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await waiting
        await captured(world, ztunnel)
    assert POD_OF_CLIENT.uid in world.istiod.captures.pods


async def test_a_node_proxy_that_comes_back_is_given_every_captured_pod(world: World) -> None:
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
    async with world.proxy("ztunnel") as ztunnel:
        assert len([name for name in names(await ztunnel.ask(LISTENER)) if "client" in name]) == 3


async def test_a_node_proxy_that_comes_back_is_given_what_has_changed_and_not_what_has_gone(world: World) -> None:
    async def given() -> dict[str, str]:
        async with world.proxy("ztunnel") as ztunnel:
            listeners, clusters = await ztunnel.ask(LISTENER), await ztunnel.ask(CLUSTER)
            return {one.name: one.version for one in (*listeners.resources, *clusters.resources)}

    world.client.put(POD, {"metadata": {"name": "client", "namespace": "default"}, "spec": {}})
    world.client.put(SERVICE, service("a", "10.96.0.7"))
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
    first = await given()
    assert await given() == first
    rules = [{"to": [{"operation": {"ports": ["9"]}}]}]
    policy: Object = {"metadata": {"name": "deny", "namespace": "default"}, "spec": {"action": "DENY", "rules": rules}}
    world.client.put(AUTHORIZATIONPOLICY, policy)
    world.client.drop(SERVICE, "a", "hello")
    await world.istiod.in_step()
    second = await given()
    assert first.keys() - second.keys() == {"vip|10.96.0.7:80"}
    assert {name for name in second if second[name] != first[name]} == {"inplain|default/client"}


async def test_in_which_pods_a_node_proxy_that_comes_cannot_listen_is_told_when_it_is_the_only_one(
    world: World,
) -> None:
    refused: list[str] = []
    world.istiod.captures.follow(lambda number: None, refused.append)
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        async with world.proxy("ztunnel") as second:
            await second.subscribe(LISTENER)
            for _ in range(9):  # with two listeners of its own, in halves
                await second.refuse_next("Address already in use")
            await until(lambda: len(world.istiod.connections[1].session.rejections) == 5, "refused")
            assert not refused, "the first has the ports"
            ztunnel.cancel()
            await until(lambda: refused, "told")
    assert set(refused) == {POD_OF_CLIENT.uid}


async def test_a_change_of_a_listener_that_a_node_proxy_refuses_leaves_it_listening(world: World) -> None:
    refused: list[str] = []
    world.istiod.captures.follow(lambda number: None, refused.append)
    world.client.put(POD, {"metadata": {"name": "client", "namespace": "default"}, "spec": {}})
    rules = [{"to": [{"operation": {"ports": ["9"]}}]}]
    policy: Object = {"metadata": {"name": "deny", "namespace": "default"}, "spec": {"action": "DENY", "rules": rules}}
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        world.client.put(AUTHORIZATIONPOLICY, policy)
        await ztunnel.refuse_next("no such thing")
        [session] = (connection.session for connection in world.istiod.connections)
        await until(lambda: session.rejections, "refused")
        assert [one.name for one in session.rejections] == ["inplain|default/client"]
    assert not refused


async def test_certificates_in_use_are_renewed_at_half_of_their_life(world: World) -> None:
    async with world.proxy("waypoint") as waypoint:
        first = await waypoint.ask(SECRET, "default")
        world.now += timedelta(hours=11)
        world.istiod.renewal.renew()
        world.now += timedelta(hours=2)
        world.istiod.renewal.renew()
        second = await waypoint.next(SECRET)
        assert names(second) == {"default"}
        assert second.resources[0].version != first.resources[0].version


async def test_what_the_mesh_has_to_say_is_written_once_and_survives_a_lost_race(world: World) -> None:
    world.client.failures.append(StatusError(409, "Conflict", "the object has been modified"))
    world.client.failures.append(StatusError(500, "InternalError", "disk full"))
    parent = {"group": "", "kind": "Service", "name": "missing", "port": 80}
    world.client.put(
        HTTPROUTE,
        {
            "metadata": {"name": "route", "namespace": "hello", "generation": 1},
            "spec": {"parentRefs": [parent], "rules": []},
        },
    )

    def reasons() -> list[str]:
        route = world.client.get(HTTPROUTE, "route", "hello") or {}
        return [c["reason"] for p in route.get("status", {}).get("parents", []) for c in p["conditions"]]

    world.client.put(SERVICE, service("other", "10.96.0.9"))
    await until(lambda: "NoMatchingParent" in reasons(), "the route's status")
    writes = len(world.client.writes)
    world.client.put(SERVICE, service("another", "10.96.0.10"))
    await until(lambda: any("another" in host for host in world.istiod.index.services), "the next pass")
    assert len(world.client.writes) == writes


async def test_findings_are_logged_once_and_stay_in_the_status_until_they_are_resolved(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    spec = {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}]}]}
    world.client.put(VIRTUALSERVICE, {"metadata": {"name": "v", "namespace": "hello", "generation": 1}, "spec": spec})

    def finding() -> str:
        found = world.client.get(VIRTUALSERVICE, "v", "hello") or {}
        conditions = (found.get("status") or {}).get("conditions") or [{"reason": ""}]
        return str(conditions[0]["reason"])

    await until(lambda: finding() == "HostNotFound", "the finding in the status")
    world.client.put(SERVICE, service("shop", "10.96.0.9"))
    await until(lambda: finding() == "NoWaypoint", "the next finding")
    world.client.put(SERVICE, service("other", "10.96.0.10"))
    await until(lambda: any("other" in host for host in world.istiod.index.services), "the next pass")
    host = "shop.hello.svc.cluster.local"
    why = "the service has no waypoint (no istio.io/use-waypoint label on it or its namespace)"
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        f"VirtualService hello/v: spec.hosts: no effect: there is no service {host}",
        f"VirtualService hello/v: spec.hosts: no effect on {host}: {why}",
    ]
    world.client.put(
        VIRTUALSERVICE,
        {**(world.client.get(VIRTUALSERVICE, "v", "hello") or {}), "spec": {**spec, "http": []}},
    )
    await until(lambda: not (world.client.get(VIRTUALSERVICE, "v", "hello") or {}).get("status"), "no finding")


def tls_secret(name: str, namespace: str, text: bytes) -> Object:
    encoded = b64encode(text).decode()
    data = {"tls.crt": encoded, "tls.key": encoded, "ca.crt": encoded}
    return {"metadata": {"name": name, "namespace": namespace}, "type": "kubernetes.io/tls", "data": data}


def use(world: World, credential: str) -> None:
    """A Service of the waypoint, and a rule that has it reach the Service by mutual TLS."""
    shop = service("shop", "10.96.0.9")
    shop["metadata"]["labels"] = {"istio.io/use-waypoint": "waypoint"}
    gateway = {
        "metadata": {"name": "waypoint", "namespace": "hello"},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [{"protocol": "HBONE", "port": 15008}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.5"}]},
    }
    tls = {"mode": "MUTUAL", "credentialName": credential}
    rule = {
        "metadata": {"name": "shop", "namespace": "hello", "generation": 1},
        "spec": {"host": "shop", "trafficPolicy": {"tls": tls}},
    }
    for resource, obj in ((GATEWAY, gateway), (SERVICE, shop), (DESTINATIONRULE, rule)):
        world.client.put(resource, obj)


async def test_a_waypoint_is_given_the_secrets_its_clusters_name_and_no_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, authority = "kubernetes://client", "kubernetes://client-cacert"
    world.client.put(SECRETS, tls_secret("other", "hello", b"other"))
    world.client.put(SECRETS, tls_secret("client", "elsewhere", b"elsewhere"))
    use(world, "client")

    def finding() -> list[str]:
        rule = world.client.get(DESTINATIONRULE, "shop", "hello") or {}
        return [c["message"] for c in (rule.get("status") or {}).get("conditions") or ()]

    await until(lambda: any("secret hello/client not found" in text for text in finding()), "the finding")
    async with world.proxy("waypoint") as waypoint:
        await waypoint.ask(CLUSTER)
        for name in ("kubernetes://other", "kubernetes://elsewhere/client", "configmap://hello/client-cacert"):
            assert list((await waypoint.ask(SECRET, name)).removed_resources) == [name]
        assert set((await waypoint.ask(SECRET, certificate, authority)).removed_resources) == {certificate, authority}

        world.client.put(SECRETS, tls_secret("client", "hello", b"secret-text-1"))
        given = await waypoint.next(SECRET)
        assert names(given) == {certificate, authority}
        assert all(b"secret-text-1" in resource.resource.value for resource in given.resources)
        await until(lambda: not finding(), "no finding")

        world.client.put(SECRETS, tls_secret("client", "hello", b"secret-text-2"))
        changed = await waypoint.next(SECRET)
        assert names(changed) == {certificate, authority}
        assert all(b"secret-text-2" in resource.resource.value for resource in changed.resources)
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(CLUSTER)
        assert list((await ztunnel.ask(SECRET, certificate)).removed_resources) == [certificate]
    assert "secret-text" not in caplog.text
    assert "secret-text" not in repr(world.istiod.index.credential("hello", certificate))


@pytest.mark.parametrize(
    "balancer",
    [{"httpCookie": {"name": "c", "ttl": "nonsense"}}, {"httpHeaderName": "h", "ringHash": {"minimumRingSize": 1e30}}],
    ids=["not-derived", "not-written"],
)
async def test_an_object_that_nobody_foresaw_keeps_nothing_else_back(
    world: World, caplog: pytest.LogCaptureFixture, balancer: Object
) -> None:
    use(world, "client")
    rule = {"host": "shop", "trafficPolicy": {"loadBalancer": {"consistentHash": balancer}}}
    async with world.proxy("waypoint") as waypoint, world.proxy("ztunnel") as ztunnel:
        await waypoint.ask(CLUSTER)
        await ztunnel.ask(CLUSTER)
        world.client.put(DESTINATIONRULE, {"metadata": {"name": "shop", "namespace": "hello"}, "spec": rule})
        world.client.put(SERVICE, service("another", "10.96.0.10"))
        assert "vip|10.96.0.10:80" in names(await ztunnel.next(CLUSTER))
    assert any(record.exc_info for record in caplog.records)


async def test_policies_that_a_waypoint_refuses_are_told_so_while_it_does(world: World) -> None:
    use(world, "client")
    target = [{"kind": "Service", "group": "", "name": "shop"}]
    policy: Object = {"targetRefs": target, "action": "DENY", "rules": [{}]}
    tokens: Object = {"targetRefs": target, "jwtRules": [{"issuer": "i", "jwks": "{}"}]}

    def refused(resource: Resource) -> list[str]:
        status = (world.client.get(resource, "p", "hello") or {}).get("status") or {}
        return [c["message"] for c in status.get("conditions") or () if c["reason"] == "Refused"]

    host = "shop.hello.svc.cluster.local"
    async with world.proxy("waypoint") as waypoint:
        await waypoint.ask(CLUSTER)
        await waypoint.ask(EXTENSION, f"http|{host}")
        for resource, spec in ((AUTHORIZATIONPOLICY, policy), (REQUESTAUTHENTICATION, tokens)):
            meta = {"name": "p", "namespace": "hello", "generation": 1}
            world.client.put(resource, {"metadata": meta, "spec": spec})
        await waypoint.refuse_next("no keys")
        said = [f"waypoint hello/waypoint refuses the policies of {host}, and goes on with what it had: no keys"]
        await until(lambda: refused(AUTHORIZATIONPOLICY) == refused(REQUESTAUTHENTICATION) == said, "the findings")
        world.client.drop(REQUESTAUTHENTICATION, "p", "hello")
        await waypoint.next(EXTENSION)
        await until(lambda: not refused(AUTHORIZATIONPOLICY), "no finding")


async def test_a_rule_whose_cluster_a_waypoint_refuses_is_told_so(world: World) -> None:
    use(world, "client")

    def refused() -> list[str]:
        status = (world.client.get(DESTINATIONRULE, "shop", "hello") or {}).get("status") or {}
        return [c["message"] for c in status.get("conditions") or ()]

    async with world.proxy("waypoint") as waypoint:
        await waypoint.ask(CLUSTER)
        spec = {"host": "shop", "trafficPolicy": {"tls": {"mode": "SIMPLE", "caCertificates": "/nowhere"}}}
        meta = {"name": "shop", "namespace": "hello", "generation": 2}
        world.client.put(DESTINATIONRULE, {"metadata": meta, "spec": spec})
        for _ in range(3):  # the clusters for HTTP and for TCP, together and then each
            await waypoint.refuse_next("no file")
        name = "inbound-vip|80|http|shop.hello.svc.cluster.local"
        said = f"waypoint hello/waypoint refuses the cluster {name}, and goes on with what it had: no file"
        await until(lambda: any(said in text for text in refused()), "the finding")
        world.client.put(DESTINATIONRULE, {"metadata": {**meta, "generation": 3}, "spec": {"host": "shop"}})
        await waypoint.next(CLUSTER)
        await until(lambda: not refused(), "no finding")


async def test_what_ztunnel_refuses_is_told_to_the_object_that_asked_for_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    spec: Object = {
        "hosts": ["shop.test"],
        "addresses": ["192.0.2.1"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.2"}],
    }

    def refused() -> list[str]:
        status = (world.client.get(SERVICEENTRY, "shop", "hello") or {}).get("status") or {}
        return [c["message"] for c in status.get("conditions") or () if c["reason"] == "Refused"]

    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(CLUSTER)
        entry: Object = {"kind": "ServiceEntry", "metadata": {"name": "shop", "namespace": "hello"}, "spec": spec}
        world.client.put(SERVICEENTRY, entry)
        await ztunnel.refuse_next("no such thing")
        said = "ztunnel refuses vip|192.0.2.1:80, and goes on with what it had: no such thing"
        await until(lambda: refused() == [said], "the finding")
        assert f"ServiceEntry hello/shop: {said}" in caplog.text
        world.client.put(SERVICEENTRY, {**entry, "spec": {**spec, "resolution": "NONE", "endpoints": []}})
        await until(lambda: not refused(), "no finding")


async def test_what_ztunnel_refuses_for_a_pod_is_told_to_the_policies_that_are_not_in_force(world: World) -> None:
    meta = {"name": "deny", "namespace": "default", "generation": 1}
    rules = [{"from": [{"source": {"namespaces": ["elsewhere"]}}]}]
    policy: Object = {"metadata": meta, "spec": {"action": "DENY", "rules": rules}}

    def refused() -> list[str]:
        status = (world.client.get(AUTHORIZATIONPOLICY, "deny", "default") or {}).get("status") or {}
        return [c["message"] for c in status.get("conditions") or () if c["reason"] == "Refused"]

    enrolled = {"ambient.istio.io/redirection": "enabled"}
    metadata = {"name": "client", "namespace": "default", "annotations": enrolled}
    world.client.put(POD, {"metadata": metadata, "spec": {}})
    async with world.proxy("ztunnel") as ztunnel:
        await ztunnel.ask(LISTENER)
        await captured(world, ztunnel)
        world.client.put(AUTHORIZATIONPOLICY, policy)
        await ztunnel.refuse_next("no such thing")
        said = "ztunnel refuses inbound|default/client, and goes on with what it had: no such thing"
        await until(lambda: refused() == [said], "the finding")
