"""Responses to a proxy that take their time."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from ambientlab.mesh.serve.connection import Connection


class Late:
    """Those of one type are on the way from here on, until they `arrive`."""

    def __init__(self, connection: Connection, type_url: str) -> None:
        self._connection = connection
        self._type_url = type_url
        self._outgoing = connection.session.outgoing
        self._on_the_way: list[DeltaDiscoveryResponse] = []
        connection.session.outgoing = self._in_time  # type: ignore[method-assign]  # how they come to be is the real one's

    def arrive(self) -> None:
        self._type_url = ""
        self._connection.refresh_secrets()  # it looks what there is to be sent

    def _in_time(self) -> list[DeltaDiscoveryResponse]:
        responses = self._on_the_way + self._outgoing()
        self._on_the_way = [response for response in responses if response.type_url == self._type_url]
        return [response for response in responses if response.type_url != self._type_url]
