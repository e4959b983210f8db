"""Who peers prove to be, on real connections: whom proxies refuse, and that nobody notices renewed certificates."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, CONFIGMAP
from ambientlab.cluster import NODE_IP, PROXY_PORTS
from ambientlab.mesh.ir import TrustDomains
from ambientlab.mesh.serve.ca import CertificateAuthority, Svid
from ambientlab.mesh.serve.identity import spiffe_id
from support.certificates import authority
from support.forged import tunnel, tunnels_end
from support.hello_pods import VIP, Load, captured_pods, logged, waypoint_for_hello
from support.in_node import in_node
from support.waiting import until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

TUNNEL = {"networking.istio.io/tunnel": "http"}


@in_node
async def test_a_server_that_shows_another_identity_is_refused(world: MeshWorld) -> None:
    """Of the same CA, and even one that the mesh has: neither ztunnel nor a waypoint sends it anything."""
    await waypoint_for_hello(world)
    for name, shown in (("imposter", "hello"), ("honest", "server")):
        await world.pod(name, "hello", account="server", labels=TUNNEL | {"istio.io/dataplane-mode": "none"})
        received = await tunnels_end(world, name, world.ca.issue(spiffe_id("hello", shown)))
        world.endpoints("hello", "hello", {5000: 8080}, [name])
        ip = world.sandboxes[name].spec.ip or ""
        await world.in_step()
        assert (await world.get("client", ip, 8080))[0] == 0
        assert (await world.get("client", VIP, 5000))[0] == 503
        if name == "honest":
            assert len(received) > 1, "both talk to the honest one"
            assert all(talk.startswith(b"PRI * HTTP/2.0") for talk in received)
        else:
            assert received == []
            await logged(world, rf"{ip}:8080.*(SAN|UnknownIssuer)")
            await until(lambda: re.search("verify_SAN|verify SAN", world.log("waypoint")), "the waypoint's word")


def of_another_time(ca: CertificateAuthority, when: timedelta) -> CertificateAuthority:
    return CertificateAuthority(ca.signing, clock=lambda: datetime.now(UTC) + when)


@in_node
async def test_tunnels_open_for_peers_of_the_mesh_and_to_the_pod_alone(world: MeshWorld) -> None:
    """Whatever Services make of the proxy's own ports."""
    await captured_pods(world)
    await world.pod("evil", "outside")
    world.service("own-ports", "hello", "10.96.0.61", {port: port for port in PROXY_PORTS}, ["hello-v1"])
    await world.in_step()
    evil, victim, other = (world.sandboxes[name].spec.ip or "" for name in ("evil", "hello-v1", "hello-v2"))
    ca, me = world.ca, spiffe_id("outside", "default")
    assert await tunnel(world, "evil", victim, f"{victim}:8080", ca.issue(me)) == 200, "who has a certificate is let in"
    stranger = 'Spiffe { trust_domain: "a.example", namespace: "outside", service_account: "default" }'
    for shows, fault in (
        (None, "NoCertificatesPresented"),
        (CertificateAuthority.create().issue(me), "InvalidCertificate(UnknownIssuer)"),
        (CertificateAuthority(authority("cluster.local")).issue(me), "InvalidCertificate(UnknownIssuer)"),
        (of_another_time(ca, timedelta(hours=-25)).issue(me), "InvalidCertificate(Expired)"),
        (of_another_time(ca, timedelta(hours=1)).issue(me), "InvalidCertificate(NotValidYet)"),
        (ca.issue("spiffe://a.example/ns/outside/sa/default"), other_domain(stranger)),
        (ca.issue("https://cluster.local/ns/outside/sa/default"), other_domain("")),
    ):
        assert await tunnel(world, "evil", victim, f"{victim}:8080", shows) == 0, fault
        await refused(world, evil, victim, f"tls handshake error: Custom {{ kind: InvalidData, error: {fault} }}")
    for target, status, fault in (
        *((f"{host}:8080", 400, f"ip mismatch: {victim} != {host}") for host in (other, "127.0.0.1", NODE_IP, VIP)),
        ("[::1]:8080", 400, f"ip mismatch: {victim} != ::1"),
        ("localhost:8080", 503, "no service or workload for hostname: localhost"),
        (f"a{victim}:8080", 503, f"no service or workload for hostname: a{victim}"),
        (victim, 400, f"no valid authority pseudo header: {victim}"),
        *((f"{victim}:{port}", 503, "attempted recursive call to ourselves") for port in PROXY_PORTS),
    ):
        assert await tunnel(world, "evil", victim, target, ca.issue(me)) == status, target
        await refused(world, evil, victim, fault)


def other_domain(shown: str) -> str:
    return f'InvalidCertificate(Other(OtherError(SanTrustDomainError("cluster.local", [{shown}]))))'


async def refused(world: MeshWorld, source: str, ip: str, error: str) -> None:
    """Until ztunnel has said why."""
    fields = rf"src\.addr={source}:\d+ dst\.addr={ip}:15008"
    line = re.compile(rf'\twarn\taccess\tconnection failed\t{fields} direction="inbound" error="{re.escape(error)}"\n')
    await until(lambda: line.search(world.said()[0]), f"{error} in\n{world.said()[0]}")


