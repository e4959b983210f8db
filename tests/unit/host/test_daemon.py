"""When a mesh is Ready, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ambientlab.api.client import Event
from ambientlab.api.objects import Object
from ambientlab.host import daemon
from ambientlab.host.daemon import Daemon
from ambientlab.host.paths import mesh_paths
from ambientlab.node.linux.launch import Node


@pytest.fixture
def made() -> Iterator[Daemon]:
    with socket.socket() as zygote, socket.socket() as listener:
        yield Daemon(mesh_paths("demo"), Node(zygote), listener, {})


async def test_what_does_not_end_keeps_nothing_else_from_ending(made: Daemon) -> None:
    ended = []

    async def fails() -> None:
        raise OSError("the device is busy")

    made._stops += [lambda: ended.append("first"), fails, lambda: ended.append("last")]
    with pytest.raises(OSError, match="busy"):
        await made.stop()
    assert ended == ["last", "first"]


class Pods:
    """A client that knows pods of istio-system."""

    def __init__(self) -> None:
        self.found: list[Object] = []
        self.tell: Callable[[Event], None] = lambda event: None

    def list(self, *_: object) -> list[Object]:
        return self.found

    def watch(self, _: object, changed: Callable[[Event], None]) -> Callable[[], None]:
        self.tell = changed
        return lambda: None

    def ready(self, **labels: str) -> None:
        metadata = {"name": f"pod-{len(self.found)}", "namespace": "istio-system", "labels": labels}
        pod: Object = {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        self.found.append(pod)
        self.tell(Event("MODIFIED", pod))


async def test_a_mesh_is_ready_when_istio_is_whoever_else_is_there() -> None:
    pods: Any = Pods()
    waiting = asyncio.create_task(daemon._ready(pods))
    await asyncio.sleep(0)
    for number in range(3):
        pods.ready(app=f"of-somebody-{number}")
    pods.ready(app="istiod", istio="pilot")
    pods.ready(app="ztunnel")
    await asyncio.sleep(0)
    assert not waiting.done()
    pods.ready(**{"k8s-app": "istio-cni-node"})
    await asyncio.wait_for(waiting, 5)
