"""What ztunnel says of connections, field by field, after real ones: those that work, and all the ways they may not."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING

from ambientlab.mesh.serve.ca import CertificateAuthority, Svid
from ambientlab.node.linux.netlink import socket_in
from support.forged import tunnel, tunnels_end
from support.in_node import in_node
from support.waiting import until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

VIP, EMPTY, CLOSED, SAME = "10.96.0.50", "10.96.0.51", "10.96.0.52", "10.96.0.53"
SPIFFE = "spiffe://cluster.local/ns"
NUMBERS = r"bytes_sent=\d+ bytes_recv=\d+ duration=\"\d+ms\""
HOST = "app.default.svc.cluster.local"
CLIENT = f'src.workload="client" src.namespace="default" src.identity="{SPIFFE}/default/sa/client"'
APP = f'dst.workload="app" dst.namespace="default" dst.identity="{SPIFFE}/default/sa/app"'


async def mesh(world: MeshWorld) -> dict[str, str]:
    """A client and an application in the mesh, a stranger outside of it; the addresses of all."""
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("plain")
    await world.ztunnel()
    await world.pod("client", account="client")
    await world.pod("app", account="app")
    await world.pod("stranger", "plain")
    for pod in ("app", "stranger"):
        await world.serve(pod)
    world.service("app", "default", VIP, {80: 8080}, ["app"])
    world.service("empty", "default", EMPTY, {80: 8080}, [])
    world.service("closed", "default", CLOSED, {80: 9}, ["app"])
    await world.istiod.in_step()
    return {name: sandbox.spec.ip or "" for name, sandbox in world.sandboxes.items()}


async def said(world: MeshWorld, pattern: str) -> str:
    """The first line that is, but for its time, what the pattern says."""
    whole = re.compile(rf"^\S+Z\t{pattern}$", re.MULTILINE)
    await until(lambda: whole.search(world.said()[0]) is not None, f"{pattern}\nin\n{world.said()[0]}")
    found = whole.search(world.said()[0])
    assert found is not None
    return found[0]


def complete(fields: str, direction: str, error: str = "") -> str:
    level, ending = ("error", f' error="{re.escape(error)}"') if error else ("info", "")
    return rf"{level}\taccess\tconnection complete\t{fields} direction=\"{direction}\" {NUMBERS}{ending}"


def early(source: str, destination: str, direction: str, error: str) -> str:
    ends = rf"src\.addr={source}:\d+ dst\.addr={destination}"
    return rf"warn\taccess\tconnection failed\t{ends} direction=\"{direction}\" error=\"{re.escape(error)}\""


@in_node
async def test_lines_of_connections_that_work(world: MeshWorld) -> None:
    ips = await mesh(world)
    client, app, stranger = ips["client"], ips["app"], ips["stranger"]
    asked = b"GET / HTTP/1.1\r\nhost: app\r\n\r\n"
    for ip, port in ((VIP, 80), (app, 8080), (stranger, 8080)):
        assert (await world.get("client", ip, port))[0] == 200
    assert (await world.get("stranger", app, 8080))[0] == 200
    target = rf"dst\.addr={app}:15008 dst\.hbone_addr={app}:8080"
    line = await said(
        world, complete(rf'src\.addr={client}:\d+ {CLIENT} {target} dst\.service="{HOST}" {APP}', "outbound")
    )
    answer = len(b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n") + len(f"app {client}\n")
    assert f"bytes_sent={len(asked)} bytes_recv={answer} " in line
    line = await said(
        world, complete(rf'src\.addr={client}:\d+ {CLIENT} {target} dst\.service="{HOST}" {APP}', "inbound")
    )
    assert f"bytes_sent={answer} bytes_recv={len(asked)} " in line
    await said(world, complete(rf"src\.addr={client}:\d+ {CLIENT} {target} {APP}", "outbound"))
    another = "same.default.svc.cluster.local"
    world.service("same", "default", SAME, {80: 8080}, ["app"])
    await world.istiod.in_step()
    assert (await world.get("client", SAME, 80))[0] == 200
    for direction in ("outbound", "inbound"):
        fields = rf'src\.addr={client}:\d+ {CLIENT} {target} dst\.service="{another}" {APP}'
        await said(world, complete(fields, direction))
    source = 'src.workload="client" src.namespace="default"'
    target = rf'dst\.addr={stranger}:8080 dst\.workload="stranger" dst\.namespace="plain"'
    await said(world, complete(rf"src\.addr={client}:\d+ {source} {target}", "outbound"))
    source = 'src.workload="stranger" src.namespace="plain"'
    target = rf'dst\.addr={app}:8080 dst\.service="{HOST}" dst\.workload="app" dst\.namespace="default"'
    await said(world, complete(rf"src\.addr={stranger}:\d+ {source} {target}", "inbound"))


@in_node
async def test_errors_of_connections_that_come_to_nothing(world: MeshWorld) -> None:
    ips = await mesh(world)
    client, app, stranger = ips["client"], ips["app"], ips["stranger"]
    source = rf'src\.addr={client}:\d+ src.workload="client" src.namespace="default"'
    for ip, port in ((EMPTY, 80), ("10.96.0.99", 80), (stranger, 9), (CLOSED, 80)):
        assert (await world.get("client", ip, port))[0] == 0
    await said(world, early(client, f"{EMPTY}:80", "outbound", f"no healthy upstream: {EMPTY}:80"))
    await said(world, early(client, "10.96.0.99:80", "outbound", "no service for target address: 10.96.0.99:80"))
    refused = "Connection refused (os error 111)"
    plain = rf'{source} dst\.addr={stranger}:9 dst\.workload="stranger" dst\.namespace="plain"'
    await said(world, complete(plain, "outbound", f"io error: {refused}"))
    host = HOST.replace("app.", "closed.")
    tunnel = (
        rf'src\.addr={client}:\d+ {CLIENT} dst\.addr={app}:15008 dst\.hbone_addr={app}:9 dst\.service="{host}" {APP}'
    )
    await said(world, complete(tunnel, "outbound", "http status: 503 Service Unavailable"))
    await said(world, complete(tunnel, "inbound", f"connection failed: {refused}"))
    assert (await world.get("stranger", app, 9))[0] == 0
    target = rf'dst\.addr={app}:9 dst\.service="{host}" dst\.workload="app" dst\.namespace="default"'
    outside = rf'src\.addr={stranger}:\d+ src\.workload="stranger" src\.namespace="plain" {target}'
    await said(world, complete(outside, "inbound", f"connection failed: {refused}"))


@in_node
async def test_errors_of_tunnels(world: MeshWorld) -> None:
    """At both ends: servers that are not whom they should be, and clients that are nobody."""
    ips = await mesh(world)
    client, app, stranger = ips["client"], ips["app"], ips["stranger"]
    foreign = CertificateAuthority.create()
    served = {
        "nobody": None,
        "other": world.ca.issue(f"{SPIFFE}/default/sa/somebody"),
        "foreign": foreign.issue(f"{SPIFFE}/plain/sa/default"),
    }
    for name, svid in served.items():
        await pretend(world, name, svid)
    blocked = await pretend(world, "blocked", None)
    full = await fill(world, "blocked")
    timed_out = asyncio.create_task(world.get("client", blocked, 80))
    errors = {
        "nobody": "io error: Connection refused (os error 111)",
        "other": "io error: invalid peer certificate: Other(OtherError(identity verification error: peer did not "
        f"present the expected SAN ({SPIFFE}/plain/sa/default)))",
        "foreign": "io error: invalid peer certificate: UnknownIssuer",
        "blocked": "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed",
    }
    for name in served:
        assert (await world.get("client", world.sandboxes[name].spec.ip or "", 80))[0] == 0
    source = f"{SPIFFE}/default/sa/client"
    for certificate, error in ((None, "NoCertificatesPresented"), (foreign, "InvalidCertificate(UnknownIssuer)")):
        svid = None if certificate is None else certificate.issue(source)
        assert await tunnel(world, "stranger", app, f"{app}:8080", svid) == 0
        words = f"tls handshake error: Custom {{ kind: InvalidData, error: {error} }}"
        await said(world, early(stranger, f"{app}:15008", "inbound", words))
    _, writer = await world.connect("stranger", app, 15008)
    writer.write(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
    words = "tls handshake error: Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }"
    await said(world, early(stranger, f"{app}:15008", "inbound", words))
    writer.close()
    known = world.ca.issue(source)
    assert await tunnel(world, "stranger", app, f"{client}:8080", known) == 400
    await said(world, early(stranger, f"{app}:15008", "inbound", f"ip mismatch: {app} != {client}"))
    assert await tunnel(world, "stranger", app, f"{app}:8080", known, "GET") == 400
    await said(world, early(stranger, f"{app}:15008", "inbound", "expected method CONNECT, got GET"))
    assert (await timed_out)[0] == 0
    full.close()
    for name, error in errors.items():
        ip = world.sandboxes[name].spec.ip or ""
        identity = f'dst.workload="{name}" dst.namespace="plain" dst.identity="{SPIFFE}/plain/sa/default"'
        fields = rf"src\.addr={client}:\d+ {CLIENT} dst\.addr={ip}:15008 dst\.hbone_addr={ip}:80 {identity}"
        await said(world, complete(fields, "outbound", error))
    assert "envoy://" not in world.said()[0], "each is told once, by its tunnel"


@in_node
async def test_open_connections_are_known_from_both_ends(world: MeshWorld) -> None:
    ips = await mesh(world)
    client, app, stranger = ips["client"], ips["app"], ips["stranger"]
    whence = (("client", VIP, 80), ("stranger", app, 8080), ("client", app, 8080))
    held = [await world.connect(*connection) for connection in whence]
    ports = [writer.get_extra_info("sockname")[1] for _, writer in held]
    wanted = {
        ("source", f"{client}:{ports[0]}", f"{app}:15008", f"{app}:8080", f"{VIP}:80"),
        ("destination", f"{stranger}:{ports[1]}", f"{app}:8080", "", ""),
    }

    def known() -> set[tuple[str, ...]]:
        found = world.said()[1].open()
        return {(one.ends.reporter, one.source, one.destination, one.hbone, one.target) for one in found}

    await until(lambda: wanted <= known(), "reports of open connections")
    ends = {("destination", f"{app}:15008", f"{app}:8080", asked) for asked in (HOST, "")}
    await until(lambda: ends <= {(one[0], *one[2:]) for one in known()}, "those of the tunnels' ends")
    for _, writer in held:
        writer.close()
    await until(lambda: not wanted & known(), "their ends")
    counts = world.said()[1].counts.values()
    assert sum(one.opened for one in counts) == sum(sum(one.closed.values()) for one in counts)
    assert "live" not in world.said()[0]


async def pretend(world: MeshWorld, name: str, svid: Svid | None) -> str:
    """A pod that is said to take tunnels. What answers there shows a certificate of somebody, or there is nothing."""
    sandbox = await world.pod(name, "plain", labels={"networking.istio.io/tunnel": "http"})
    if svid is not None:
        await tunnels_end(world, name, svid)
    await world.istiod.in_step()
    return sandbox.spec.ip or ""


async def fill(world: MeshWorld, name: str) -> socket.socket:
    """A port 15008 at which nobody ever accepts: once the queue is full, packets are dropped, as by a firewall."""
    netns = world.sandboxes[name].netns
    listening = await socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("0.0.0.0", 15008))
    listening.listen(0)
    waiting = await socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
    await asyncio.get_running_loop().sock_connect(waiting, ("127.0.0.1", 15008))
    world.kept.append(waiting)
    return listening
