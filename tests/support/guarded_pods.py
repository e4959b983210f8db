"""One real Envoy on loopback in ztunnel's part, before pods that have policies: who gets in, and what is logged.

Each pod has a loopback address of its own and the node proxy's own listeners, but no network namespace; behind all of
them is one application that says a word first and then echoes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambientlab.cluster import TRUST_DOMAIN
from ambientlab.dataplane.ztunnel_log import Levels, ZtunnelLog
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.xds import inpod
from ambientlab.mesh.xds.ztunnel_shared import BLACKHOLE, INBOUND, PASSTHROUGH
from support import hbone
from support.envoy import as_json, free_ports, static_envoy

SERVER = "spiffe://cluster.local/ns/hello/sa/server"
GREETING = b"hello"


@dataclass(frozen=True, slots=True)
class Client:
    """`identity` is "" for one without a tunnel. `port` is "a" or "b", of two that pods have."""

    identity: str = ""
    port: str = "a"
    source: str = "127.0.0.1"


class Pods:
    """`ports` are the two that `Client` names; tunnels are taken at `tunnels_port`."""

    policies: Mapping[str, inpod.Policies]

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        self.directory = directory
        self.identities = hbone.Identities(directory)
        self.tunnels_port, a, b = free_ports(3)
        self.ports = {"a": a, "b": b}
        self.addresses = {name: f"127.1.{n // 200}.{n % 200 + 1}" for n, name in enumerate(names)}

    async def admits(self, pod: str, client: Client) -> bool:
        """Whether what is behind the pod's ztunnel is heard of."""
        if client.identity:
            tunnel = await self.tunnel(pod, client)
            try:
                assert tunnel.status in (200, 401)
                return tunnel.status == 200 and await tunnel.received() == GREETING
            finally:
                tunnel.close()
        address = (self.addresses[pod], self.ports[client.port])
        reader, writer = await asyncio.open_connection(*address, local_addr=(client.source, 0))
        try:
            return await reader.read(5) == GREETING
        except ConnectionError:
            return False
        finally:
            writer.close()

    async def tunnel(
        self, pod: str, client: Client, authority: str = "{}:{}", headers: Sequence[tuple[str, str]] = ()
    ) -> hbone.Tunnel:
        address = self.addresses[pod]
        asked = authority.format(address, self.ports[client.port])
        context = self.identities.client(client.identity)
        return await hbone.connect((address, self.tunnels_port), context, asked, headers, source=client.source)

    def log(self) -> str:
        """As ztunnel's, for a mesh that knows nobody."""
        return ZtunnelLog(self, Levels())((self.directory / "envoy.log").read_bytes()).decode()

    def trust_domain(self) -> str:
        return TRUST_DOMAIN

    def workload(self, ip: str) -> None:
        del ip

    def service(self, ip: str, port: int) -> str:
        del ip, port
        return ""

    def listeners(self, pod: str, policies: inpod.Policies) -> list[dict[str, Any]]:
        captured = Captured(pod, "hello", pod, self.addresses[pod], "", SERVER)
        name = inpod.route_name(captured)
        routes = as_json(inpod.inbound_routes(name, {captured.ip: ()}, policies))
        [(_, tunnels)] = inpod.hbone_listener(captured).items()
        choice = None if policies is None else inpod.plain_choice(policies)
        [(_, plain)] = inpod.plaintext_listener(captured, choice).items()
        made = [self._served(as_json(tunnels), captured.ip, self.tunnels_port)]
        made += [self._served(as_json(plain), captured.ip, port) for port in self.ports.values()]
        for number, listener in enumerate(made):
            listener["name"] += str(number)
        [chain] = made[0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        del manager["rds"]
        manager["route_config"] = routes
        tls = chain["transport_socket"]["typed_config"]["common_tls_context"]
        server = self.identities.ca.issue(SERVER)
        validation = tls.pop("combined_validation_context")["default_validation_context"]
        del tls["tls_certificate_sds_secret_configs"]
        tls["validation_context"] = {
            **validation,
            "trusted_ca": {"inline_string": self.identities.ca.root_pem.decode()},
        }
        tls["tls_certificates"] = [
            {
                "certificate_chain": {"inline_string": server.chain_pem.decode()},
                "private_key": {"inline_string": server.key_pem.decode()},
            }
        ]
        return made

    def _served(self, listener: dict[str, Any], ip: str, port: int) -> dict[str, Any]:
        del listener["listener_filters"]
        return {**listener, "address": {"socket_address": {"address": ip, "port_value": port}}}


@asynccontextmanager
async def running(
    directory: Path, names: Sequence[str], policies: Callable[[int, int], Mapping[str, inpod.Policies]]
) -> AsyncIterator[Pods]:
    """A pod for each name. `policies` is told which ports pods have."""

    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    pods = Pods(names, directory)
    pods.policies = policies(*pods.ports.values())
    server = await asyncio.start_server(application, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    there = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    clusters = [
        {
            "name": name,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": there}]}]},
        }
        for name in (INBOUND, PASSTHROUGH)
    ]
    listeners = [listener for name, some in pods.policies.items() for listener in pods.listeners(name, some)]
    config = {"static_resources": {"listeners": listeners, "clusters": [*clusters, {"name": BLACKHOLE}]}}
    async with server, static_envoy(directory, config):
        await _listening(pods)
        yield pods


async def _listening(pods: Pods) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection(list(pods.addresses.values())[-1], pods.ports["b"])
            except OSError:
                await asyncio.sleep(0.005)
            else:
                writer.close()
                return
