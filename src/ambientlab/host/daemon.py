"""The daemon put together: its parts built bottom up, started in the order of need, stopped in reverse."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop

from ambientlab.api import crds, kinds
from ambientlab.api.client import Client, Event
from ambientlab.api.objects import Object, condition_holds, labels_of, name, namespace
from ambientlab.api.registry import Registry
from ambientlab.apiserver.families import IPV4, IPV6
from ambientlab.apiserver.pki import PKI
from ambientlab.apiserver.server import APIServer
from ambientlab.apiserver.subresources import create_token
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.cluster import HOST_IP, HOST_NAME, NODE_IP, ROOT_NAMESPACE
from ambientlab.controllers import Options, all_controllers
from ambientlab.dataplane.capture import Capture
from ambientlab.dataplane.policywatcher import PolicyWatcher
from ambientlab.dataplane.ztunnel_admin import ZtunnelAdmin
from ambientlab.flow.collection import Change
from ambientlab.host import kubeconfig, logs, process, seeds
from ambientlab.host.lifecycle import credentials
from ambientlab.host.paths import MeshPaths
from ambientlab.host.progress import Progress
from ambientlab.host.proxies import ProxyTokens, bootstraps, waypoint_drain
from ambientlab.host.ztunnel import NodeProxyView
from ambientlab.images.registry import Images
from ambientlab.mesh.ir import SERVICE_KIND, Service, names
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.control_plane import ControlPlane
from ambientlab.mesh.serve.debug import DebugServer
from ambientlab.mesh.serve.signing import Signing
from ambientlab.mesh.serve.xdsdebug import DebugXds
from ambientlab.node.agent.agent import NodeAgent
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.agent.streams import AgentKubelet
from ambientlab.node.dns import DnsServer
from ambientlab.node.hostgateway import HostGateway
from ambientlab.node.linux import hosthelper
from ambientlab.node.linux.capture import InPodRules
from ambientlab.node.linux.carried import NodeConnections
from ambientlab.node.linux.launch import Node
from ambientlab.node.linux.netlink import socket_in
from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.network import NodeNetwork
from ambientlab.node.proxy import Proxy
from ambientlab.store.store import Store

log = logging.getLogger("ambientlab.daemon")


def run(paths: MeshPaths, node: Node, listener: socket.socket, progress: Progress, launcher: process.Running) -> int:
    """The daemon's whole life; its exit code. A failure to start reaches the waiting `up` as one line."""
    components = logs.configure(paths)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(Daemon(paths, node, listener, components), progress, launcher))
    except Exception as error:
        log.exception("the daemon ends")
        words = (
            str(error) if isinstance(error, OSError) or type(error).__module__.startswith("ambientlab") else repr(error)
        )
        progress.error(words, f"see {paths.daemon_log}")
        return 1


async def _serve(daemon: Daemon, progress: Progress, launcher: process.Running) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    starting = asyncio.create_task(daemon.start(progress))
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            process.record(daemon.paths, launcher, ready=True)
            progress.ready()
            _enable_collector()
            await asyncio.wait((stopped, daemon.agent_task), return_when=asyncio.FIRST_COMPLETED)
            if daemon.agent_task.done():
                daemon.agent_task.result()  # the node agent only ever ends by an error
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await daemon.stop()
    return 0


def _enable_collector() -> None:
    """What a start has made stays for good: later collections need not visit it, and pause requests less."""
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass(frozen=True, slots=True)
class Keys:
    """What the API signs with: its own and its clients' certificates, and service account tokens."""

    pki: PKI
    signer: TokenSigner

    @classmethod
    def load(cls, paths: MeshPaths) -> Keys:
        """Read from the state directory; what is not there yet is made."""
        return cls(PKI.load(paths.pki), TokenSigner.load(paths.pki))


