"""The pods that the node proxy carries: what istio-cni and ztunnel agree on over ZDS in Istio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from ambientlab.flow.collection import Source
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import Key, TrustDomains
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.secrets import Secrets, names_of
from ambientlab.mesh.session import Config
from ambientlab.mesh.xds import inpod
from ambientlab.mesh.xds.types import LISTENER, ROUTES

log = logging.getLogger("ambientlab.istiod")

NO_NODE_PROXY = "no ztunnel is connected; see the ztunnel pod in namespace istio-system"


class Captures:
    """A `CaptureSink`. `carried` is what the proxies are told of, after `settle`; `patience` is how many seconds one
    may take to open or close a pod's listeners."""

    def __init__(
        self, carried: Source[Key, Captured], secrets: Secrets, settle: Callable[[], object], patience: float
    ) -> None:
        self._carried = carried
        self._of_identity = carried.index(lambda _, pod: (pod.identity,))
        self._secrets = secrets
        self._settle = settle
        self._patience = patience
        self._trust = TrustDomains()
        self._pods: dict[str, Captured] = {}
        self._node_proxies: list[Connection] = []
        self._present = asyncio.Event()
        self._followers: list[tuple[Callable[[int], None], Callable[[str], None]]] = []

    @property
    def pods(self) -> Mapping[str, Captured]:
        """By uid, with the identity that each has in the mesh's trust domain."""
        return MappingProxyType(self._pods)

    @property
    def node_proxy(self) -> Connection | None:
        """The last to come, while one goes and another takes its place."""
        return self._node_proxies[-1] if self._node_proxies else None

    @property
    def node_proxies(self) -> tuple[Connection, ...]:
        """In order of arrival."""
        return tuple(self._node_proxies)

    def come(self, node_proxy: Connection) -> None:
        self._node_proxies.append(node_proxy)
        self._present.set()
        self._tell_number()

    def gone(self, node_proxy: Connection) -> None:
        self._node_proxies.remove(node_proxy)
        if not self._node_proxies:
            self._present.clear()
        self._tell_number()
        self.tell_refused()

    def entitled(self, spiffe_id: str) -> bool:
        """Whether the node proxy may have this identity's certificate."""
        return bool(self._of_identity.select(spiffe_id))

    def rename(self, trust: TrustDomains) -> None:
        """Give everybody an identity in the trust domain that the mesh has now."""
        self._trust = trust
        for pod in self._pods.values():
            self._carry(pod)

    def follow(self, told: Callable[[int], None], refused: Callable[[str], None]) -> None:
        """`CaptureSink.follow`."""
        self._followers.append((told, refused))

    async def present(self) -> None:
        """`CaptureSink.present`."""
        try:
            await asyncio.wait_for(self._present.wait(), self._patience)
        except TimeoutError:
            raise ConnectionError(NO_NODE_PROXY) from None

    async def add(self, pod: Captured) -> None:
        """`CaptureSink.add`. Raises OSError with the proxy's own words if it refuses the pod's listeners."""
        self._carry(pod)
        node_proxy, keeper = self._newest(), inpod.routes_keeper(pod)
        node_proxy.stage(LISTENER, keeper.name, Config.of(keeper))
        try:
            await self._changed(node_proxy, pod)
            await node_proxy.in_force(ROUTES, [inpod.route_name(pod)], self._patience)  # no listener accepts before
            await node_proxy.in_force(LISTENER, inpod.listener_names(pod), self._patience)  # none was `lost` meanwhile
        finally:
            node_proxy.stage(LISTENER, keeper.name, None)
            node_proxy.push()

    async def remove(self, uid: str) -> None:
        """`CaptureSink.remove`. A proxy that is gone has let go."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        key = Key(pod.namespace, pod.name)
        alone = self._carried.get(key) == pod  # and not another one of its name
        if alone:
            self._carried.delete(key)
        if not self.entitled(pod.identity):
            self._secrets.forget(pod.identity)
        if not alone:
            return
        try:
            await self._changed(self._newest(), pod)
        except ConnectionError:
            log.debug("no ztunnel to take pod %s/%s from", pod.namespace, pod.name)

    def lost(self, listener: str, why: str) -> None:
        """The newest node proxy says in its log that it has taken a listener away."""
        if self.node_proxy is not None:
            self.node_proxy.lost(LISTENER, listener, why)

    def tell_refused(self) -> None:
        """In which pods there is no node proxy: not while there are two, of which the older one has the ports."""
        if len(self._node_proxies) != 1:
            return
        session = self._node_proxies[0].session
        held = session.held(LISTENER)
        refused = {one.name for one in session.rejections if one.type_url == LISTENER and one.name not in held}
        if not refused:
            return
        for uid, pod in self._pods.items():
            if not refused.isdisjoint(inpod.listener_names(pod)):
                for _, tell in self._followers:
                    tell(uid)

    def _tell_number(self) -> None:
        for told, _ in self._followers:
            told(len(self._node_proxies))

    def _carry(self, pod: Captured) -> None:
        renamed = replace(pod, identity=self._trust.renamed(pod.identity))
        self._pods[pod.uid] = renamed
        self._carried.set(Key(pod.namespace, pod.name), renamed)

    def _newest(self) -> Connection:
        if self.node_proxy is None:
            raise ConnectionError(NO_NODE_PROXY)
        return self.node_proxy

    async def _changed(self, node_proxy: Connection, pod: Captured) -> None:
        """Returns when it has opened or closed the listeners of `pod`."""
        self._settle()
        node_proxy.push()
        node_proxy.refresh_secrets(names_of(self._trust.renamed(pod.identity)))
        await node_proxy.in_force(LISTENER, inpod.listener_names(pod), self._patience)
