"""The node of the hand-written configuration: prints its URLs, then runs the commands it reads in the client pod.

Its argument is a directory for logs. One JSON document a line: `{"service": URL, ...}` first, then for each argv an
`[exit code, output]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import string
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from ambientlab.cluster import NODE_IP
from ambientlab.dataplane.bootstrap import BINARY, flags
from ambientlab.dataplane.envoy import binary
from ambientlab.flow.clock import LoopClock
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.identity import spiffe_id
from ambientlab.mesh.xds.access_log import WAYPOINT_FORMAT
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.agent.stdio import Drain, Pipes
from ambientlab.node.linux.capture import InPodRules
from ambientlab.node.linux.launch import Node, launch
from ambientlab.node.linux.nft import Nft
from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.network import NodeNetwork
from ambientlab.node.proxy import tables
from ambientlab.node.runtime import ContainerSpec, Mount, Process, Sandbox, SandboxSpec
from bench.handwritten import HERE, RULES, SERVER_ARGUMENTS

SERVICE_VIP = "10.96.1.4"
WAYPOINT_SERVICE_VIP = "10.96.1.7"
PORT = 8080
START_SECONDS = 20
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
IDENTITIES = {name: spiffe_id("default", name) for name in ("client", "server", "waypoint")}


class World:
    """`logs` is a directory for what the containers print: their logs are written as the node agent writes a pod's."""

    def __init__(self, node: Node, logs: Path) -> None:
        self._logs = logs
        self._drains: list[Drain] = []
        self.network = NodeNetwork()
        self.runtime = LinuxRuntime(node.zygote, self.network)
        self.rules = InPodRules()
        self.ca = CertificateAuthority.create()

    async def start(self) -> Mapping[str, str]:
        self.network.start()
        self._prepare_node()
        self.runtime.start()
        self.rules.start(ipv6=self.network.ipv6)
        client, server, waypoint, outside = [
            await self._sandbox(name) for name in ("client", "server", "waypoint", "outside")
        ]
        self.client = await self._container(client, ContainerSpec("client", ["sleep", "infinity"], env=ENV))
        for sandbox in (server, outside):
            await self._envoy(sandbox, SERVER_ARGUMENTS, {})
        words = {
            "client_netns": client.netns,
            "server_netns": server.netns,
            "server_ip": server.spec.ip or "",
            "waypoint_ip": waypoint.spec.ip or "",
            "server_identity": IDENTITIES["server"],
            "waypoint_identity": IDENTITIES["waypoint"],
            "service_vip": SERVICE_VIP,
            "waypoint_service_vip": WAYPOINT_SERVICE_VIP,
            "routes": json.dumps([_route({"path": "/"}), *(_route({"prefix": path}) for path in RULES)]),
            "log_format": json.dumps(WAYPOINT_FORMAT),
        }
        node = await self.runtime.create_sandbox(SandboxSpec("node", "node", None))
        await self._envoy(node, SERVER_ARGUMENTS, {})
        await self._proxy(node, "ztunnel.yaml", words, ("client", "server"), privileged=True)
        await self._proxy(waypoint, "waypoint.yaml", words, ("waypoint",))
        for sandbox in (client, server):
            await self.rules.install(sandbox.netns)
        urls = {
            "service": f"http://{SERVICE_VIP}:{PORT}/",
            "waypoint": f"http://{WAYPOINT_SERVICE_VIP}:{PORT}/",
            "rules": f"http://{WAYPOINT_SERVICE_VIP}:{PORT}{RULES[-1]}",
            "pod": f"http://{outside.spec.ip}:{PORT}/",
            "node": f"http://{NODE_IP}:{PORT}/",
        }
        for url in urls.values():
            await self._answers(url)
        return urls

    def _prepare_node(self) -> None:
        """With kube-proxy's rules: what goes from pod to pod passes them, and is tracked because of them."""
        nft = Nft()
        tables(nft, ipv6=self.network.ipv6)
        nft.close()

    async def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """In the client pod: exit code, and what went to stdout and stderr."""
        with _output() as (output, stdio):
            process, _ = await self.runtime.exec(self.client, argv, ENV, "/", stdio)
            code = await self.runtime.wait(process)
            output.seek(0)
            return code, output.read().decode(errors="replace")

    async def _answers(self, url: str) -> None:
        """Wait until the proxies on the way have read their files."""
        deadline = time.monotonic() + START_SECONDS
        while (outcome := await self.run(["curl", "--silent", "--show-error", "--fail", url]))[0] != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url} does not answer: {outcome[1]}")

    async def _sandbox(self, name: str) -> Sandbox:
        return await self.runtime.create_sandbox(SandboxSpec(name, name, self.network.addresses.allocate()))

    async def _proxy(
        self, sandbox: Sandbox, file: str, words: Mapping[str, str], names: Sequence[str], *, privileged: bool = False
    ) -> None:
        config = string.Template((HERE / file).read_text()).substitute(words)
        files = {"/etc/envoy.yaml": (config.encode(), 0o600), "/etc/certs/root.pem": (self.ca.root_pem, 0o600)}
        for name in names:
            svid = self.ca.issue(IDENTITIES[name])
            files[f"/etc/certs/{name}.pem"] = (svid.chain_pem, 0o600)
            files[f"/etc/certs/{name}.key"] = (svid.key_pem, 0o600)
        await self._envoy(sandbox, ["--config-path", "/etc/envoy.yaml", *flags(1)], files, privileged=privileged)

    async def _envoy(
        self,
        sandbox: Sandbox,
        arguments: Sequence[str],
        files: Mapping[str, tuple[bytes, int]],
        *,
        privileged: bool = False,
    ) -> None:
        spec = ContainerSpec(
            "envoy",
            [BINARY, *arguments],
            env=ENV,
            files=files,
            mounts=[Mount(str(binary()), BINARY)],
            privileged=privileged,
        )
        await self._container(sandbox, spec)

    async def _container(self, sandbox: Sandbox, spec: ContainerSpec) -> Process:
        pipes = Pipes(stdin=False)
        process = await self.runtime.start_container(sandbox, spec, pipes.child)
        pipes.started()
        log = LogFile(self._logs / f"{len(self._drains)}.log", LoopClock())
        self._drains.append(Drain(pipes, log))
        return process


def _route(match: Mapping[str, str]) -> dict[str, object]:
    return {"match": match, "route": {"cluster": "server", "timeout": "0s"}}


@contextlib.contextmanager
def _output() -> Iterator[tuple[IO[bytes], tuple[int, int, int]]]:
    """A file for what a program prints, and the descriptors to start it with."""
    with open("/dev/null", "rb") as nothing, tempfile.TemporaryFile() as output:
        yield output, (nothing.fileno(), output.fileno(), output.fileno())


async def serve(node: Node, logs: Path, commands: BinaryIO) -> None:
    world = World(node, logs)
    print(json.dumps(await world.start()), flush=True)
    while line := await asyncio.to_thread(commands.readline):
        print(json.dumps(await world.run(json.loads(line))), flush=True)


def main() -> int:
    def daemon(node: Node) -> int:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        asyncio.run(serve(node, Path(sys.argv[1]), sys.stdin.buffer))
        return 0

    return launch(daemon)


if __name__ == "__main__":
    sys.exit(main())
