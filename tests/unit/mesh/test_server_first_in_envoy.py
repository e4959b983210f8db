"""Whether a waypoint lets a server speak first depends on what else it stands before: a real Envoy, by its ports."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from envoy.config.listener.v3.listener_pb2 import Listener

from ambientlab.mesh.ir import Key
from ambientlab.mesh.xds.types import LISTENER, Resources
from ambientlab.mesh.xds.waypoint_clusters import MAIN_INTERNAL_DETECT
from support.real_waypoint import RealWaypoint, Served, loopback_network

BANNER = b"220 at your service\r\n"
PORTS = {"alone": ("tcp", 9000), "tcp": ("tcp", 9001), "http": ("http", 9001), "undeclared": ("any", 9002)}
WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: hello, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello, labels: {istio.io/waypoint-for: %s}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: waypoint-1, namespace: hello, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {serviceAccountName: waypoint}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: hello}
spec: {serviceAccountName: server}
status: {phase: Running, podIP: %s, conditions: [{type: Ready, status: "True"}]}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: %(name)s, namespace: hello}
spec: {clusterIP: %(vip)s, clusterIPs: [%(vip)s], ports: [{name: %(port)s, port: %(number)s, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %(name)s, namespace: hello, labels: {kubernetes.io/service-name: %(name)s}}
addressType: IPv4
endpoints: [{addresses: [%(ip)s], conditions: {ready: true}}]
ports: [{name: %(port)s, port: %(number)s, protocol: TCP}]
"""


class Hasty(RealWaypoint):
    """Whose patience is 300 ms where Envoy's is 15 s."""

    def _generated(self) -> Resources:
        result = super()._generated()
        listener = result[LISTENER][MAIN_INTERNAL_DETECT]
        assert isinstance(listener, Listener)
        assert not listener.HasField("listener_filters_timeout")
        listener.listener_filters_timeout.FromMilliseconds(300)
        return result


def greeting(_: str, __: int) -> Served:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER)
        await reader.read()
        writer.close()

    return serve


@pytest.mark.asyncio
@pytest.mark.parametrize(("traffic", "heard"), [("service", {"alone"}), ("all", set())])
async def test_a_server_speaks_first_where_nobody_looks_for_http(tmp_path: Path, traffic: str, heard: set[str]) -> None:
    """And where HTTP is looked for, who waits for the server is cut off with nothing."""
    network = loopback_network()
    vips = {name: f"{network}.{100 + number}" for number, name in enumerate(PORTS)}
    text = WORLD % (traffic, f"{network}.1")
    for name, (port, number) in PORTS.items():
        text += SERVICE % {"name": name, "vip": vips[name], "port": port, "number": number, "ip": f"{network}.1"}
    waypoint = Hasty(tmp_path, Key("hello", "waypoint"), "spiffe://cluster.local/ns/test/sa/curl", application=greeting)
    waypoint.put(yaml.safe_load_all(text))
    await waypoint.start()
    try:
        for name, (_, number) in PORTS.items():
            if name == "http":
                continue
            reader, writer = await waypoint.connect(vips[name], number)
            async with asyncio.timeout(5):
                assert await reader.read(len(BANNER)) == (BANNER if name in heard else b""), name
            writer.close()
    finally:
        await waypoint.stop()
