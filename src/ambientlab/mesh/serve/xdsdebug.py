"""What istioctl asks of istiod over xDS, at port 15012 as in Istio: who is served, and how far.

Requests are of types of their own (pilot/pkg/xds/statusgen.go and debuggen.go):
istio.io/debug/syncz  a ClientConfig for each proxy; `istioctl proxy-status` and `istioctl x version`
istio.io/debug/config_dump  with the name of a proxy, what it is to run; `istioctl proxy-status POD`
istio.io/debug        with one name, what /debug/NAME answers; `istioctl x internal-debug`

istioctl shows a token of a service account (audience istio-ca) and does not look at the certificate. Whoever comes from
another namespace than istiod's is told of its own proxies alone. Proxies are not served here: see `server`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from importlib import import_module
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

from ambientlab.cluster import BUILD, ISTIO_VERSION, ROOT_NAMESPACE
from ambientlab.mesh.serve.ca import CertificateAuthority, Svid
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.debug import named, sync_status
from ambientlab.mesh.serve.identity import spiffe_id
from ambientlab.mesh.serve.sent import sent

log = logging.getLogger("ambientlab.istiod")

PORT = 15012
ACCOUNT = "istiod"
HOST = f"istiod.{ROOT_NAMESPACE}.svc"
_NONCE = "1"
SYNCZ, DUMP, DEBUG = "istio.io/debug/syncz", "istio.io/debug/config_dump", "istio.io/debug"

Verify = Callable[[str], str | None]
"""The namespace of whose token it is; None for one that is not authentic."""


class Context(Protocol):
    """The part of `grpc.aio.ServicerContext` in use here."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


class DebugXds(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # grpc stubs are untyped
    """`instance` gives the name of istiod's pod."""

    def __init__(
        self,
        connections: Callable[[], list[Connection]],
        instance: Callable[[], str],
        ca: CertificateAuthority,
        verify: Verify,
        *,
        address: str = f"127.0.0.1:{PORT}",
    ) -> None:
        self._connections = connections
        self._instance = instance
        self._ca = ca
        self._verify = verify
        self._address = address
        self._svid: Svid | None = None
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, server)
        credentials = grpc.dynamic_ssl_server_credentials(self._certificate(), self._certificate)
        try:
            self.port = server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def StreamAggregatedResources(
        self, requests: AsyncIterator[DiscoveryRequest], context: Context
    ) -> AsyncIterator[DiscoveryResponse]:
        """One answer for each question. What has an answer's nonce acknowledges it; istioctl's questions have some
        nonce as well."""
        caller = self._caller(context)
        if caller is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication required")
        async for request in requests:
            if request.response_nonce == _NONCE:
                continue
            if request.type_url == SYNCZ:
                resources = [_client_config(one) for one in self._seen_by(caller)]
            elif request.type_url == DUMP:
                resources = self._dump(request, caller)
            elif request.type_url == DEBUG:
                resources = [await self._debug(request, caller, context)]
            else:
                words = f"{request.type_url} is not served here: proxies reach istiod by its socket"
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, words)
            yield self._response(request.type_url, resources)

    async def DeltaAggregatedResources(self, requests: AsyncIterator[object], context: Context) -> None:
        del requests
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "istioctl's questions come by the state of the world")

    def _dump(self, request: DiscoveryRequest, caller: str) -> list[Packed]:
        """Nothing for a proxy that is not served here, or not the caller's to see."""
        found = named(self._seen_by(caller), "".join(request.resource_names[:1]))
        return [] if found is None else [_packed(message) for message in sent(found.session)]

    async def _debug(self, request: DiscoveryRequest, caller: str, context: Context) -> Packed:
        if list(request.resource_names) != ["syncz"]:
            words = f"exactly one debug request is required, and syncz is all there is: {list(request.resource_names)}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
        found = json.dumps([sync_status(one) for one in self._seen_by(caller)])
        return Packed(type_url=DEBUG, value=found.encode())

    def _seen_by(self, caller: str) -> list[Connection]:
        found = [one for one in self._connections() if caller in (ROOT_NAMESPACE, one.proxy.namespace)]
        return sorted(found, key=lambda one: str(one.proxy))

    def _response(self, type_url: str, resources: list[Packed]) -> DiscoveryResponse:
        info = {
            "version": ISTIO_VERSION,
            "revision": BUILD,
            "golang_version": "",
            "status": "Clean",
            "tag": ISTIO_VERSION,
        }
        identifier = json.dumps({"Component": "istiod", "ID": self._instance(), "Info": info})
        response = DiscoveryResponse(type_url=type_url, nonce=_NONCE, version_info="1", resources=resources)
        response.control_plane.identifier = identifier
        return response

    def _caller(self, context: Context) -> str | None:
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
                return self._verify(value.removeprefix("Bearer "))
        return None

    def _certificate(self) -> Any:
        """Asked for with every connection."""
        if self._svid is None or self._svid.renew_at <= datetime.now(self._svid.renew_at.tzinfo):
            self._svid = self._ca.issue(spiffe_id(ROOT_NAMESPACE, ACCOUNT), hosts=(HOST,))
        return grpc.ssl_server_certificate_configuration([(self._svid.key_pem, self._svid.chain_pem)])


def _client_config(connection: Connection) -> Packed:
    # imported when it is needed: these messages cost a start more than all else here, and few meshes are ever asked
    csds_pb2 = import_module("envoy.service.status.v3.csds_pb2")

    said = sync_status(connection)
    config = csds_pb2.ClientConfig()
    config.node.id = said["proxy"]
    for name, value in (
        ("CLUSTER_ID", said["cluster_id"]),
        ("ISTIO_VERSION", said["istio_version"]),
        ("NAMESPACE", connection.proxy.namespace),
    ):
        config.node.metadata[name] = value
    for type_url, resource in sorted(said["resources"].items()):
        status = csds_pb2.SYNCED if resource["acked"] == resource["sent"] else csds_pb2.STALE
        if not resource["sent"]:
            status = csds_pb2.NOT_SENT
        if "lastError" in resource:
            status = csds_pb2.ERROR
        one = config.generic_xds_configs.add(type_url=type_url, config_status=status)
        if "sentTime" in resource:
            one.last_updated.FromJsonString(resource["sentTime"])
        if "lastError" in resource:
            one.error_state.details = resource["lastError"]
    return _packed(config)


def _packed(message: Message) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed
