"""The Kubernetes API server as one object: verbs over a store, served over HTTPS and to the rooms of this process."""

from __future__ import annotations

import socket
from asyncio import sslproto
from collections.abc import Sequence

from aiohttp import web

from ambientlab.api.client import Client
from ambientlab.api.kubelet import Kubelet
from ambientlab.api.objects import Object, copy, name, namespace
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.apiserver import admission, crds
from ambientlab.apiserver.client import LocalClient
from ambientlab.apiserver.deletion import CustomCleanup
from ambientlab.apiserver.families import IPV4
from ambientlab.apiserver.http.api import API, MAX_BODY
from ambientlab.apiserver.options import WriteOptions
from ambientlab.apiserver.pki import PKI
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Change
from ambientlab.store.store import Store

# asyncio's TLS keeps a receive buffer of this size for each connection: 256 KiB is too much for an idle watch.
_TLS_BUFFER = 32 << 10
# Of a request before its body, as a Kubernetes API server has it (apiserver/pkg/server/secure_serving.go): a command to
# execute is in its URL.
_MAX_HEAD = 1 << 20
# The field manager of what comes with the product.
SHIPPER = "ambientlab"
_GRACE_SECONDS = 1.0


class APIServer:
    """`store` is open. Constructing does no I/O; `kubelet` may be set later, before the first stream request.
    `families` are those of Services' addresses."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        pki: PKI,
        signer: TokenSigner,
        kubelet: Kubelet | None = None,
        families: Sequence[str] = (IPV4,),
    ) -> None:
        self.verbs = Verbs(store, registry, families=families)
        self.registry = registry
        self._client = LocalClient(self.verbs)
        self._api = API(self.verbs, signer, kubelet)
        self._pki = pki
        self._cleanup = CustomCleanup(self.verbs)
        self._runner: web.AppRunner | None = None
        self.verbs.admission.rebuild()
        for entry in store.list(admission.CRDS):
            if crds.is_established(entry.object):
                registry.put_crd(entry.object)
        self._unwatch = store.watch(admission.CRDS, self._crd_changed)

    @property
    def client(self) -> Client:
        return self._client

    @property
    def kubelet(self) -> Kubelet | None:
        return self._api.kubelet

    @kubelet.setter
    def kubelet(self, kubelet: Kubelet | None) -> None:
        self._api.kubelet = kubelet

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve TLS on sockets that are bound already."""
        sslproto.SSLProtocol.max_size = _TLS_BUFFER
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._api.handle)
        app.on_response_prepare.append(self._api.warn)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_GRACE_SECONDS,
            max_line_size=_MAX_HEAD,
            max_field_size=_MAX_HEAD,
        )
        await self._runner.setup()
        context = self._pki.server_context()
        for sock in sockets:
            await web.SockSite(self._runner, sock, ssl_context=context).start()
        for entry in self.verbs.store.list(admission.CRDS):
            self._cleanup.consider(entry.object)

    async def stop(self) -> None:
        """End watches and streams, close the listeners. The store stays open: it is its owner's."""
        self._unwatch()
        self._api.stopping.set()
        await self._cleanup.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def ensure(self, resource: Resource, obj: Object) -> Object:
        """Create `obj`, or bring what we ship of it up to date in an object that exists.

        As an apply it drops what an earlier version shipped, and a start that changes nothing writes nothing. `obj`
        must be as decoding gives it (`admit.conform`): what is shipped is, and reading all of it again in search of
        unknown fields would cost every start 40 ms.
        """
        options = WriteOptions(manager=SHIPPER, force=True)
        entry, _ = await self.verbs.apply(resource, namespace(obj), name(obj), copy(obj), options)
        return entry.object

    def _crd_changed(self, change: Change) -> None:
        crd = change.entry.object
        if change.type == "DELETED":
            self.registry.remove_crd(name(crd))
            return
        if crds.is_established(crd):
            before = change.old.object if change.old is not None else None
            if before is None or before["spec"] != crd["spec"] or not crds.is_established(before):
                self.registry.put_crd(crd)
        self._cleanup.consider(crd)
