"""Startup, readiness and liveness, with real connections and commands, and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ambientlab.api.objects import Object
from ambientlab.node.agent import probes
from ambientlab.node.agent.actions import Outcome
from support.manual_clock import ManualClock

SLEEP = {
    "name": "main",
    "image": "busybox",
    "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done"],
}


class HttpServer:
    """Answers every request with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.status)
        await writer.drain()
        writer.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpServer]:
    made = HttpServer()
    server = await asyncio.start_server(made.serve, "0.0.0.0", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


async def test_ready_with_the_first_good_answer(world: Any, http: HttpServer) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "web", "httpHeaders": [{"name": "X-A", "value": "b"}]}}
    ports = [{"name": "web", "containerPort": http.port}]
    await world.create("web", {**SLEEP, "readinessProbe": probe, "ports": ports})
    await world.ready("web")
    assert http.requests[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.1.0.2:%d\r\n" % http.port)
    assert b"User-Agent: kube-probe/1.37\r\n" in http.requests[0]
    assert b"X-A: b\r\n" in http.requests[0]


async def test_unready_after_three_failures_and_ready_again(world: Any, http: HttpServer) -> None:
    probe = {"httpGet": {"port": http.port}, "periodSeconds": 5}
    await world.create("web", {**SLEEP, "readinessProbe": probe})
    await world.ready("web")
    http.status = 503
    for n in range(1, 4):
        await world.elapse_until(lambda n=n: len(http.requests) > n)
    await world.until(lambda: world.condition("web", "Ready") == "False")
    assert world.container("web")["state"].keys() == {"running"}
    http.status = 200
    await world.elapse_until(lambda: world.condition("web", "Ready") == "True")
    await world.until(lambda: world.events("Unhealthy"))
    assert world.events("Unhealthy") == ["Readiness probe failed: HTTP probe failed with statuscode: 503"]


async def test_a_refused_connection_is_reported_as_a_kubelet_does(world: Any) -> None:
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 1}
    await world.create("web", {**SLEEP, "readinessProbe": probe})
    await world.elapse_until(lambda: world.events("Unhealthy"))
    assert world.events("Unhealthy") == ["Readiness probe failed: dial tcp 127.1.0.2:1: connect: connection refused"]
    assert world.condition("web", "Ready") == "False"


async def test_a_liveness_failure_restarts_the_container(world: Any) -> None:
    flag = world.path / "alive"
    flag.touch()
    probe = {"exec": {"command": ["sh", "-c", f"echo gone; test -e {flag}"]}, "periodSeconds": 1, "failureThreshold": 1}
    await world.create("web", {**SLEEP, "livenessProbe": probe})
    await world.ready("web")
    flag.unlink()
    await world.elapse(1)
    await world.until(lambda: world.container("web").get("restartCount") == 1)
    await world.until(lambda: world.events("Killing"))
    assert world.events("Killing") == ["Container main failed liveness probe, will be restarted"]
    assert world.events("Unhealthy") == ["Liveness probe failed: gone\n"]


async def test_a_probe_may_have_a_grace_period_of_its_own(world: Any) -> None:
    flag = world.path / "alive"
    flag.touch()
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    stubborn = {**SLEEP, "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"]}
    await world.create("web", {**stubborn, "livenessProbe": {**probe, "terminationGracePeriodSeconds": 3}})
    await world.ready("web")
    flag.unlink()
    began = world.clock.time()
    await world.elapse_until(lambda: world.container("web").get("restartCount") == 1)
    assert world.clock.time() - began < 6


async def test_nothing_else_is_probed_before_the_startup_probe_succeeds(world: Any, http: HttpServer) -> None:
    flag = world.path / "started"
    startup = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1}
    readiness = {"httpGet": {"port": http.port}}
    await world.create("web", {**SLEEP, "startupProbe": startup, "readinessProbe": readiness})
    await world.until(lambda: world.container("web")["state"].get("running"))
    assert not world.container("web")["started"]
    assert http.requests == []
    flag.touch()
    await world.elapse_until(lambda: world.condition("web", "Ready") == "True")
    pod = world.pod("web")
    assert pod["status"]["containerStatuses"][0]["started"]