class Daemon:
    """One mesh. Constructing does no I/O; `agent_task` runs for as long as the node works."""

    agent_task: asyncio.Task[None]

    def __init__(
        self, paths: MeshPaths, node: Node, listener: socket.socket, components: Mapping[str, LogFile]
    ) -> None:
        self.paths = paths
        self._node = node
        self._listener = listener
        self._components = components
        self._stops: list[Callable[[], Awaitable[None] | None]] = []

    async def start(self, progress: Progress) -> None:
        """Returns when everything is Ready."""
        keys = Keys.load(self.paths)
        network = self._start_network()
        api = await self._start_api(keys, network)
        progress.step("Kubernetes API")
        dns = await self._start_services(api.client, network)
        progress.step("Node network, Services and DNS")
        ca = await self._start_ca(api.client)
        self._start_controllers(api, keys, ca)
        tokens = ProxyTokens(api.client, keys.signer)
        istiod = await self._start_istiod(api.client, ca, tokens, dns, network)
        progress.step("Controllers and istiod")
        ztunnel = await self._start_views(api.client, istiod, ca, tokens)
        capture = self._start_capture(api.client, istiod, network, ztunnel)
        dns.heard = ztunnel.looked_up
        made = bootstraps(tokens, self.paths.xds_socket)
        images = Images(made, {"proxyv2": waypoint_drain(istiod.in_step)}, {"ztunnel": ztunnel.output})
        await self._start_agent(api, keys.signer, images, network, capture)
        await _ready(api.client)
        progress.step("ztunnel, istio-cni and istiod Ready")

    async def stop(self) -> None:
        """In reverse order of starting, each whatever becomes of the others. Pods are not told: the kernel ends them
        with the node."""
        async with AsyncExitStack() as stops:
            for stop in self._stops:
                stops.push_async_callback(_stopped, stop)

    async def _seed(self, api: APIServer, objects: list[seeds.Seed]) -> None:
        """All at once, so that they share commits."""
        await asyncio.gather(*[api.ensure(resource, obj) for resource, obj in objects])

    def _start_network(self) -> NodeNetwork:
        network = NodeNetwork()
        network.start()
        self._stops.append(network.close)
        return network

    async def _start_api(self, keys: Keys, network: NodeNetwork) -> APIServer:
        store = Store(self.paths.database)
        store.open()
        self._stops.append(store.close)
        families = (IPV4, IPV6) if network.ipv6 else (IPV4,)
        api = APIServer(store, Registry(), pki=keys.pki, signer=keys.signer, families=families)
        await self._seed(api, [(kinds.CUSTOMRESOURCEDEFINITION, crd) for crd in crds.shipped()])
        await self._seed(api, seeds.namespaces())
        await self._seed(api, seeds.services())
        await api.start([self._listener, _node_listener()])
        self._stops.append(api.stop)
        kubeconfig.write_standalone(self.paths.kubeconfig, self.paths.context, credentials(self.paths))
        return api

    async def _start_services(self, client: Client, network: NodeNetwork) -> DnsServer:
        proxy = Proxy(client)
        proxy.start(ipv6=network.ipv6)
        self._stops.append(proxy.close)
        dns = DnsServer(client)
        await dns.start()
        self._stops.append(dns.close)
        return dns

    async def _start_ca(self, client: Client) -> CertificateAuthority:
        signing = Signing(client, self.paths.ca)
        authority = await signing.open()
        signing.start()
        self._stops.append(signing.stop)
        return authority

    def _start_controllers(self, api: APIServer, keys: Keys, ca: CertificateAuthority) -> None:
        options = Options(api.registry.resources, keys.pki.ca_certificate.decode(), ca)
        for controller in all_controllers(api.client, options):
            controller.start()
            self._stops.append(controller.stop)

    async def _start_istiod(
        self, client: Client, ca: CertificateAuthority, tokens: ProxyTokens, dns: DnsServer, network: NodeNetwork
    ) -> ControlPlane:
        self.paths.xds.mkdir(mode=0o700, exist_ok=True)
        istiod = ControlPlane(client, ca, tokens.verify, self.paths.xds_socket, ipv6=network.ipv6)

        gateway = self._start_host_gateway()

        def known(host: str, change: Change[Service]) -> None:
            entry = change.new if change.new is not None and change.new.kind != SERVICE_KIND else None
            dns.mesh.put(names.hostname(host), () if entry is None else entry.vips, names.namespace_of(host))
            if gateway is not None:
                gateway.put(host, () if entry is None else _ports_of_host(entry))

        istiod.index.services.watch(known)
        await istiod.start()
        self._stops.append(istiod.stop)
        return istiod

    async def _start_views(
        self, client: Client, istiod: ControlPlane, ca: CertificateAuthority, tokens: ProxyTokens
    ) -> NodeProxyView:
        """What istiod and ztunnel answer about themselves."""
        view = NodeProxyView(istiod, NodeConnections().held)
        debug = DebugServer(lambda: istiod.connections, view.mesh_metrics, view.pilot_metrics)
        asked = DebugXds(lambda: istiod.connections, lambda: _istiod_pod(client), ca, tokens.namespace_of)
        admin = ZtunnelAdmin(view.dump, view.metrics, view.levels)
        for server in (debug, asked, admin):
            await server.start()
            self._stops.append(server.stop)
        return view

    def _start_host_gateway(self) -> HostGateway | None:
        if self._node.helper is None:
            return None
        gateway = HostGateway(functools.partial(hosthelper.connect, self._node.helper))
        gateway.start()
        self._stops.append(gateway.stop)
        return gateway

    def _start_capture(
        self, client: Client, istiod: ControlPlane, network: NodeNetwork, ztunnel: NodeProxyView
    ) -> Capture:
        rules = InPodRules()
        rules.start(ipv6=network.ipv6)
        self._stops.append(rules.close)
        capture = Capture(client, istiod.captures, rules)
        capture.start()
        self._stops.append(capture.stop)
        watcher = PolicyWatcher(
            istiod.index, istiod.captures.pods.values, istiod.in_step, NodeConnections(), ztunnel.say
        )
        watcher.start()
        self._stops.append(watcher.stop)
        return capture

    async def _start_agent(
        self, api: APIServer, signer: TokenSigner, images: Images, network: NodeNetwork, capture: Capture
    ) -> None:
        """The node goes to work: Istio's own pods, and those a former life of the mesh had."""
        runtime = LinuxRuntime(self._node.zygote, network)
        runtime.start()
        self._stops.append(runtime.close)

        async def request_token(namespace: str, account: str, request: Object) -> Object:
            return create_token(api.verbs, signer, namespace, account, request)

        agent = NodeAgent(
            api.client,
            runtime,
            images,
            [capture],
            network.addresses,
            state_dir=self.paths.state / "node",
            run_dir=self.paths.run / "pods",
            token_issuer=request_token,
            components=self._components,
        )
        api.kubelet = AgentKubelet(agent, socket_in)
        await self._seed(api, seeds.istio())
        await agent.start()
        self.agent_task = asyncio.create_task(agent.run())
        self._stops.append(self._stop_agent)

    async def _stop_agent(self) -> None:
        self.agent_task.cancel()
        await asyncio.gather(self.agent_task, return_exceptions=True)  # its own errors have ended `_serve` already


