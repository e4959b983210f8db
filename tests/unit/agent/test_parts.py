"""The small parts: back-off, log files, events, status rules, the node object."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.api import kinds
from ambientlab.api.kubelet import LogOptions
from ambientlab.flow.clock import LoopClock
from ambientlab.node.agent import logread, status, stdio
from ambientlab.node.agent.actions import Outcome, Target, act
from ambientlab.node.agent.backoff import Backoff
from ambientlab.node.agent.logs import LogFile, LogStore, rotated
from ambientlab.node.agent.status import ContainerRecord, PodFacts, Role
from support.waiting import until


def test_back_off_doubles_up_to_a_limit_and_starts_over() -> None:
    backoff = Backoff(10, 300, at_once=True)
    assert [backoff.next() for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.next(worked_for=601) == 0
    assert [Backoff(1, 3).next() for _ in range(2)] == [1, 1]


# -- logs ----------------------------------------------------------------------------------------------------------


async def text(path: Path, writer: LogFile | None = None, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in logread.read(path, writer, LogOptions(**options))])


async def test_a_log_keeps_two_files_and_reads_over_both(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log", LoopClock(), rotate_at=2000)
    for number in range(100):
        log.write("stdout", b"line %04d\n" % number)
    log.close()
    assert rotated(log.path).exists()
    assert log.path.stat().st_size + rotated(log.path).stat().st_size <= 4000
    lines = (await text(log.path)).splitlines()
    assert lines == [b"line %04d" % n for n in range(100 - len(lines), 100)]
    for count in (1, 5, len(lines) - 3, 1000):
        assert (await text(log.path, tail_lines=count)).splitlines() == lines[-count:]


@pytest.mark.parametrize("end", [LogFile.close, lambda log: shutil.rmtree(log.path.parent)])
def test_a_log_at_its_end_writes_to_no_other_file(tmp_path: Path, end: Callable[[LogFile], None]) -> None:
    """The kernel gives the number of a descriptor that was closed to the next that is opened."""
    log = LogFile(tmp_path / "logs/0.log", LoopClock(), rotate_at=200)
    log.write("stdout", b"line\n")
    end(log)
    log.write("stdout", b"x" * 200 + b"\n")
    with (tmp_path / "other").open("w+b") as other:
        log.write("stdout", b"late\n")
        log.close()
        other.write(b"mine")
    assert (tmp_path / "other").read_bytes() == b"mine"


def shown(path: Path, line: bytes) -> bool:
    return line in path.read_bytes().lower()


async def test_a_process_is_heard_though_what_finishes_its_lines_fails(tmp_path: Path) -> None:
    log, pipes = LogFile(tmp_path / "0.log", LoopClock()), stdio.Pipes(stdin=False)

    def output(data: bytes) -> bytes:
        if data == b"odd\n":
            raise ValueError(data)
        return data.upper()

    drain = stdio.Drain(pipes, log, lambda add: output)
    for line in (b"one\n", b"odd\n", b"two\n"):
        os.write(pipes.child[1], line)
        await until(partial(shown, log.path, line), "the line")
    pipes.started()
    await drain.finish()
    assert await text(log.path) == b"ONE\nodd\nTWO\n"


async def test_what_is_added_comes_after_what_the_process_has_written_by_then(tmp_path: Path) -> None:
    log, pipes = LogFile(tmp_path / "0.log", LoopClock()), stdio.Pipes(stdin=False)
    adding: list[Callable[[bytes], None]] = []

    def output(add: Callable[[bytes], None]) -> Callable[[bytes], bytes]:
        adding.append(add)
        return bytes.upper

    drain = stdio.Drain(pipes, log, output)
    os.write(pipes.child[1], b"before\n")
    adding[0](b"added\n")
    os.write(pipes.child[1], b"after\n")
    pipes.started()
    await drain.finish()
    adding[0](b"late\n")
    assert await text(log.path) == b"BEFORE\nadded\nAFTER\nlate\n"


async def test_several_who_write_to_a_process_are_all_heard() -> None:
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    stdin, read = stdio.Stream(ours), stdio.Stream(theirs)
    written = [b"a" * 500_000, b"b" * 500_000]
    writing = [asyncio.create_task(stdin.write(data)) for data in written]
    found = b""
    async for data in read.chunks():
        found += data
        if len(found) == sum(map(len, written)):
            stdin.close()
    assert found == b"".join(written)
    await asyncio.gather(*writing)
    read.close()


async def test_following_ends_where_the_log_was_deleted(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs/0.log", LoopClock())
    log.write("stdout", b"first\n")
    following = logread.read(log.path, log, LogOptions(follow=True))
    assert await anext(following) == b"first\n"
    log.write("stdout", b"last\n")
    log.close()
    shutil.rmtree(log.path.parent)
    assert [chunk async for chunk in following] == [b"last\n"]


async def test_following_continues_over_a_rotation(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log", LoopClock(), rotate_at=2000)
    log.write("stdout", b"first\n")
    received: list[bytes] = []
    started = asyncio.Event()

    async def follow() -> None:
        async for chunk in logread.read(log.path, log, LogOptions(follow=True)):
            received.append(chunk)
            started.set()

    following = asyncio.create_task(follow())
    await started.wait()
    for number in range(60):
        log.write("stdout", b"line %04d\n" % number)
        await asyncio.sleep(0)
    log.close()
    await following
    assert b"".join(received) == b"first\n" + b"".join(b"line %04d\n" % n for n in range(60))


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 6))
async def test_what_is_written_is_what_is_read(pieces: list[bytes], tail: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        log = LogFile(Path(directory, "0.log"), LoopClock())
        for piece in pieces:
            log.write("stdout", piece)
        log.close()
        written = b"".join(pieces)
        assert await text(log.path) == written
        lines = written.split(b"\n")
        whole = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        assert await text(log.path, tail_lines=tail) == b"".join(whole[len(whole) - min(tail, len(whole)) :])


async def test_a_line_without_an_end_is_kept_whole_however_long(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log", LoopClock())
    log.write("stdout", b"x" * 50_000 + b"\ny")
    log.close()
    assert await text(log.path) == b"x" * 50_000 + b"\ny"
    assert await text(log.path, tail_lines=2) == b"x" * 50_000 + b"\ny"
    assert await text(log.path, tail_lines=1) == b"y"


async def test_lines_since_a_moment(tmp_path: Path, world: Any) -> None:
    log = LogFile(tmp_path / "0.log", world.clock)
    log.write("stdout", b"old\n")
    world.clock.advance(100)
    log.write("stderr", b"new\n")
    log.close()
    since = world.clock.now().timestamp() - 50
    assert await text(log.path, since=since) == b"new\n"
    assert await text(log.path, since=since, timestamps=True) == b"2026-01-01T00:01:40.000000000Z new\n"


def test_only_the_last_two_runs_are_kept(tmp_path: Path) -> None:
    store = LogStore(tmp_path, LoopClock())
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}}
    for run in range(4):
        store.begin(pod, "c", run).close()
    assert sorted(path.name for path in (tmp_path / "n_p_u" / "c").iterdir()) == ["2.log", "3.log"]
    store.keep_only([])
    assert list(tmp_path.iterdir()) == []


# -- probes by gRPC ------------------------------------------------------------------------------------------------

LATE = "context deadline exceeded"
HEALTH = {b"": b"\x08\x01", b"\n\x03mad": b"\x08\x02"}


@pytest.mark.parametrize(
    ("probe", "outcome"),
    [
        ({}, Outcome(True, "service healthy")),
        ({"service": "mad"}, Outcome(False, 'service unhealthy (responded with "NOT_SERVING")')),
        ({"service": "x"}, Outcome(False, "error: health rpc probe failed: rpc error: code = NOT_FOUND desc = no x")),
        ({"port": 1}, Outcome(False, f'timeout: failed to connect service "127.0.0.1:1" within 5s: {LATE}')),
    ],
)
async def test_grpc_servers_are_asked_for_their_health(probe: dict[str, Any], outcome: Outcome) -> None:
    async def check(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if request not in HEALTH:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no x")
        return HEALTH[request]

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        target = Target("127.0.0.1", {}, lambda _: NotImplemented)
        assert await act({"grpc": {"port": port, **probe}}, target, LoopClock(), 5) == outcome
    finally:
        await server.stop(None)


# -- events --------------------------------------------------------------------------------------------------------


async def test_repeated_events_are_counted(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "busybox", "command": ["sleep", "1000"]})
    pod = await world.ready("web")
    recorder = world.agent._recorder
    for _ in range(3):
        recorder.record(pod, "Warning", "Unhealthy", "no", "spec.containers{main}")
        world.clock.advance(1)
        await recorder.flush()
    recorder.record(pod, "Warning", "Unhealthy", "other", "spec.containers{main}")
    await recorder.flush()
    events = {e["message"]: e for e in world.client.list(kinds.EVENT) if e["reason"] == "Unhealthy"}
    assert events["no"]["count"] == 3
    assert events["no"]["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert events["no"]["lastTimestamp"] == "2026-01-01T00:00:02Z"
    assert events["no"]["involvedObject"]["fieldPath"] == "spec.containers{main}"
    assert events["no"]["source"] == {"component": "kubelet", "host": "ambientlab"}
    assert events["other"]["count"] == 1


# -- status --------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = PodFacts(NOW, NOW, ("10.244.0.1",), ("10.244.0.9",), sandbox_ready=True)
RUN: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
WAIT: dict[str, Any] = {"waiting": {"reason": "X"}}


def ended(code: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": code}}


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", [RUN], "Running"),
        ("Always", [WAIT], "Pending"),
        ("Always", [RUN, WAIT], "Running"),
        ("Always", [ended(0)], "Running"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [ended(1), RUN], "Running"),
        ("OnFailure", [ended(1)], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
    ],
)
def test_phases(policy: str, states: list[Any], phase: str) -> None:
    records = [ContainerRecord(f"c{n}", "i", Role.MAIN, state) for n, state in enumerate(states)]
    containers = [{"name": record.name} for record in records]
    pod = {"metadata": {"name": "p"}, "spec": {"restartPolicy": policy, "containers": containers}}
    assert status.pod_status(pod, records, FACTS)["phase"] == phase


def test_a_condition_keeps_its_moment_until_it_changes() -> None:
    record = ContainerRecord("c", "i", Role.MAIN, RUN, ready=True)
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    pod["status"] = status.pod_status(pod, [record], FACTS)
    later = PodFacts(datetime(2027, 1, 1, tzinfo=UTC), NOW, ("10.244.0.1",), ("10.244.0.9",), sandbox_ready=True)
    again = status.pod_status(pod, [record], later)
    assert status.merge_patch(pod["status"], again) == {}
    record.ready = False
    changed = {c["type"]: c for c in status.pod_status(pod, [record], later)["conditions"]}
    assert changed["Ready"]["lastTransitionTime"] == "2027-01-01T00:00:00Z"
    assert changed["Ready"]["message"] == "containers with unready status: [c]"
    assert changed["Initialized"]["lastTransitionTime"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[Any], expected: str) -> None:
    pod = {"spec": {"containers": [{"resources": each} for each in resources]}}
    assert status.qos_class(pod) == expected


# -- the node ------------------------------------------------------------------------------------------------------


async def test_the_node_registers_and_renews_its_lease(world: Any) -> None:
    node = world.client.get(kinds.NODE, "ambientlab")
    conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    assert conditions == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.1"
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("ambientlab://")
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.244.0.1"}
    assert node["spec"]["podCIDR"] == "10.244.0.0/16"
    lease = lambda: world.client.get(kinds.LEASE, "ambientlab", "kube-node-lease")  # noqa: E731
    assert lease()["spec"]["leaseDurationSeconds"] == 40
    first = lease()["spec"]["renewTime"]
    await world.elapse(10)
    await world.until(lambda: lease()["spec"]["renewTime"] != first)
