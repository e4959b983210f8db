"""What the proxies' images start: the data plane's bootstraps with the pod's own token in them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ambientlab.api import kinds
from ambientlab.api.client import Client
from ambientlab.api.objects import Object, name, namespace, uid
from ambientlab.apiserver.tokens import Claims, TokenError, TokenSigner
from ambientlab.dataplane import envoy
from ambientlab.dataplane.admin import AdminClient
from ambientlab.dataplane.bootstrap import (
    ADMIN_SOCKET,
    OPEN_TUNNELS,
    TUNNELS,
    Startup,
    bootstrap_for_waypoint,
    bootstrap_for_ztunnel,
)
from ambientlab.images.program import Bind, Bootstrap, Drain, Launch
from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.serve.proxies import NODE_PROXY, is_node_proxy
from ambientlab.node.linux import syscalls

# The audience Istio's proxies use towards istiod.
AUDIENCE = "istio-ca"

# A container's token is read once, at its start, and is worth nothing once its pod is gone.
LIFETIME_SECONDS = 365 * 24 * 3600

# How long nothing must have begun in a waypoint that ends: much longer than a request takes from ztunnel to it.
_QUIET_SECONDS = 0.1


class ProxyTokens:
    """Tokens that prove a proxy's pod to the control plane: made when its container starts, checked on connecting."""

    def __init__(self, client: Client, signer: TokenSigner) -> None:
        self._client = client
        self._signer = signer

    def issue(self, pod: Object) -> str:
        account = _identity(pod).service_account
        found = self._client.get(kinds.SERVICEACCOUNT, account, namespace(pod))
        now = int(time.time())
        claims = Claims(
            namespace=namespace(pod),
            service_account=account,
            service_account_uid=uid(found) if found else "",
            audiences=(AUDIENCE,),
            expires=now + LIFETIME_SECONDS,
            pod=name(pod),
            pod_uid=uid(pod),
        )
        return self._signer.sign(claims, now)

    def verify(self, token: str) -> Identity | None:
        """`TokenVerifier`: the pod must still be there, and be the same one."""
        try:
            claims = self._signer.verify(token, audience=AUDIENCE)
        except TokenError:
            return None
        pod = self._client.get(kinds.POD, claims.pod, claims.namespace)
        if pod is None or uid(pod) != claims.pod_uid:
            return None
        return Identity(claims.namespace, claims.service_account, claims.pod)

    def namespace_of(self, token: str) -> str | None:
        """Whose it is, of tokens that show somebody to istiod, bound to a pod or not."""
        try:
            return self._signer.verify(token, audience=AUDIENCE).namespace
        except TokenError:
            return None


def _identity(pod: Object) -> Identity:
    return Identity(namespace(pod), pod["spec"].get("serviceAccountName") or "default", name(pod))


def bootstraps(tokens: ProxyTokens, xds_socket: Path) -> Mapping[str, Bootstrap]:
    """The launches of the two proxy images, as `images.registry.Images` takes them."""

    def launch(startup: Callable[..., Startup], *, privileged: bool) -> Bootstrap:
        def bootstrap(pod: Object, container: Object) -> Launch:
            # Every argument Istio's templates give a proxy is known from its pod.
            if privileged and not is_node_proxy(_identity(pod)):
                raise ValueError(
                    f'image "{container["image"]}" is the node proxy and may do what no other pod may: it runs only '
                    f"as service account {NODE_PROXY[1]} of namespace {NODE_PROXY[0]}"
                )
            made = startup(pod, tokens.issue(pod), envoy=str(envoy.binary()), xds_socket=str(xds_socket))
            return Launch(
                argv=tuple(made.argv),
                files=made.files,
                binds=tuple(Bind(source, target) for source, target in made.binds),
                privileged=privileged,
            )

        return bootstrap

    return {
        "ztunnel": launch(bootstrap_for_ztunnel, privileged=True),
        "proxyv2": launch(bootstrap_for_waypoint, privileged=False),
    }


def waypoint_drain(turned_away: Callable[[], Awaitable[None]]) -> Drain:
    """What Istio's agent does before it ends a waypoint's Envoy: it lets clients turn away and finishes their requests
    (pkg/envoy/agent.go, terminate).

    `turned_away` returns when no client is told any more to come here. A request may be on its way even then: what an
    idle proxy must have been, too, is idle for a while.
    """

    async def drain(pid: int) -> None:
        await turned_away()
        with suppress(OSError):  # it has ended
            async with _admin(pid) as admin:
                before = None
                while True:
                    stats = await admin.stats(f"^({OPEN_TUNNELS}|{TUNNELS})$")
                    if not stats.get(OPEN_TUNNELS) and stats == before:
                        return
                    before = stats
                    await asyncio.sleep(_QUIET_SECONDS)

    return drain


@asynccontextmanager
async def _admin(pid: int) -> AsyncIterator[AdminClient]:
    """That of the Envoy in a process's container, which no link of the container's makes one outside it. Raises
    OSError."""
    socket = syscalls.open_beneath(f"/proc/{pid}/root", ADMIN_SOCKET.removeprefix("/"))
    try:
        async with AdminClient(f"/proc/self/fd/{socket}") as admin:
            yield admin
    finally:
        os.close(socket)
