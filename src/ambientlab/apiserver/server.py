"""The Kubernetes API server as one object: verbs over a store, served over HTTPS and to the rooms of this process."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ambientlab.api.client import Client
from ambientlab.api.kubelet import Kubelet
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.apiserver.pki import PKI
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.store.store import Store


class APIServer:
    """`store` is open. Constructing does no I/O; `kubelet` may be set later, before the first stream request."""

    def __init__(
        self, store: Store, registry: Registry, *, pki: PKI, signer: TokenSigner, kubelet: Kubelet | None = None
    ) -> None:
        self.kubelet = kubelet
        raise NotImplementedError

    @property
    def client(self) -> Client:
        raise NotImplementedError

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve TLS on sockets that are bound already."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End watches and streams, close the listeners. The store stays open: it is its owner's."""
        raise NotImplementedError

    async def ensure(self, resource: Resource, obj: Object) -> Object:
        """Create `obj`, or bring what we ship of it up to date in an object that exists."""
        raise NotImplementedError