@in_node
async def test_certificates_are_renewed_under_load_without_a_failed_request(world: MeshWorld) -> None:
    """A client that comes after a renewal shakes hands with the new certificate, at both ends of a waypoint as well."""
    world.environment = {"SECRET_TTL": "3s"}
    await waypoint_for_hello(world)
    server = world.sandboxes["hello-v1"].spec.ip or ""
    world.service("direct", "hello", "10.96.0.60", {5000: 8080}, ["hello-v1"])
    await world.answered("client", "10.96.0.60", 5000)
    seen: set[int] = set()
    identities = [spiffe_id(*of) for of in (("default", "client"), ("hello", "hello"), ("hello", "waypoint"))]
    async with Load(world, VIP, 5000) as through_waypoint, Load(world, "10.96.0.60", 5000) as direct:
        for turn in range(2):
            before = serials(world, identities)
            await until(partial(renewed, world, identities, before), "all three renewed", 20)
            seen |= before
            await world.pod(f"late-{turn}", account="client")
            for ip, port in ((VIP, 5000), ("10.96.0.60", 5000), (server, 8080)):
                assert (await world.get(f"late-{turn}", ip, port))[0] == 200
        await through_waypoint.more(15)
        await direct.more(15)
    assert len(seen) == 6
    assert through_waypoint.failures == direct.failures == []


def renewed(world: MeshWorld, identities: list[str], before: set[int]) -> bool:
    return not before & serials(world, identities)


def serials(world: MeshWorld, identities: list[str]) -> set[int]:
    proxies = [connection.proxy for connection in world.istiod.connections]
    found = (world.istiod.secrets.in_use(proxy, identity) for proxy in proxies for identity in identities)
    return {svid.serial for svid in found if isinstance(svid, Svid)}


@in_node
async def test_roots_are_replaced_under_load_without_a_failed_request(world: MeshWorld) -> None:
    """The way that keeps everybody's trust: both roots, then the new CA, then its root alone."""
    old, new = authority("cluster.local"), authority("new", authority("cluster.local"))
    both = old.root_pem + new.root_pem
    world.ca.adopt(old)
    await waypoint_for_hello(world)
    server = world.sandboxes["hello-v1"].spec.ip or ""
    steps = [replace(old, root_pem=both), replace(new, root_pem=both), new, replace(new, root_pem=both)]
    async with Load(world, VIP, 5000) as through_waypoint, Load(world, server, 8080) as direct:
        for turn, step in enumerate([*steps, replace(old, root_pem=both), replace(new, root_pem=both), new] * 2):
            world.ca.adopt(step)
            await world.in_step()
            if turn < 4:
                await world.pod(f"late-{turn}", account="client")
                for ip, port in ((VIP, 5000), (server, 8080)):
                    status, why = await world.get(f"late-{turn}", ip, port)
                    assert status == 200, (turn, ip, port, why)
            await through_waypoint.more(5)
            await direct.more(5)
    assert through_waypoint.failures == direct.failures == []
    await world.pod("evil", "outside")
    assert await tunnel(world, "evil", server, f"{server}:8080", world.ca.issue(spiffe_id("a", "b"))) == 200
    old_ca = CertificateAuthority(old)
    assert await tunnel(world, "evil", server, f"{server}:8080", old_ca.issue(spiffe_id("a", "b"))) == 0


@in_node
async def test_a_mesh_moves_to_another_trust_domain(world: MeshWorld) -> None:
    """Policies that name the old one hold; at waypoints clients of the old one are taken, at ztunnel they are not."""
    await waypoint_for_hello(world)
    await world.pod("evil", "outside")
    server, waypoint = (world.sandboxes[name].spec.ip or "" for name in ("hello-v1", "waypoint-1"))
    rules = [{"from": [{"source": {"principals": ["cluster.local/ns/default/sa/client"]}}]}]
    targets = [{"group": "", "kind": "Service", "name": "hello"}]
    place = {"name": "client-only", "namespace": "hello"}
    world.client.put(AUTHORIZATIONPOLICY, {"metadata": place, "spec": {"targetRefs": targets, "rules": rules}})
    mesh = "{trustDomain: mesh.example, trustDomainAliases: [old.example]}"
    world.client.put(CONFIGMAP, {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh}})
    moved = {"mesh.example"}
    await until(lambda: {pod.identity.split("/")[2] for pod in world.istiod.captures.pods.values()} == moved, "moved")
    await world.in_step()
    await world.pod("late", account="client")
    await world.pod("stranger", account="stranger")
    await world.in_step()
    assert await world.answered("late", VIP, 5000)
    assert (await world.get("stranger", VIP, 5000))[0] == 403
    assert await world.answered("late", server, 8080)
    for domain, at_ztunnel, at_waypoint in (
        ("mesh.example", 200, 200),
        ("old.example", 0, 200),
        ("cluster.local", 0, 0),
    ):
        svid = world.ca.issue(TrustDomains(domain).identity("default", "client"))
        assert await tunnel(world, "evil", server, f"{server}:8080", svid) == at_ztunnel, domain
        assert await tunnel(world, "evil", waypoint, f"{VIP}:5000", svid) == at_waypoint, domain
