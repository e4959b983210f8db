"""What no proxy says, at the socket where istiod serves proxies: messages that are none, strangers, wrong nonces."""

from __future__ import annotations

import contextlib
import random
import socket

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from ambientlab.host.paths import MeshPaths
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from soak.mutation import TEXTS

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
OTHERS = (
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "/a.b/c",
    "/",
    "/grpc.health.v1.Health/Watch",
)
PATIENCE = 0.1


class Xds:
    """A stream of its own for each input."""

    def __init__(self, dice: random.Random, paths: MeshPaths) -> None:
        self._dice = dice
        self._socket = str(paths.xds_socket)
        self._channel = grpc.insecure_channel(f"unix:{self._socket}")

    def close(self) -> None:
        self._channel.close()

    def send(self) -> None:
        dice = self._dice
        if dice.random() < 0.3:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(PATIENCE)
                plain.connect(self._socket)
                plain.sendall(dice.randbytes(dice.choice((1, 30, 1000))))
                plain.recv(100)
            return
        method = METHOD if dice.random() < 0.9 else dice.choice(OTHERS)
        stream = self._channel.stream_stream(method)  # of bytes both ways
        metadata = [("authorization", f"Bearer {dice.choice(('', 'x', 'a.b.c', 'e30.e30.e30'))}")]
        messages = [self._message() for _ in range(dice.choice((0, 1, 1, 2, 5)))]
        with contextlib.suppress(grpc.RpcError):
            for _ in stream(iter(messages), timeout=PATIENCE, metadata=metadata if dice.random() < 0.7 else None):
                pass

    def _message(self) -> bytes:
        dice = self._dice
        if dice.random() < 0.3:
            return dice.randbytes(dice.choice((0, 1, 20, 500)))
        request = DeltaDiscoveryRequest(
            type_url=dice.choice((CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, "", "x", _text(dice))),
            response_nonce=_text(dice) if dice.random() < 0.5 else "",
            resource_names_subscribe=[_text(dice) for _ in range(dice.choice((0, 1, 3, 300)))],
            resource_names_unsubscribe=["*"] if dice.random() < 0.3 else [],
            initial_resource_versions={_text(dice): _text(dice)},
        )
        request.node.id = dice.choice(("", "x", "waypoint.hello", "ztunnel~1.2.3.4~a.b~c", _text(dice)))
        request.error_detail.message = _text(dice)
        data = bytearray(request.SerializeToString())
        if dice.random() < 0.4:
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)


def _text(dice: random.Random) -> str:
    return dice.choice(TEXTS).encode(errors="ignore").decode()
