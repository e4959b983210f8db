"""What judges a soak can find fault: each is shown a mesh that is broken in its way, and one that is not."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import soak.__main__ as command
from ambientlab.api import kinds
from ambientlab.host import process
from ambientlab.host.paths import MeshPaths
from soak import held, ledger, remains, world
from soak.answers import complaint
from soak.api import Answer, Api, Request
from soak.faults import Faults
from soak.logs import Logs
from soak.samples import Sample
from soak.world import World
from soak.writer import Writer
from support.waiting import eventually

TRACEBACK = """2026-11-26T04:00:00Z error a request failed
Traceback (most recent call last):
  File "/x/ambientlab/api/kinds.py", line 3, in named
KeyError: 'x'
2026-11-26T04:00:01Z info next
"""


class Objects(Api):
    """An API of objects in a dictionary, by path, that can be killed."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects
        self.status = 200
        """Of every answer; 0: nobody answers."""
        self.failed = 0

    def close(self) -> None:
        pass

    def ask(self, request: Request) -> Answer:
        path = request.path
        if self.status != 200:
            self.failed += 1
            return Answer(self.status)
        if request.method == "GET" and path.endswith("s"):
            return _answer(200, {"items": [obj for key, obj in self.objects.items() if key.startswith(f"{path}/")]})
        if request.method in ("POST", "PUT"):
            obj = json.loads(request.body)
            self.objects[path if request.method == "PUT" else f"{path}/{obj['metadata']['name']}"] = obj
            return _answer(201, obj)
        if path not in self.objects:
            return Answer(404)
        return _answer(200, self.objects.pop(path) if request.method == "DELETE" else self.objects[path])


def _answer(status: int, obj: Any) -> Answer:
    return Answer(status, json.dumps(obj).encode())


