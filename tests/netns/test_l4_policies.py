"""Policies at the node proxy with real packets: tunnels and plain connections, new ones and open ones."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, PEERAUTHENTICATION
from ambientlab.api.objects import Object
from ambientlab.node.runtime import ContainerSpec
from support.in_node import in_node
from support.mesh_world import ask
from support.splits import fits
from support.waiting import becomes, until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

CLIENT = "cluster.local/ns/default/sa/client"
SELECTED = {"matchLabels": {"app": "server"}}


async def pods(world: MeshWorld) -> None:
    """`server` in namespace hello, `client` in default, both in the mesh, and `stranger`, which is not."""
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello", istio_DOT_io__dataplane_mode="ambient")
    await world.ztunnel()
    world.watch_policies()
    await world.pod("client", account="client")
    await world.pod("stranger", labels={"istio.io/dataplane-mode": "none"})
    await world.pod("server", "hello", account="server", labels={"app": "server"})
    for port in (8080, 8081):
        await world.serve("server", port)

    async def by_tunnel() -> bool:
        return await admitted(world, "client") and "dst.hbone_addr=" in world.log("ztunnel")

    await becomes(by_tunnel, True)  # its client learns of its ztunnel a moment after it has one


def policy(world: MeshWorld, name: str, namespace: str = "hello", **spec: Any) -> Object:
    return world.client.put(AUTHORIZATIONPOLICY, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def strict(world: MeshWorld, namespace: str = "hello", **spec: Any) -> Object:
    obj = {"metadata": {"name": "default", "namespace": namespace}, "spec": {"mtls": {"mode": "STRICT"}, **spec}}
    return world.client.put(PEERAUTHENTICATION, obj)


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


async def admitted(world: MeshWorld, pod: str, port: int = 8080) -> bool:
    status, _ = await world.get(pod, world.sandboxes["server"].spec.ip or "", port)
    return status == 200


async def comes_to(world: MeshWorld, *, client: bool, stranger: bool, port: int = 8080) -> None:
    async def found() -> tuple[bool, bool]:
        return await admitted(world, "client", port), await admitted(world, "stranger", port)

    await becomes(found, (client, stranger))


@in_node
async def test_who_gets_in_and_what_the_log_says(world: MeshWorld) -> None:
    await pods(world)
    await comes_to(world, client=True, stranger=True)
    policy(world, "only-client", rules=[source(principals=[CLIENT])])
    await comes_to(world, client=True, stranger=False)
    await logged(world, 'direction="inbound"', "policy rejection: allow policies exist, but none allowed")
    policy(world, "not-here", action="DENY", rules=[{"to": [{"operation": {"ports": ["8081", "80"]}}]}])
    await comes_to(world, client=False, stranger=False, port=8081)
    assert not await admitted(world, "client", 8081)  # the one before may have been open when the policy came
    await comes_to(world, client=True, stranger=False)
    await logged(world, 'direction="inbound"', ":8081 ", "policy rejection: explicitly denied by: hello/not-here")
    await logged(world, 'direction="outbound"', 'src.workload="client"', 'error="http status: 401 Unauthorized"')
    world.client.drop(AUTHORIZATIONPOLICY, "only-client", "hello")
    world.client.drop(AUTHORIZATIONPOLICY, "not-here", "hello")
    await comes_to(world, client=True, stranger=True, port=8081)
    strict(world)
    await comes_to(world, client=True, stranger=False)
    await logged(world, "explicitly denied by: istio-system/istio_converted_static_strict")


async def logged(world: MeshWorld, *words: str) -> None:
    def there() -> bool:
        return any(all(word in line for word in words) for line in world.log("ztunnel").splitlines())

    await until(there, f"a line with {words}")


@in_node
async def test_a_change_is_for_new_connections_to_its_pod_and_breaks_none_to_another(world: MeshWorld) -> None:
    """Though the tunnels to both begin at the same client."""
    await pods(world)
    await world.pod("other", "hello", account="other", labels={"app": "other"})
    await world.serve("other")
    await comes_to(world, client=True, stranger=True)
    reader, writer = await world.connect("client", world.sandboxes["other"].spec.ip or "", 8080)
    for _ in range(10):
        for wanted in (False, True):
            if wanted:
                world.client.drop(AUTHORIZATIONPOLICY, "deny", "hello")
            else:
                policy(world, "deny", selector=SELECTED, action="DENY", rules=[{}])
            await comes_to(world, client=wanted, stranger=wanted)
            assert (await ask(reader, writer))[0] == 200
    writer.close()


@in_node
async def test_open_connections_end_where_ztunnel_ends_them(world: MeshWorld) -> None:
    await pods(world)
    await comes_to(world, client=True, stranger=True)
    address = world.sandboxes["server"].spec.ip or ""

    async def opened() -> dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        found = {pod: await world.connect(pod, address, 8080) for pod in ("client", "stranger")}
        for reader, writer in found.values():
            assert (await ask(reader, writer))[0] == 200
        return found

    connections = await opened()
    policy(world, "selected", selector=SELECTED, action="DENY", rules=[{}])
    await comes_to(world, client=False, stranger=False)
    strict(world)
    policy(world, "nobody", "default", rules=[])
    await comes_to(world, client=False, stranger=False)
    for reader, writer in connections.values():
        assert (await ask(reader, writer))[0] == 200, "what is new and selects the pod is for new connections"
    policy(world, "namespace", action="DENY", rules=[source(notPrincipals=["*"])])
    assert await connections["stranger"][0].read() == b"", "the namespace's is for those that are open, too"
    await logged(world, "(None)->", f"{address}:8080", "closed because it's no longer allowed after a policy update")
    await logged(world, "\terror\t", f"dst.addr={address}:8080", 'error="connection closed due to policy change"')
    assert (await ask(*connections["client"]))[0] == 200
    policy(world, "mesh", "istio-system", action="DENY", rules=[source(principals=[CLIENT])])
    assert await connections["client"][0].read() == b""
    await logged(world, f"(spiffe://{CLIENT})->", "(Kubernetes//Pod/hello/server) closed because")
    await logged(world, f"dst.hbone_addr={address}:8080", "inbound", 'error="connection closed due to policy change"')
    for namespace, name in (("hello", "namespace"), ("istio-system", "mesh"), ("default", "nobody")):
        world.client.drop(AUTHORIZATIONPOLICY, name, namespace)
    world.client.drop(PEERAUTHENTICATION, "default", "hello")
    policy(world, "selected", selector=SELECTED, action="DENY", rules=[source(namespaces=["nowhere"])])
    await comes_to(world, client=True, stranger=True)
    connections = await opened()
    policy(world, "selected", selector=SELECTED, action="DENY", rules=[source(principals=[CLIENT])])
    assert await connections["client"][0].read() == b"", "it had the policy already when it was opened"
    assert (await ask(*connections["stranger"]))[0] == 200


@in_node
async def test_a_change_looks_for_the_proxys_sockets_once_whatever_the_number_of_pods(world: MeshWorld) -> None:
    await pods(world)
    await comes_to(world, client=True, stranger=True)
    for name in ("second", "third", "fourth"):
        await world.pod(name, "hello", account=name)
        await world.serve(name)
    connections = []
    for name in ("server", "second", "third", "fourth"):
        address = world.sandboxes[name].spec.ip or ""
        for pod in ("client", "stranger"):
            await world.answered(pod, address, 8080)
            connections.append(await world.connect(pod, address, 8080))
            assert (await ask(*connections[-1]))[0] == 200
    listed: Counter[str] = Counter()
    listdir = os.listdir

    def counted(path: str) -> list[str]:
        listed[path] += 1
        return listdir(path)

    os.listdir = counted  # type: ignore[assignment]  # paths that are text are all that is asked for here
    policy(world, "namespace", action="DENY", rules=[{}])
    for reader, _ in connections:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    envoy = world.envoys["ztunnel"].pid
    assert (listed["/proc"], listed[f"/proc/{envoy}/fd"]) == (1, 1)


IMPOSTOR = """
import signal, socket
open("/proc/self/comm", "w").write("envoy")
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try: s.bind(("0.0.0.0", 15008))
except OSError: print("refused", flush=True)
signal.pause()
"""


@in_node
async def test_a_pod_that_plays_ztunnel_keeps_no_connection(world: MeshWorld) -> None:
    """It can take its name; but ztunnel is of the node, and listens alone."""
    await pods(world)
    await comes_to(world, client=True, stranger=True)
    address = world.sandboxes["server"].spec.ip or ""
    connections = [await world.connect(pod, address, 8080) for pod in ("client", "stranger")]
    for connection in connections:
        assert (await ask(*connection))[0] == 200
    spec = ContainerSpec("impostor", ["python3", "-c", IMPOSTOR])
    null, (told, output) = os.open(os.devnull, os.O_RDONLY), os.pipe()
    await world.runtime.start_container(world.sandboxes["server"], spec, (null, output, 2))
    assert await asyncio.to_thread(os.read, told, 64) == b"refused\n"
    for descriptor in (null, told, output):
        os.close(descriptor)
    policy(world, "namespace", action="DENY", rules=[{}])
    for reader, _ in connections:
        assert await asyncio.wait_for(reader.read(), 5) == b""


@in_node
async def test_nobody_slips_in_while_a_policy_comes(world: MeshWorld) -> None:
    """The proxy acknowledges a policy that its worker has yet to hear of, and opens connections meanwhile."""
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello", istio_DOT_io__dataplane_mode="ambient")
    await world.ztunnel()
    watcher = world.watch_policies()
    await world.pod("client", account="client")
    await world.pod("stranger", labels={"istio.io/dataplane-mode": "none"})
    await world.pod("server", "hello")
    address = world.sandboxes["server"].spec.ip or ""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    await world.listen("server", 9000, echo)
    await world.istiod.in_step()
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def keep_opening(pod: str) -> None:
        while True:
            with suppress(ConnectionError):
                reader, writer = await world.connect(pod, address, 9000)
                opened.append((reader, writer))
                writer.write(b"x")
                await reader.read(1)
            await asyncio.sleep(0)

    for _ in range(6):
        opening = [asyncio.create_task(keep_opening(pod)) for pod in ("client", "stranger") for _ in range(6)]
        await until(lambda: len(opened) > 60, "connections")
        policy(world, "deny", action="DENY", rules=[{"to": [{"operation": {"ports": ["9000"]}}]}])
        await until(lambda: watcher.busy, "the watcher looks")
        await until(lambda: not watcher.busy, "the watcher has looked")
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        async with asyncio.timeout(5):
            for reader, writer in opened:
                with suppress(ConnectionError):
                    await reader.read()
                writer.close()
        opened.clear()
        world.client.drop(AUTHORIZATIONPOLICY, "deny", "hello")
        await world.istiod.in_step()


@in_node
async def test_a_waypoint_comes_with_its_own_identity(world: MeshWorld) -> None:
    await pods(world)
    await world.waypoint()
    vip = "10.96.0.50"
    world.service("server", "hello", vip, {5000: 8080}, ["server"], istio_DOT_io__use_waypoint="waypoint")

    async def status() -> tuple[int, bool]:
        code, body = await world.get("client", vip, 5000)
        return code, world.sandboxes["waypoint-1"].spec.ip == body.split()[-1]

    await becomes(status, (200, True))
    # one with a selector would leave alone the connection that the waypoint keeps open
    policy(world, "only-client", rules=[source(principals=[CLIENT])])
    await becomes(status, (503, False))
    _, body = await world.get("client", vip, 5000)
    assert body == "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
    policy(world, "only-client", rules=[source(serviceAccounts=["waypoint"])])
    await becomes(status, (200, True))
    await comes_to(world, client=False, stranger=False)
    # a waypoint does not try another endpoint where one's ztunnel refuses it: half of the requests fail
    closed = {"app": "closed"}
    policy(world, "closed", selector={"matchLabels": closed}, action="DENY", rules=[{}])
    await world.pod("closed", "hello", account="server", labels=closed)
    world.endpoints("server", "hello", {5000: 8080}, ["server", "closed"])
    await world.in_step()
    await status()  # proxies say so before their workers have heard; one that answers has
    fits((await world.spread("client", vip, 5000, 200)).elements(), {"server": 0.5, "503": 0.5})
