"""kill -9 of whatever runs, at any moment, while writes and traffic go on: all of it comes back and nothing is lost.

What belongs to a pod comes back by itself. Where the mesh's own processes are killed, or a command in the middle of
what it does, the next `ambientlab up` has to be enough.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ambientlab.api.objects import condition_holds
from ambientlab.cluster import ROOT_NAMESPACE
from ambientlab.host import process, tools
from bench.world import ambientlab
from soak import held, logs
from soak.api import Api
from soak.faults import Faults
from soak.world import NAMESPACE, SPLIT, World, calling, restarts
from soak.writer import NAMESPACE as LEDGER
from soak.writer import Writer

# fmt: off
OF_THE_MESH = ("launcher", "host-helper", "node-init", "daemon", "zygote")
OF_A_POD = ("ztunnel", "waypoint", "app", "pause")
OF_A_COMMAND = ("up", "down", "apply", "kubectl", "up and what it starts")
SPARE_THE_API = ("nobody", "apply", *OF_A_POD)
# fmt: on
"""Killed are the first two and `kubectl apply` themselves, the daemon while kubectl speaks to it, and anything that
`up` has started by then; the API has to answer throughout what spares it. A kill that comes too late is none."""
WEIGHTS = {**dict.fromkeys(OF_THE_MESH, 6), **dict.fromkeys(OF_A_POD, 13), **dict.fromkeys(OF_A_COMMAND, 4)}
PATIENCE = 60.0
"""Seconds until the mesh must be as it was."""
LOOKS = 10
"""Kills between two looks at what is held: what they leave behind has until then to go."""
APPLIED = 30
"""Objects of one `kubectl apply`."""
PODS = 7
"""istiod, istio-cni, ztunnel; v1, v2, client and their waypoint."""
ASKED = 10
"""Requests in a row that have to be answered once all is back."""
CALLER = f"""
import urllib.request
for _ in range({ASKED}):
    print(urllib.request.urlopen("http://split:5000/hello", timeout=5).read().decode())