def whats(faults: Faults) -> list[str]:
    return [fault["what"] for fault in faults.as_json()]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Of a mesh that is down: no process and no file but its state."""
    monkeypatch.setattr(held, "PATIENCE", 0.0)
    monkeypatch.setattr(remains, "PATIENCE", 0.0)
    with tempfile.TemporaryDirectory() as root:
        paths = MeshPaths("x", Path(root, "state"), Path(root, "run"))
        for directory in (paths.logs, paths.state / "node", paths.run, Path(root, "tmp")):
            directory.mkdir(parents=True)
        yield World(Path(root), paths, Objects({}))


def test_alike_faults_are_one(faults: Faults) -> None:
    faults.seed, faults.number = 7, 3
    for what in ("leak of 'a' 1", "leak of 'b' 22", "another"):
        faults.add(what, f"evidence of {what}")
    found = faults.as_json()
    assert [(fault["what"], fault["times"]) for fault in found] == [("leak of 'a' 1", 2), ("another", 1)]
    assert (found[0]["seed"], found[0]["number"], found[0]["evidence"]) == (7, 3, "evidence of leak of 'a' 1")


# Answers

FIELD = {"causes": [{"field": "spec", "message": "bad"}]}


def _status(code: int, **fields: Any) -> Answer:
    return _answer(code, {"kind": "Status", "status": "Failure", "code": code, "message": "no", **fields})


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(200, b"{}"), ""),
        (_status(404, reason="NotFound"), ""),
        (_status(422, reason="Invalid", details=FIELD), ""),
        (_status(400, message='admission webhook "a.b" denied the request: no'), ""),
        (_status(504, reason="Timeout", details={"causes": [{"reason": "ResourceVersionTooLarge"}]}), ""),
        (Answer(0), "no answer"),
        (_status(500, reason="InternalError"), "answered 500"),
        (_answer(502, []), "answered 502"),
        (Answer(400, b"Bad Request"), "400 without a Status"),
        (_answer(409, {"kind": "Status", "status": "Failure", "code": 404}), "409 with another code in its Status"),
        (_status(400), "400 without a reason or a message"),
        (_status(422, reason="Invalid"), "Invalid without a field"),
        (_status(422, reason="Invalid", details={"causes": [{"message": "bad"}]}), "Invalid without a field"),
    ],
)
def test_a_refusal_says_what_is_wrong(answer: Answer, wrong: str) -> None:
    assert complaint(answer) == wrong


# Logs


def test_a_traceback_is_found_once(made: World, faults: Faults) -> None:
    logs = Logs(made.paths, faults)
    made.paths.daemon_log.write_text("2026-11-26T04:00:00Z error: it is all right\n")
    logs.check()
    assert whats(faults) == []
    with made.paths.daemon_log.open("a") as file:
        file.write(TRACEBACK[:50])  # half a line
        file.flush()
        logs.check()
        file.write(TRACEBACK[50:])
    logs.check()
    logs.check()
    (fault,) = faults.as_json()
    assert fault["what"] == "log of daemon.log: ambientlab/api/kinds.py named KeyError: 'x'"
    assert fault["times"] == 1
    assert "info next" not in fault["evidence"]


def _renamed(log: Path) -> None:
    log.replace(log.with_suffix(".log.1"))


def _copied(log: Path) -> None:
    log.with_suffix(".log.1").write_bytes(log.read_bytes())
    with log.open("r+") as file:
        file.truncate()


@pytest.mark.parametrize("rotate", [_renamed, _copied])
@pytest.mark.parametrize("where", ["logs/istiod.log", "node/logs/pod/istio-proxy/1.log"])
def test_nothing_is_missed_where_a_log_is_rotated(
    made: World, faults: Faults, where: str, rotate: Callable[[Path], None]
) -> None:
    log = made.paths.state / where
    log.parent.mkdir(parents=True, exist_ok=True)
    logs = Logs(made.paths, faults)
    log.write_text("a line before\n")
    logs.check()
    with log.open("a") as file:
        file.write("[critical] at the end of the first\n")
    rotate(log)
    with log.open("a") as file:
        file.write("ACK ERROR\nassert failure")  # as yet no line
    logs.check()
    assert len(faults) == 1
    with log.open("a") as file:
        file.write("\n")
    logs.check()
    assert len(faults) == 2
    assert len(logs.refusals) == (where == "logs/istiod.log")


# What was written


def _config_map(value: str, **metadata: Any) -> Any:
    return {"kind": "ConfigMap", "metadata": {"name": "a", **metadata}, "data": {"value": value}}


PLACE = "/api/v1/namespaces/x/configmaps"
SAMPLE = Sample(kinds.CONFIGMAP, {"metadata": {"name": "a", "namespace": "x"}}, lasting=True)


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({f"{PLACE}/a": _config_map("1", resourceVersion="5")}, []),
        ({}, ["an acknowledged write is lost: ConfigMap 404"]),
        ({f"{PLACE}/a": _config_map("2")}, ["an acknowledged write is another: ConfigMap"]),
        ({f"{PLACE}/a": _config_map("1", labels={"a": "b"})}, ["an acknowledged write is another: ConfigMap"]),
    ],
)
def test_what_was_acknowledged_is_there(faults: Faults, there: dict[str, Any], found: list[str]) -> None:
    kept = ledger.Ledger()
    kept.heard(SAMPLE, Request("POST", PLACE), _answer(201, _config_map("1", resourceVersion="4")))
    kept.heard(SAMPLE, Request("PUT", f"{PLACE}/a?dryRun=All"), _answer(200, _config_map("3")))
    kept.heard(SAMPLE, Request("PUT", f"{PLACE}/a"), Answer(422))
    assert kept.check(Objects(there), faults) == 1
    assert whats(faults) == found


def test_what_was_deleted_or_is_owned_may_be_gone(faults: Faults) -> None:
    kept = ledger.Ledger()
    kept.heard(SAMPLE, Request("POST", PLACE), _answer(201, _config_map("1", ownerReferences=[{"name": "b"}])))
    assert kept.check(Objects({}), faults) == 1
    kept.heard(SAMPLE, Request("DELETE", f"{PLACE}/a"), _answer(200, {"kind": "Status"}))
    assert kept.check(Objects({}), faults) == 0
    assert whats(faults) == []


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({"nodeName": "n"}, []),
        ({"nodeName": "n", "hostNetwork": True}, ["an acknowledged write is another: Pod"]),
    ],
)
def test_a_pod_may_be_given_a_node_and_be_enrolled(faults: Faults, now: dict[str, Any], found: list[str]) -> None:
    pod: dict[str, Any] = {"kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {}}
    enrolled = {**pod["metadata"], "annotations": {"ambient.istio.io/redirection": "enabled"}}
    place = "/api/v1/namespaces/x/pods"
    kept = ledger.Ledger()
    sample = Sample(kinds.POD, {"metadata": {"name": "a", "namespace": "x"}}, lasting=True)
    kept.heard(sample, Request("POST", place), _answer(201, pod))
    kept.check(
        Objects({f"{place}/a": {**pod, "metadata": enrolled, "spec": now, "status": {"phase": "Running"}}}), faults
    )
    assert whats(faults) == found


def test_what_nobody_touched_is_the_same(faults: Faults) -> None:
    api = Objects({f"/api/v1/namespaces/{world.NAMESPACE}/configmaps/a": _config_map("1")})
    before = ledger.snapshot(api)
    assert len(before) == 1
    ledger.compare(api, before, faults)
    assert whats(faults) == []
    api.objects.clear()
    ledger.compare(api, before, faults)
    assert len(faults) == 1


@pytest.fixture
def written() -> Iterator[tuple[Writer, Objects]]:
    api = Objects({})
    writer = Writer(lambda: api, seed=1)
    yield writer, api
    writer.close()


def _write(writer: Writer, count: int) -> None:
    wanted = writer.acknowledged + count
    writer.resume()
    eventually(lambda: writer.acknowledged >= wanted, "acknowledged writes")
    writer.pause()


def test_a_writer_finds_its_writes(written: tuple[Writer, Objects], faults: Faults) -> None:
    writer, _ = written
    _write(writer, 60)
    writer.check(faults, "nobody")
    assert whats(faults) == []
    assert writer.unanswered == []


def _lose(api: Objects) -> None:
    api.objects.popitem()


def _change(api: Objects) -> None:
    next(iter(api.objects.values()))["data"]["value"] = "another"


@pytest.mark.parametrize("fault", [_lose, _change])
def test_a_writer_misses_a_write(
    written: tuple[Writer, Objects], faults: Faults, fault: Callable[[Objects], None]
) -> None:
    writer, api = written
    _write(writer, 20)
    fault(api)
    writer.check(faults, "daemon")
    assert whats(faults) == ["an acknowledged write is lost after the kill of daemon"]


def test_a_writer_sees_what_is_deleted_come_back(written: tuple[Writer, Objects], faults: Faults) -> None:
    writer, api = written
    seen: dict[str, Any] = {}
    while set(seen) == set(api.objects):
        _write(writer, 1)
        seen |= api.objects
    api.objects.update(seen)
    writer.check(faults, "daemon")
    assert whats(faults) == ["an acknowledged write is lost after the kill of daemon"]


def test_a_writer_that_nobody_answers_says_so_and_takes_either(written: tuple[Writer, Objects], faults: Faults) -> None:
    writer, api = written
    _write(writer, 20)
    api.status = 0
    writer.resume()
    eventually(lambda: writer.unanswered != [], "a write that is not answered")
    writer.pause()
    assert len(writer.unanswered) == 1
    api.status = 200
    writer.check(faults, "daemon")
    assert whats(faults) == []
    assert writer.unanswered == []


def test_an_answer_that_it_is_the_servers_fault_is_one(written: tuple[Writer, Objects], faults: Faults) -> None:
    writer, api = written
    _write(writer, 20)
    api.status = 500
    writer.resume()
    eventually(lambda: api.failed > 0, "such an answer")
    writer.pause()
    api.status = 200
    writer.check(faults, "app")
    assert whats(faults) == ["an answer contradicts earlier ones after the kill of app"]


# What is held and what is left


def test_what_is_more_has_leaked(made: World) -> None:
    before = held.held(made.paths)
    assert held.leaks(made.paths, before) == {}
    (made.paths.run / "left").touch()
    assert held.leaks(made.paths, before) == {"files of the run": (0, 1)}


def test_nothing_is_left_of_a_mesh_that_is_down(made: World, faults: Faults) -> None:
    remains.check(made, faults)
    assert whats(faults) == []


def test_all_that_is_left_is_found(made: World, faults: Faults) -> None:
    made.paths.daemon_log.write_text(TRACEBACK)
    (made.root / "tmp/x").touch()
    (made.paths.state / "settings.new").touch()
    lock = process.acquire(made.paths)
    assert lock is not None
    try:
        with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["sleep", "infinity"]) as running:
            listener.bind(str(made.paths.run / "socket"))
            remains.check(made, faults, [process.identify(running.pid, 0)])
            running.kill()
    finally:
        os.close(lock)
    assert whats(faults) == [
        "log of daemon.log: ambientlab/api/kinds.py named KeyError: 'x'",
        "after down: processes of the mesh",
        "after down: sockets",
        "after down: a lock",
        "after down: files of its run",
        "after down: temporary files",
        "after down: drafts of files",
    ]


def test_a_process_that_took_over_a_pid_is_not_the_meshs(made: World, faults: Faults) -> None:
    with subprocess.Popen(["sleep", "infinity"]) as running:
        remains.check(made, faults, [process.Running(running.pid, 1, 0)])
        running.kill()
    assert whats(faults) == []


# Traffic


class Answers(Counter[str]):
    """One more whenever they are counted, until they stop."""

    goes_on = True

    def total(self) -> int:
        self["v1"] += self.goes_on
        return super().total()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    monkeypatch.setattr(world, "PATIENCE", 0.1)
    answers = Answers({"v1": 90, "v2": 10})

    @contextlib.contextmanager
    def calling() -> Iterator[Counter[str]]:
        yield answers

    monkeypatch.setattr(world, "calling", calling)
    return answers


def test_traffic_as_it_should_be(answers: Answers, faults: Faults) -> None:
    with world.traffic(faults) as seen:
        assert seen is answers
    assert whats(faults) == []


def test_traffic_that_does_not_begin(answers: Answers, faults: Faults) -> None:
    answers.goes_on = False
    with pytest.raises(RuntimeError, match="traffic has stopped after 100 requests"), world.traffic(faults):
        pass


def _stop(answers: Answers) -> None:
    answers.goes_on = False


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (_stop, "traffic has stopped after 102 requests"),
        (lambda answers: answers.update(["HTTP Error 503"]), "traffic was not answered"),
        (lambda answers: answers.update({"v2": 60}), "traffic did not keep its split"),
    ],
)
def test_traffic_gone_wrong(answers: Answers, faults: Faults, fault: Callable[[Answers], None], what: str) -> None:
    with world.traffic(faults):
        fault(answers)
    assert whats(faults) == [what]


# The command


def _finds(fault: str) -> Any:
    def portion(_mesh: object, count: int, _seed: int, faults: Faults) -> Counter[str]:
        if fault == "breaks off":
            raise RuntimeError(fault)
        if fault:
            faults.add(fault)
        return Counter({"sent": count})

    return portion


@pytest.mark.parametrize(
    ("fault", "code", "sent"), [("", 0, 7), ("leak", 1, 7), ("breaks off", 1, 0)], ids=["none", "one", "breaks off"]
)
def test_the_command_fails_where_there_are_faults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str, code: int, sent: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setattr(command, "PORTIONS", {"inputs": (_finds(fault), 3, 100), "kills": (_finds("lost"), 3, 100)})
    monkeypatch.setattr(remains, "mesh", contextlib.nullcontext)
    assert command.main(["--inputs", "7", "--kills", "0", "--seed", "5"]) == code
    (file,) = (tmp_path / command.RESULTS).iterdir()
    results = json.loads(file.read_text())
    assert (results["seed"], results["inputs"].get("sent", 0), results["kills"]) == (5, sent, {})
    assert [found["seed"] for found in results["faults"]] == [5] * code
