"""Carries out one check and says what was expected, what was observed, and whether they agree."""

from __future__ import annotations

import re
import subprocess
import threading
from dataclasses import dataclass

from ambientlab.labs import traffic
from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Check, Kubectl, Log, Output, Traffic

ATTEMPTS = 2
"""Samples of traffic before a split is called wrong. A change takes a moment to reach every proxy, which the first
sample may have met; a split that is far off fails every time."""
APPEARS = 5.0
"""Seconds until an object is there that a controller makes; a learner's own is there, or will not be by waiting."""


@dataclass(frozen=True, slots=True)
class Verdict:
    expected: str
    observed: str
    passed: bool


def run(check: Check, environment: Environment, *, output: str | None = None, patient: bool = True) -> Verdict:
    """`output` is what the step's commands printed, None if it is not known. Impatient, a check looks just once."""
    try:
        match check:
            case Traffic():
                return _traffic(check, environment, ATTEMPTS if patient else 1)
            case Kubectl():
                return _kubectl(check, environment, check.within if patient else 0)
            case Log():
                return _log(check, environment, check.within if patient else 0)
            case Output():
                found = re.search(check.matches, output or "", re.MULTILINE)
                return Verdict(check.expected, "printed" if found else "not printed", found is not None)
    except CommandError as error:
        return Verdict(describe(check), str(error), False)


def describe(check: Check) -> str:
    match check:
        case Traffic():
            return traffic.expectation(check)
        case Kubectl() | Log() | Output():
            return check.expected


def _traffic(check: Traffic, environment: Environment, attempts: int) -> Verdict:
    for _ in range(attempts):
        sample = traffic.judge(check, traffic.send(check, environment))
        if sample.fits:
            break
    return Verdict(describe(check), str(sample), sample.fits)


def _kubectl(check: Kubectl, environment: Environment, within: float) -> Verdict:
    namespace = ["-n", check.namespace] if check.namespace else []

    def wait(condition: str, within: float) -> subprocess.CompletedProcess[str]:
        arguments = ["wait", f"--for={condition}", check.resource, *namespace, f"--timeout={within:g}s"]
        return environment.run(environment.kubectl(*arguments), timeout=within + 30)

    if check.condition.startswith("jsonpath={.spec."):
        within = min(within, APPEARS)  # nobody but the learner writes that
    done = wait(check.condition, within)
    missing = done.returncode and within and "(NotFound)" in done.stderr  # conditions are awaited, the object is not
    if missing and not wait("create", min(within, APPEARS)).returncode:
        done = wait(check.condition, within)
    if not done.returncode:
        return Verdict(check.expected, "so it is", True)
    said = done.stderr.strip().splitlines()
    return Verdict(check.expected, said[-1] if said else f"exit status {done.returncode}", False)


def _log(check: Log, environment: Environment, within: float) -> Verdict:
    namespace = ["-n", check.namespace] if check.namespace else []
    follow = ["-f"] if within else []
    command = environment.kubectl("logs", *namespace, check.target, f"--tail={check.tail}", *follow)
    pattern = re.compile(check.matches)
    with environment.start(command) as process:
        assert process.stdout is not None
        deadline = threading.Timer(within or 30, process.kill)
        deadline.start()
        try:
            line = next((line for line in process.stdout if pattern.search(line)), None)
        finally:
            deadline.cancel()
            process.kill()
    return Verdict(check.expected, "logged" if line is not None else "not in the log", line is not None)
