"""Delta ADS over gRPC on a unix socket: who may connect, and one `Connection` for each that does.

The socket stands in for the network between a proxy and istiod: reaching it is not enough, every stream carries the
proxy's service account token in its metadata, as Istio's agents send it (`authorization: Bearer ...`).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import NoReturn, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.identity import Identity, TokenVerifier

log = logging.getLogger("ambientlab.istiod")

MAX_REQUEST_BYTES = 16 << 20
"""A reconnecting proxy names every resource it has in one request: 100,000 of them fit."""


class Stream(Protocol):
    """The part of `grpc.aio.ServicerContext` in use here."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...

    async def write(self, message: DeltaDiscoveryResponse) -> None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


Admit = Callable[[Identity], Connection | None]
"""The connection to serve an authentic proxy with, or None for one this mesh has no configuration for."""


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # grpc stubs are untyped
    """`connections` are those being served, in order of arrival."""

    def __init__(self, path: Path, verify: TokenVerifier, admit: Admit, on_close: Callable[[Connection], None]) -> None:
        self.connections: list[Connection] = []
        self._path = path
        self._verify = verify
        self._admit = admit
        self._on_close = on_close
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the path is taken by something else than a socket, or too long for one."""
        if self._path.exists() and not stat.S_ISSOCK(self._path.lstat().st_mode):
            raise OSError(f"{self._path} exists and is not a socket")
        self._path.unlink(missing_ok=True)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.max_pings_without_data", 0),
            ]
        )
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, server)
        try:
            server.add_insecure_port(f"unix:{self._path}")
            os.chmod(self._path, 0o600)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._path}: {error}") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        if self._server is not None:
            await self._server.stop(grace=0.5)
            self._server = None
        self._path.unlink(missing_ok=True)

    async def DeltaAggregatedResources(self, requests: AsyncIterator[DeltaDiscoveryRequest], context: Stream) -> None:
        proxy = self._authenticate(context)
        if proxy is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a valid service account token is needed")
        connection = self._admit(proxy)
        if connection is None:
            log.warning("ADS: %s is neither the node proxy nor a waypoint: refused", proxy)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{proxy} is not a proxy of this mesh")
        self.connections.append(connection)
        log.info("ADS: new delta connection for node:%s", proxy)
        try:
            await connection.run(requests, context.write)
        except grpc.aio.BaseError as error:  # the peer is gone with responses under way
            log.info("ADS: %s disconnected: %s", proxy, error)
        finally:
            self.connections.remove(connection)
            log.info("ADS: %s terminated", proxy)
            self._on_close(connection)

    async def StreamAggregatedResources(self, requests: AsyncIterator[object], context: Stream) -> None:
        del requests
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "proxies are served delta ADS alone")

    def _authenticate(self, context: Stream) -> Identity | None:
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
                return self._verify(value.removeprefix("Bearer "))
        return None
