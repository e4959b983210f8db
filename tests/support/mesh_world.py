"""A node with pods, a control plane and real Envoys: the data plane without an API server and a kubelet."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from ambientlab.api.kinds import (
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAYCLASS,
    NAMESPACE,
    POD,
    SERVICE,
)
from ambientlab.api.objects import Object, annotations_of
from ambientlab.cluster import NODE_IP
from ambientlab.dataplane.admin import AdminClient
from ambientlab.dataplane.bootstrap import ADMIN_SOCKET, Startup, bootstrap_for_waypoint, bootstrap_for_ztunnel
from ambientlab.dataplane.capture import ENABLED, REDIRECTION, Capture
from ambientlab.dataplane.envoy import binary
from ambientlab.dataplane.policywatcher import PolicyWatcher
from ambientlab.dataplane.ztunnel_connections import Connections, Ends
from ambientlab.dataplane.ztunnel_log import Levels, ZtunnelLog
from ambientlab.host.ztunnel import NodeProxyView
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.control_plane import ControlPlane
from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.session import Session
from ambientlab.mesh.xds.types import LISTENER
from ambientlab.node.linux import links
from ambientlab.node.linux.capture import InPodRules
from ambientlab.node.linux.carried import NodeConnections
from ambientlab.node.linux.launch import Node
from ambientlab.node.linux.netlink import socket_in
from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.network import NodeNetwork
from ambientlab.node.runtime import ContainerSpec, Mount, Process, Sandbox, SandboxSpec
from support.memory_client import MemoryClient
from support.waiting import until

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

IPV6 = Path("/proc/net/if_inet6").exists()
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


class MeshWorld:
    """Pods are sandboxes whose applications live in this process, on sockets of the pods' network namespaces."""

    def __init__(self, node: Node) -> None:
        self.client = MemoryClient()
        self.temporary = tempfile.TemporaryDirectory(prefix="mesh", dir="/var/tmp")
        self.directory = Path(self.temporary.name)
        self.network = NodeNetwork()
        self.runtime = LinuxRuntime(node.zygote, self.network)
        self.rules = InPodRules()
        self.ca = CertificateAuthority.create()
        self.tokens: dict[str, Identity] = {}
        socket_ = self.directory / "xds" / "istiod.sock"
        self.istiod = ControlPlane(self.client, self.ca, self.tokens.get, socket_, ipv6=IPV6)
        self.capture = Capture(self.client, self.istiod.captures, self.rules)
        self.view = NodeProxyView(self.istiod, NodeConnections().held)
        self.sandboxes: dict[str, Sandbox] = {}
        self.logs: dict[str, Path] = {}
        self.envoys: dict[str, Process] = {}
        self.servers: dict[tuple[str, int], asyncio.Server] = {}
        self.environment: dict[str, str] = {}
        """Of the proxies' containers that are started from now on."""
        self.accepted: Counter[str] = Counter()
        """Connections that the application of each pod has had."""
        self.kept: list[socket.socket] = []
        self._stack = AsyncExitStack()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)

    async def __aenter__(self) -> MeshWorld:
        (self.directory / "xds").mkdir(mode=0o700)
        self.network.start()
        self.runtime.start()
        self.rules.start(ipv6=self.network.ipv6)
        for name in ("istio-system", "default", "hello"):
            self.namespace(name)
        self.client.put(
            GATEWAYCLASS,
            {
                "metadata": {"name": "istio-waypoint"},
                "spec": {"controllerName": "istio.io/mesh-controller"},
            },
        )
        await self.istiod.start()
        self.capture.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            for name, path in self.logs.items():
                print(f"--- {name}\n{path.read_bytes().decode(errors='replace')}", file=sys.stderr)
        await self._stack.aclose()
        for server in self.servers.values():
            server.close()
        for sock in self.kept:
            sock.close()
        await self.capture.stop()
        await self.istiod.stop()
        self.rules.close()
        self.network.close()
        self.runtime.close()
        self.temporary.cleanup()

    def namespace(self, name: str, **labels: str) -> None:
        """Label names may be written with `__` for `/` and `_` for `-` and `.`."""
        self.client.put(NAMESPACE, {"metadata": {"name": name, "labels": labels_from(labels)}})

    def label(self, pod: str, **labels: str) -> None:
        """A pod's labels, written as a namespace's."""
        obj = self._pod(pod)
        self.client.put(POD, {**obj, "metadata": {**obj["metadata"], "labels": labels_from(labels)}})

    async def pod(
        self, name: str, namespace: str = "default", *, labels: dict[str, str] | None = None, account: str = "default"
    ) -> Sandbox:
        """A running, ready pod, captured if its labels or its namespace's ask for it."""
        ips = self.network.addresses.all_of(self.network.addresses.allocate())
        obj: Object = {
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"nodeName": "ambientlab", "serviceAccountName": account, "containers": self._containers()},
            "status": {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips], "phase": "Pending"},
        }
        obj = self.client.put(POD, obj)
        sandbox = await self.runtime.create_sandbox(SandboxSpec(obj["metadata"]["uid"], name, *ips))
        self.sandboxes[name] = sandbox
        await self.capture.sandbox_ready(obj, sandbox)
        await self.client.patch(
            POD,
            name,
            namespace,
            {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
        )
        return sandbox

    async def remove_pod(self, name: str, namespace: str = "default") -> None:
        obj = self.client.get(POD, name, namespace)
        assert obj is not None
        sandbox = self.sandboxes.pop(name)
        for place in [place for place in self.servers if place[0] == name]:
            self.servers.pop(place).close()
        await self.capture.sandbox_removing(obj, sandbox)
        await self.runtime.remove_sandbox(sandbox)
        self.client.drop(POD, name, namespace)

    def drain_waypoints(self, seconds: int) -> None:
        """Those that are started from now on go on for so long with what was taken away."""
        self.environment["PROXY_CONFIG"] = f'{{"drainDuration":"{seconds}s"}}'

    async def ztunnel(self) -> None:
        name, namespace = "ztunnel-abcde", "istio-system"
        pod = self.client.put(
            POD,
            {
                "metadata": {"name": name, "namespace": namespace, "labels": {"app": "ztunnel"}},
                "spec": {
                    "hostNetwork": True,
                    "serviceAccountName": "ztunnel",
                    "nodeName": "ambientlab",
                    "containers": self._containers(),
                },
                "status": {"podIP": "10.244.0.1"},
            },
        )
        self.sandboxes["ztunnel"] = await self.runtime.create_sandbox(SandboxSpec(pod["metadata"]["uid"], name, None))
        self._startup = bootstrap_for_ztunnel(pod, self._token(pod, "ztunnel"), **self._paths())
        await self.start_ztunnel()

    def watch_policies(self) -> PolicyWatcher:
        """Open connections end where a change of policies asks for it."""

        def say(line: str) -> None:
            with self.logs["ztunnel"].open("ab", buffering=0) as log:
                log.write(line.encode())

        pods, connections = self.istiod.captures.pods, NodeConnections()
        watcher = PolicyWatcher(self.istiod.index, pods.values, self.istiod.in_step, connections, say)
        watcher.start()
        self._stack.push_async_callback(watcher.stop)
        return watcher

    async def start_ztunnel(self) -> None:
        before = len(self.istiod.connections)
        await self._envoy("ztunnel", self._startup, privileged=True)
        await until(lambda: len(self.istiod.connections) > before, "ztunnel connected")

    async def kill_ztunnel(self) -> None:
        process = self.envoys["ztunnel"]
        self.runtime.signal(process, 9)
        await self.runtime.wait(process)
        await until(lambda: not any(c.proxy.service_account == "ztunnel" for c in self.istiod.connections), "gone")

    async def in_step(self) -> None:
        """Until every proxy does what the API says by now."""
        await self.istiod.in_step()
        await until(lambda: all(c.session.synced for c in self.istiod.connections), "every proxy follows")

    async def waypoint(self, name: str = "waypoint", namespace: str = "hello", vip: str = "10.96.0.200") -> Sandbox:
        """Gateway, Service and a pod running the waypoint's Envoy; the Gateway's addresses are set. `vip` may be two
        addresses, with a comma between them."""
        host = {"type": "Hostname", "value": f"{name}.{namespace}.svc.cluster.local"}
        self.client.put(
            GATEWAY,
            {
                "metadata": {"name": name, "namespace": namespace, "labels": {"istio.io/waypoint-for": "service"}},
                "spec": {
                    "gatewayClassName": "istio-waypoint",
                    "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
                },
                "status": {"addresses": [*({"type": "IPAddress", "value": one} for one in vip.split(",")), host]},
            },
        )
        labels = {GATEWAY_NAME: name, "istio.io/dataplane-mode": "none"}
        sandbox = await self.pod(f"{name}-1", namespace, labels=labels, account=name)
        pod = self.client.get(POD, f"{name}-1", namespace)
        assert pod is not None
        self.service(name, namespace, vip, {15008: 15008}, [f"{name}-1"])
        await self._envoy(name, bootstrap_for_waypoint(pod, self._token(pod, name), **self._paths()))
        return sandbox

    async def waypoints_run(self, count: int = 1) -> None:
        """Until so many take tunnels."""

        def running() -> list[Session]:
            sessions = [connection.session for connection in self.istiod.connections]
            return [each for each in sessions if each.synced and "connect_terminate" in each.held(LISTENER)]

        await until(lambda: len(running()) == count, "waypoints take tunnels")

    def service(
        self,
        name: str,
        namespace: str,
        vip: str,
        ports: dict[int, int],
        pods: list[str],
        *,
        protocol: str = "http",
        **labels: str,
    ) -> None:
        """`vip` may be two addresses, with a comma between them. `protocol`: of its applications."""
        vips = vip.split(",")
        self.client.put(
            SERVICE,
            {
                "metadata": {"name": name, "namespace": namespace, "labels": labels_from(labels)},
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": vips[0],
                    "clusterIPs": vips,
                    "ports": [
                        {"name": f"http-{port}", "port": port, "targetPort": target, "appProtocol": protocol}
                        for port, target in ports.items()
                    ],
                },
            },
        )
        for one in vips:
            self.endpoints(name, namespace, ports, pods, ipv6=":" in one)

    def endpoints(
        self, name: str, namespace: str, ports: dict[int, int], pods: list[str], *, ipv6: bool = False
    ) -> None:
        self.client.put(
            ENDPOINTSLICE,
            {
                "metadata": {
                    "name": f"{name}-{'fghij' if ipv6 else 'abcde'}",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv6" if ipv6 else "IPv4",
                "ports": [
                    {"name": f"http-{port}", "port": target, "protocol": "TCP"} for port, target in ports.items()
                ],
                "endpoints": [
                    {
                        "addresses": [self.sandboxes[pod].spec.ip6 if ipv6 else self.sandboxes[pod].spec.ip],
                        "conditions": {"ready": True, "serving": True, "terminating": False},
                        "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
                    }
                    for pod in pods
                ],
            },
        )

    async def listen(
        self, pod: str, port: int, talk: Talk, context: ssl.SSLContext | None = None, *, ipv6: bool = False
    ) -> None:
        """An application in a pod, or on the node for "", that does `talk` with everybody who connects."""
        netns = self.sandboxes[pod].netns if pod else ""
        host = ("::" if ipv6 else "0.0.0.0") if pod else NODE_IP
        listening = await socket_in(netns, links.family_of(host), socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        self.servers[(pod, -port if ipv6 else port)] = await asyncio.start_server(talk, sock=listening, ssl=context)

    async def serve(self, pod: str, port: int = 8080, body: str = "") -> None:
        """An HTTP application in a pod, which says its name and who called."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted[pod] += 1
            caller = writer.get_extra_info("peername")[0]
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    text = f"{body or pod} {caller}\n".encode()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        await self.listen(pod, port, answer)
        if IPV6:
            await self.listen(pod, port, answer, ipv6=True)

    async def connect(self, pod: str, ip: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await socket_in(self.sandboxes[pod].netns, links.family_of(ip), socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (ip, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    async def get(self, pod: str, ip: str, port: int, path: str = "/") -> tuple[int, str]:
        """One request from a pod on a connection of its own; (0, reason) where the connection fails."""
        try:
            async with asyncio.timeout(10):
                reader, writer = await self.connect(pod, ip, port)
                try:
                    return await ask(reader, writer, path)
                finally:
                    writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            return 0, repr(error)

    async def spread(self, pod: str, ip: str, port: int, requests: int) -> Counter[str]:
        """What answers how often, by the first word of the body; requests on one connection."""
        reader, writer = await self.connect(pod, ip, port)
        found: Counter[str] = Counter()
        for _ in range(requests):
            status, body = await ask(reader, writer)
            found[body.split()[0] if status == 200 else str(status)] += 1
        writer.close()
        return found

    async def admin(self, name: str) -> AdminClient:
        return await self._stack.enter_async_context(AdminClient(self.admin_socket(name)))

    def admin_socket(self, name: str) -> str:
        return f"/proc/{self.envoys[name].pid}/root{ADMIN_SOCKET}"

    async def answered(self, pod: str, ip: str, port: int) -> str:
        """The first good answer: changes take milliseconds to arrive."""
        for _ in range(500):
            status, body = await self.get(pod, ip, port)
            if status == 200:
                return body
            await asyncio.sleep(0.01)
        raise AssertionError(f"{pod} gets no answer from {ip}:{port}: {status} {body}")

    def redirection(self, pod: str) -> str | None:
        """istio-cni's word about a pod."""
        return annotations_of(self._pod(pod)).get(REDIRECTION)

    def annotated(self, pod: str) -> bool:
        """Whether a pod carries istio-cni's word that it is captured."""
        return self.redirection(pod) == ENABLED

    def _pod(self, name: str) -> Object:
        [found] = [obj for obj in self.client.list(POD) if obj["metadata"]["name"] == name]
        return found

    def log(self, name: str) -> str:
        """As people see it."""
        return self.said()[0] if name == "ztunnel" else self.logs[name].read_text()

    def _containers(self) -> list[Object]:
        return [{"name": "c", "env": [{"name": name, "value": value} for name, value in self.environment.items()]}]

    def said(self) -> tuple[str, Connections[Ends]]:
        """ztunnel's log, and what it tells of connections."""
        connections: Connections[Ends] = Connections(time.monotonic, lambda ends: ends)
        log = ZtunnelLog(self.view, Levels(), connections.ended, connections.report)
        return log(self.logs["ztunnel"].read_bytes()).decode(), connections

    def _token(self, pod: Object, account: str) -> str:
        token = f"token-of-{pod['metadata']['name']}"
        self.tokens[token] = Identity(pod["metadata"]["namespace"], account, pod["metadata"]["name"])
        return token

    def _paths(self) -> dict[str, str]:
        return {"envoy": str(binary()), "xds_socket": str(self.directory / "xds" / "istiod.sock")}

    async def _envoy(self, name: str, startup: Startup, *, privileged: bool = False) -> None:
        self.logs[name] = self.directory / f"{name}.log"
        sandbox = self.sandboxes.get(f"{name}-1") or self.sandboxes[name]
        spec = ContainerSpec(
            name,
            startup.argv,
            files=startup.files,
            mounts=[Mount(*bind) for bind in startup.binds],
            privileged=privileged,
        )
        nothing = os.open("/dev/null", os.O_RDONLY)
        log = os.open(self.logs[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.envoys[name] = await self.runtime.start_container(sandbox, spec, (nothing, log, log))
        finally:
            os.close(nothing)
            os.close(log)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str = "/") -> tuple[int, str]:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: app\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
    return int(head.split(" ", 2)[1]), (await reader.readexactly(length)).decode()


def labels_from(words: dict[str, str]) -> dict[str, str]:
    return {key.replace("__", "/").replace("_DOT_", ".").replace("_", "-"): value for key, value in words.items()}