async def test_a_startup_probe_that_never_succeeds_restarts_the_container(world: Any) -> None:
    startup = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    await world.create("web", {**SLEEP, "startupProbe": startup})
    await world.elapse_until(lambda: world.container("web").get("restartCount") == 1)
    await world.until(lambda: world.events("Killing"))
    assert world.events("Killing") == ["Container main failed startup probe, will be restarted"]


async def test_a_probe_that_hangs_times_out(world: Any) -> None:
    probe = {"exec": {"command": ["sleep", "1000"]}, "timeoutSeconds": 2, "periodSeconds": 1}
    await world.create("web", {**SLEEP, "readinessProbe": probe})
    await world.until(lambda: len(world.runtime.live) == 2)
    await world.elapse(2)
    await world.until(lambda: world.events("Unhealthy"))
    assert world.events("Unhealthy") == ['Readiness probe failed: command timed out: "sleep 1000" timed out after 2s']


async def test_post_start_must_succeed_before_the_container_counts_as_running(world: Any) -> None:
    log = world.path / "order"
    hook = {"exec": {"command": ["sh", "-c", f"echo started >> {log}"]}}
    before = {"exec": {"command": ["sh", "-c", f"echo stopping >> {log}"]}}
    await world.create("web", {**SLEEP, "lifecycle": {"postStart": hook, "preStop": before}})
    await world.ready("web")
    assert log.read_text() == "started\n"
    await world.client.delete(world.kinds.POD, "web", "default")
    await world.until(lambda: world.pod("web") is None)
    assert log.read_text() == "started\nstopping\n"


async def test_a_failing_post_start_hook_ends_the_container(world: Any) -> None:
    hook = {"exec": {"command": ["sh", "-c", "echo no; exit 1"]}}
    await world.create("web", {**SLEEP, "lifecycle": {"postStart": hook}}, restartPolicy="Never")
    await world.until(lambda: world.events("FailedPostStartHook"))
    await world.until(lambda: world.container("web")["state"].get("terminated"))


class Heard:
    """What probes say, each with how many attempts there had been."""

    def __init__(self, script: str) -> None:
        self.said: list[tuple[str, int]] = []
        self.over = asyncio.Event()
        self._script = script
        self._attempts = 0

    async def attempt(self, probe: Object, timeout: float) -> Outcome:
        if self._attempts == len(self._script):
            self.over.set()
            await asyncio.Event().wait()
        self._attempts += 1
        return Outcome(self._script[self._attempts - 1] == "+")

    def started(self) -> None:
        self.said.append(("started", self._attempts))

    def readiness(self, ready: bool) -> None:
        self.said.append(("ready" if ready else "unready", self._attempts))

    def unhealthy(self, probe: str, detail: str) -> None:
        pass

    def condemned(self, probe: str) -> None:
        self.said.append((f"condemned by {probe}", self._attempts))
        self.over.set()


@pytest.mark.parametrize(
    ("probe", "script", "said"),
    [
        ({"readinessProbe": {"successThreshold": 3}}, "++-++-+++", [("started", 0), ("ready", 9)]),
        ({"readinessProbe": {"periodSeconds": 1}}, "+--+---", [("started", 0), ("ready", 1), ("unready", 7)]),
        (
            {"livenessProbe": {"periodSeconds": 1}},
            "--+-+---",
            [("started", 0), ("ready", 0), ("condemned by Liveness", 8)],
        ),
        ({"startupProbe": {"periodSeconds": 1}}, "--+", [("started", 3), ("ready", 3)]),
    ],
)
async def test_thresholds_are_of_outcomes_in_a_row(probe: Object, script: str, said: list[tuple[str, int]]) -> None:
    clock, heard = ManualClock(), Heard(script)
    watching = asyncio.create_task(probes.watch(probe, heard.attempt, heard, clock))
    async with asyncio.timeout(20):
        while not (heard.over.is_set() or watching.done()):
            await asyncio.sleep(0)
            clock.advance(1)
    watching.cancel()
    await asyncio.wait({watching})
    assert heard.said == said