"""


def portion(mesh: World, count: int, seed: int, faults: Faults) -> Counter[str]:
    """`count` kills; how many of whom."""
    mesh.api.send("POST", "/api/v1/namespaces", {"metadata": {"name": LEDGER}})
    done = _Portion(mesh, seed, faults)
    try:
        done.run(count)
    finally:
        done.writer.close()
    return done.tally


class _Portion:
    def __init__(self, mesh: World, seed: int, faults: Faults) -> None:
        self._mesh = mesh
        self._dice = random.Random(seed)
        self._faults = faults
        self._logs = logs.Logs(mesh.paths, faults)
        self.writer = Writer(lambda: Api(mesh.paths), seed)
        self.tally: Counter[str] = Counter()
        self._there: Counter[str] = Counter()
        """The processes there were at first, by role."""
        self._manifest = mesh.root / "applied.json"
        self._applying = [str(tools.kubectl()), "apply", "-f", str(self._manifest)]

    def run(self, count: int) -> None:
        self._ready("nobody")
        self._there = self._processes()
        before = held.held(self._mesh.paths)
        while (killed := self.tally.total()) < count:
            self._faults.number = killed
            victim = self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            self.writer.resume()
            with calling():
                time.sleep(self._dice.random() * 0.2)
                if victim in OF_A_COMMAND:
                    self._kill_command(victim)
                else:
                    more = self._dice.choice((0, 0, 0, 1, 2)) if victim in OF_A_POD else 0
                    self._kill(victim, *self._dice.choices(OF_A_POD, k=more))
            self._comes_back(victim)
            if victim in ("apply", "kubectl"):
                self._apply_the_rest()
            self._logs.check()
            if killed // LOOKS != self.tally.total() // LOOKS or self.tally.total() >= count:
                for what, (was, now) in held.leaks(self._mesh.paths, before).items():
                    self._faults.add(f"leak of {what}", f"{was} before, {now} after {self.tally}")
        self.tally["acknowledged writes"] = self.writer.acknowledged

    # Killing

    def _kill(self, *victims: str) -> None:
        for victim in victims:
            pids = [pid for pid, name in self._roles().items() if name == victim]
            if pids:
                self._kill_one(victim, self._dice.choice(pids))
        if victims[0] in OF_THE_MESH:
            self._ended(victims[0])

    def _kill_one(self, victim: str, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.tally[victim] += 1

    def _end(self, command: subprocess.Popen[bytes], victim: str) -> None:
        if command.poll() is None:
            command.kill()
            self.tally[victim] += 1

    def _processes(self) -> Counter[str]:
        return Counter(name for name in self._roles().values() if name)

    def _roles(self) -> dict[int, str]:
        """As `held` has them, but told apart by what is killed."""
        found = {}
        for pid, name in held.roles(self._mesh.paths).items():
            if name == "envoy":
                name = "waypoint" if _hostname(pid).startswith("waypoint") else "ztunnel"
            elif name not in (*OF_THE_MESH, *OF_A_POD):
                name = "app"
            found[pid] = name
        return found

    def _ended(self, victim: str) -> None:
        """Everything has gone with it."""
        deadline = time.monotonic() + PATIENCE
        while process.locked(self._mesh.paths):
            if time.monotonic() > deadline:
                self._faults.add(f"the mesh goes on after the kill of {victim}", held.roles(self._mesh.paths))
                return
            time.sleep(0.01)

    def _kill_command(self, victim: str) -> None:
        if victim.startswith("up"):
            self.writer.pause()
            ambientlab("down")
            with _command("up") as command:
                time.sleep(self._dice.random() * 1.2)
                if victim == "up":
                    self._end(command, victim)
                elif launched := _children(command.pid):
                    self._kill_one(victim, self._dice.choice(launched))
                    self._says_why(command)
                else:
                    self._end(command, "up")
        elif victim == "down":
            with _command("down") as command:
                time.sleep(self._dice.random() * 0.5)
                self._end(command, victim)
        else:
            self._apply(victim)

    def _says_why(self, command: subprocess.Popen[bytes]) -> None:
        """An `up` whose mesh died ends, with words, unless it was done before."""
        try:
            _, said = command.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._faults.add("up does not end when what it started is killed")
            return
        if command.returncode not in (0, 1) or b"Traceback" in said:
            self._faults.add(f"up ends with {command.returncode} when what it started is killed", said)

    def _apply(self, victim: str) -> None:
        """Of kubectl itself, or of the API server while kubectl talks to it."""
        value = str(self._dice.random())
        items = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"applied-{n}", "namespace": LEDGER}}
            | {"data": {"applied": value}}
            for n in range(APPLIED)
        ]
        self._manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        with subprocess.Popen(self._applying, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as command:
            time.sleep(self._dice.random() * 0.4)
            if victim == "apply":
                self._end(command, victim)
            else:
                self._kill("daemon")
            try:
                command.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self._faults.add("kubectl does not end when the API server is killed")
                command.kill()

    def _apply_the_rest(self) -> None:
        done = subprocess.run(self._applying, capture_output=True, text=True, check=False)
        if done.returncode:
            self._faults.add("what was half applied cannot be applied", done.stdout + done.stderr)

    # Coming back

    def _comes_back(self, victim: str) -> None:
        self._up(victim)
        self.writer.resume()
        try:
            self._ready(victim)
        except RuntimeError as error:
            self._faults.add(f"up found a mesh that does not answer after the kill of {victim}", error)
            self._up(victim)
            self._ready(victim)
        self.writer.pause()
        if victim in SPARE_THE_API and self.writer.unanswered:
            self._faults.add(f"writes are not answered after the kill of {victim}", self.writer.unanswered)
        self.writer.check(self._faults, victim)

    def _up(self, victim: str) -> None:
        with _command("up") as command:
            _, said = command.communicate(timeout=PATIENCE)
        if command.returncode == 0:
            return
        self._faults.add(f"up fails after the kill of {victim}", said.decode(errors="replace"))
        ambientlab("up")

    def _ready(self, victim: str) -> None:
        """Every process and every pod is there again, Ready, and traffic goes on. Who has restarted is replaced: a
        second restart waits, as a kubelet has it wait, and what is asked here is whether there is one."""
        with contextlib.closing(Api(self._mesh.paths)) as api:
            self._await_ready(api, victim)

    def _await_ready(self, api: Api, victim: str) -> None:
        deadline = time.monotonic() + PATIENCE
        asked = False
        while True:
            pods = _pods(api)
            restarted = [pod for pod in pods if restarts(pod) and condition_holds(pod, "Ready")]
            if restarted:
                self._logs.check()  # which go with the pod
            for pod in restarted:
                metadata = pod["metadata"]
                api.send("DELETE", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", {})
            whole = not restarted and all(condition_holds(pod, "Ready") for pod in pods) and len(pods) == PODS
            if whole and self._processes() == (self._there or self._processes()):
                if self._answered():
                    break
                asked = True
            if time.monotonic() > deadline:
                missing = "answers" if asked else "processes as before" if whole else "Ready pods"
                evidence = f"{self._processes()}, before {self._there}\n{_told(pods)}\n{self._last_words(pods)}"
                self._faults.add(f"no {missing} after the kill of {victim}", evidence)
                break
            time.sleep(0.05)

    def _last_words(self, pods: list[Any]) -> str:
        """Of the containers of pods that are not Ready, and of who told them what to do."""
        paths = self._mesh.paths
        odd = [pod["metadata"]["name"] for pod in pods if not condition_holds(pod, "Ready")]
        found = [path for name in odd for path in paths.state.glob(f"node/logs/*_{name}_*/*/*.log")]
        files = [*sorted(found), paths.logs / "istiod.log", paths.logs / "daemon.log"]
        return "\n".join(f"{path.name} of {path.parent}\n{_end(path)}" for path in files)

    def _answered(self) -> bool:
        """Each of some requests through the waypoint."""
        command = ["exec", "deploy/client", "-n", NAMESPACE, "--", "python3", "-c", CALLER]
        done = subprocess.run([str(tools.kubectl()), *command], capture_output=True, text=True, check=False)
        return sum(done.stdout.count(f"version: {version},") for version in SPLIT) == ASKED


@contextlib.contextmanager
def _command(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """It does not outlive what is done with it."""
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def _children(pid: int) -> list[int]:
    """Of a process, and theirs."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _hostname(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/root/etc/hostname").read_text()
    return ""


def _pods(api: Api) -> list[Any]:
    namespaces = (NAMESPACE, ROOT_NAMESPACE)
    return [pod for name in namespaces for pod in api.get(f"/api/v1/namespaces/{name}/pods")["items"]]


def _end(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-25:])
    return ""


def _told(pods: list[Any]) -> str:
    """Of those that are not Ready what they say, and how many there are."""
    odd = [pod for pod in pods if not condition_holds(pod, "Ready")] or pods
    return f"{len(pods)} pods\n" + "\n".join(
        json.dumps({"name": pod["metadata"]["name"], "containers": pod["status"].get("containerStatuses")})
        for pod in odd
    )
