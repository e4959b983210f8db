"""What people type: files that are none, names of nothing, numbers out of range."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from ambientlab.host import tools
from soak.faults import Faults
from soak.mutation import TEXTS
from soak.objects import Objects
from soak.wire import BODIES

PATIENCE = 180.0
"""Seconds for any command: of `traffic -n` the most requests are 65,536."""
CODES = (0, 1, 2, 64, 65, 79)
"""What commands may end with, kubectl apart: docs/ has them by command, and 64 is istioctl's for its usage."""
FILE, TEXT = "FILE", "TEXT"
"""In a command line: a file of spoilt objects, and any text."""

# fmt: off
COMMANDS = tuple(line.split() for line in (
    "explain TEXT", "explain TEXT --from TEXT", "explain split.kept:5000/TEXT --from default/outsider -o json",
    "explain http://split.kept:TEXT/", "explain split.kept:5000 --from default/outsider -H TEXT -X TEXT",
    "analyze -f FILE", "analyze -f FILE --offline", "analyze -f FILE -o sarif --offline", "analyze -n TEXT",
    "plan -f FILE", "plan -f FILE --from TEXT", "plan -f TEXT", "plan delete -f FILE", "plan delete TEXT TEXT",
    "debug translate -f FILE --stage ir", "debug translate -f FILE --stage xds",
    "debug translate -f FILE --stage status", "debug translate -f TEXT --stage TEXT",
    "traffic --from default/outsider TEXT -n 2", "traffic --from TEXT split.kept:5000",
    "traffic --from default/outsider split.kept:5000/hello -n TEXT",
    "traffic --from default/outsider split.kept:5000/hello -n 2 --expect TEXT", "status --name TEXT", "logs TEXT",
    "logs --tail TEXT", "lab show TEXT", "lab check TEXT", "up --wait TEXT", "up --kubeconfig TEXT --wait 0s",
    "down --name ../TEXT", "TEXT", "--TEXT", "istioctl analyze FILE --use-kube=false", "istioctl analyze FILE",
    "istioctl proxy-config listeners TEXT", "istioctl proxy-config routes TEXT.kept -o TEXT",
    "istioctl proxy-config TEXT", "istioctl ztunnel-config workloads --node TEXT", "istioctl ztunnel-config TEXT",
    "istioctl x describe pod TEXT", "istioctl x describe service split.TEXT", "istioctl authz check TEXT",
    "istioctl waypoint status -n TEXT", "istioctl waypoint generate --for TEXT", "istioctl TEXT",
    "istioctl proxy-status TEXT", "istioctl version --TEXT", "kubectl apply -f FILE --dry-run=server",
    "kubectl apply -f FILE --dry-run=client", "kubectl get TEXT", "kubectl get pods TEXT", "kubectl get pods -l TEXT",
    "kubectl get pods --field-selector TEXT", "kubectl explain TEXT", "kubectl logs -n kept TEXT",
    "kubectl exec -n kept deploy/client -- TEXT", "kubectl diff -f FILE",
    "kubectl patch svc split -n kept --dry-run=server -p TEXT", "kubectl describe TEXT",
))
# fmt: on


class Commands:
    def __init__(self, dice: random.Random, objects: Objects, root: Path, faults: Faults) -> None:
        self._dice = dice
        self._objects = objects
        self._file = root / "typed/in/spoilt.yaml"  # so deep that ../../ of any text ends within the root
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._faults = faults

    def run(self) -> None:
        chosen = self._dice.choice(COMMANDS)
        words = [self._word(word) for word in chosen]
        command = [sys.executable, "-P", "-m", "ambientlab.cli.main", *words]
        if words[0] == "kubectl":
            command = [str(tools.kubectl()), *words[1:]]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                cwd=self._file.parent,
            )
        except subprocess.TimeoutExpired as error:
            self._faults.add(f"command does not end: {words[:2]}", error)
            return
        said = (done.stdout + done.stderr).decode(errors="replace")
        evidence = f"{words}\n{said[-3000:]}\n{self._file.read_text(errors='replace')[:2500] if FILE in chosen else ''}"
        own = words[0] != "kubectl"
        if "Traceback (most" in said or done.returncode < 0 or (own and done.returncode not in CODES):
            self._faults.add(f"command fails: {words[:2]} {said.strip().splitlines()[-1:]} {done.returncode}", evidence)
        elif done.returncode and not said.strip():
            self._faults.add(f"command says nothing: {words[:2]}", evidence)
        elif own and "\x1b" in said:
            self._faults.add(f"command prints control characters: {words[:2]}", evidence)

    def _word(self, word: str) -> str:
        if word == FILE:
            data = (
                self._dice.choice(BODIES)
                if self._dice.random() < 0.15
                else self._objects.documents(self._dice.choice((1, 3, 20))).encode()
            )
            self._file.write_bytes(data)
            return str(self._file)
        text = self._dice.choice(TEXTS).encode(errors="ignore").decode().replace("\x00", "")
        return word.replace(TEXT, text)
