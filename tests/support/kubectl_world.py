"""An API server in this process, and the real kubectl talking to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from ambientlab.api.kinds import NAMESPACE, SERVICEACCOUNT
from ambientlab.api.registry import Registry
from ambientlab.apiserver.pki import PKI
from ambientlab.apiserver.server import APIServer
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.store.store import Store

KUBECTL = Path(sys.prefix) / "bin" / "kubectl"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class World:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self.env: dict[str, str] = {}

    async def start(self) -> None:
        self.store = Store(self.home / "state.db")
        self.store.open()
        self.registry = Registry()
        self.pki = PKI.load(self.home / "pki")
        self.signer = TokenSigner.load(self.home / "pki")
        self.server = APIServer(self.store, self.registry, pki=self.pki, signer=self.signer)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        await self.server.start([listener])
        self.kubeconfig = self.home / "kubeconfig"
        self.kubeconfig.write_bytes(orjson.dumps(self._kubeconfig(self._certificate())))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECACHEDIR": str(self.home / "cache"),
            "KUBECONFIG": str(self.kubeconfig),
        }
        if self.store.revision == 0:
            await self.namespace("default")

    def _certificate(self) -> dict[str, str]:
        return {
            "client-certificate-data": base64.b64encode(self.pki.admin_certificate).decode(),
            "client-key-data": base64.b64encode(self.pki.admin_key).decode(),
        }

    def _kubeconfig(self, user: dict[str, str]) -> dict[str, object]:
        authority = base64.b64encode(self.pki.ca_certificate).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }

    def tls(self, *, certificate: bool = True) -> ssl.SSLContext:
        """For clients that are not kubectl: the administrator's, or without a certificate nobody's."""
        context = ssl.create_default_context(cadata=self.pki.ca_certificate.decode())
        if certificate:
            context.load_cert_chain(self.home / "pki/admin.crt", self.home / "pki/admin.key")
        return context

    def as_token(self, token: str) -> dict[str, str]:
        path = self.home / "token-kubeconfig"
        path.write_bytes(orjson.dumps(self._kubeconfig({"token": token})))
        return {**self.env, "KUBECONFIG": str(path)}

    async def namespace(self, name: str) -> None:
        await self.server.client.create(
            NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        await self.server.client.create(
            SERVICEACCOUNT,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}},
        )

    async def stop(self) -> None:
        await self.server.stop()
        await self.store.close()

    async def run(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env or self.env,
            cwd=self.home,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def ok(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
        ran = await self.run(*arguments, stdin=stdin, env=env)
        assert ran.code == 0, f"kubectl {' '.join(arguments)}: {ran.out}{ran.err}"
        return ran.out

    async def fails(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
        ran = await self.run(*arguments, stdin=stdin, env=env)
        assert ran.code != 0, f"kubectl {' '.join(arguments)} succeeded: {ran.out}"
        return ran.err


@contextlib.asynccontextmanager
async def serving(home: Path) -> AsyncIterator[World]:
    world = World(home)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