async def _stopped(stop: Callable[[], Awaitable[None] | None]) -> None:
    result = stop()
    if result is not None:
        await result


def _ports_of_host(entry: Service) -> set[int]:
    """Those of this machine that it wants called."""
    return {port for end in entry.endpoints if end.address in (HOST_NAME, HOST_IP) for _, port in end.ports}


def _node_listener() -> socket.socket:
    """The API for pods, behind the Service `kubernetes`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((NODE_IP, seeds.API_PORT))
    listener.listen(256)
    return listener


async def _ready(client: Client) -> None:
    """Wait until each of Istio's workloads has a pod that is Ready."""
    ready = asyncio.Event()

    def changed(event: Event) -> None:
        if namespace(event.object) == ROOT_NAMESPACE and _all_ready(client.list(kinds.POD, ROOT_NAMESPACE)):
            ready.set()

    unsubscribe = client.watch(kinds.POD, changed)
    try:
        await ready.wait()
    finally:
        unsubscribe()


def _all_ready(pods: Iterable[Object]) -> bool:
    labels = [labels_of(pod).items() for pod in pods if condition_holds(pod, "Ready")]
    return all(any(selector.items() <= some for some in labels) for selector in seeds.selectors())


def _istiod_pod(client: Client) -> str:
    """The name of the pod that stands for istiod, "" while there is none."""
    found = [pod for pod in client.list(kinds.POD, ROOT_NAMESPACE) if labels_of(pod).get("app") == "istiod"]
    return name(found[0]) if found else ""
