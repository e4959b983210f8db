"""A label on a running pod, until its new connections follow.

The client connects without end to an address that a ServiceEntry has chosen and that nobody but ztunnel knows: it is
answered from the moment the pod is in the mesh, and not outside of it. It notes the moment of each turn, on the
monotonic clock that every namespace of a machine shares.
"""

from __future__ import annotations

import json
import time

from bench.report import Row, timing
from bench.world import Api, kubectl, mesh, script

ROUNDS = 60
AT_MOST = 0.2
PATIENCE = 0.005
"""Seconds for a connection, which ztunnel takes at once. Outside of the mesh nothing answers at all: the kernel says
once in a second that there is no such address."""
VIP = "240.240.200.1"
POD = "/api/v1/namespaces/live/pods/client"

CLIENT = f"""
import socket, time
last = None
while True:
    with socket.socket() as connection:
        try:
            connection.settimeout({PATIENCE})
            connection.connect(("{VIP}", 80))
            connection.settimeout(1)
            answered = connection.recv(1) == b"x"
        except OSError:
            answered = False
    if answered != last:
        last = answered
        print(time.monotonic(), answered, flush=True)
    time.sleep(0.001)
"""

SERVER = """
import socket
with socket.create_server(("0.0.0.0", 80)) as listening:
    while True:
        connection, _ = listening.accept()
        connection.sendall(b"x")
        connection.close()
"""


def rows() -> list[Row]:
    with mesh(lab=False) as paths:
        kubectl("create", "namespace", "live")
        python = ("--image=busybox", "-n", "live", "--", "/usr/bin/python3", "-c")
        kubectl("run", "server", *python, SERVER)
        kubectl("run", "client", "--image=busybox", "-n", "live", "--", "sleep", "infinity")
        kubectl("wait", "pod", "--all", "-n", "live", "--for=condition=Ready")
        server = kubectl("get", "pod", "server", "-n", "live", "-o", "jsonpath={.status.podIP}")
        kubectl("apply", "-f", "-", stdin=_entry(server))
        api = Api(paths)
        joined: list[float] = []
        left: list[float] = []
        with script("client", "live", CLIENT) as printed:
            next(printed)
            for _ in range(ROUNDS):
                for mode, seconds in (("ambient", joined), ("none", left)):
                    began = time.monotonic()
                    api.patch(POD, {"metadata": {"labels": {"istio.io/dataplane-mode": mode}}})
                    moment, _, answered = next(printed).partition(" ")
                    assert (answered.strip() == "True") == (mode == "ambient")
                    seconds.append(float(moment) - began)
    return [
        timing(f"{what} to the first connection that follows", seconds[1:], at_most=AT_MOST, quantile=quantile)
        for what, seconds in (("label on a pod", joined), ("label off a pod", left))
        for quantile in (0.5, 0.99)
    ]


def _entry(server: str) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "for-the-mesh", "namespace": "live"},
            "spec": {
                "hosts": ["for-the-mesh.test"],
                "addresses": [VIP],
                "ports": [{"number": 80, "name": "tcp", "protocol": "TCP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": server}],
            },
        }
    )
