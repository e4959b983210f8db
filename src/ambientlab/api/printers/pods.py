"""Pods: the STATUS column is a small story of its own (printPod in pkg/printers/internalversion)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.printers.columns import AGE, NAME, NONE, Column, Printer, age, since, wide


@dataclass(slots=True)
class _Tally:
    restarts: int = 0
    last_restart: str = ""

    def add(self, status: Object) -> None:
        self.restarts += status.get("restartCount", 0)
        finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, finished)


def _always(container: Object) -> bool:
    """A sidecar: an init container that keeps running."""
    return container.get("restartPolicy") == "Always"


def _condition(status: Object, kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in status.get("conditions") or ())


def _ended(terminated: Object) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _cells(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {one["name"] for one in spec.get("initContainers") or () if _always(one)}
    total = len(spec.get("containers") or ()) + len(sidecars)
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    initializing, ready, init_tally, sidecar_tally = None, 0, _Tally(), _Tally()
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        init_tally.add(one)
        if one.get("name") in sidecars:
            sidecar_tally.add(one)
        done, counted, text = _init(one, index, len(spec.get("initContainers") or ()), one.get("name") in sidecars)
        ready += counted
        if not done:
            initializing = text
            break
    tally = init_tally
    if initializing is not None:
        reason = initializing
    if initializing is None or _condition(status, "Initialized"):
        tally = sidecar_tally
        reason, running = _main(status, reason, tally)
        ready += running
        if reason == "Completed" and running:
            reason = "Running" if _condition(status, "Ready") else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Failed", "Succeeded"):
            reason = "Terminating"
    restarts = str(tally.restarts)
    if tally.restarts and tally.last_restart:
        restarts = f"{tally.restarts} ({since(tally.last_restart, now)} ago)"
    return [
        pod["metadata"]["name"],
        f"{ready}/{total}",
        reason,
        restarts,
        age(pod, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec, status),
    ]


def _init(one: Object, index: int, count: int, sidecar: bool) -> tuple[bool, int, str]:
    """Whether this init container lets the next one start, how many ready containers it adds, and its story if not."""
    state = one.get("state") or {}
    terminated, waiting = state.get("terminated"), state.get("waiting") or {}
    if terminated is not None and terminated.get("exitCode", 0) == 0:
        return True, 0, ""
    if sidecar and one.get("started"):
        return True, int(bool(one.get("ready"))), ""
    if terminated is not None:
        return False, 0, f"Init:{_ended(terminated)}"
    if waiting.get("reason") and waiting["reason"] != "PodInitializing":
        return False, 0, f"Init:{waiting['reason']}"
    return False, 0, f"Init:{index}/{count}"


def _main(status: Object, reason: str, tally: _Tally) -> tuple[str, int]:
    """The reason after looking at the containers, last first, and how many are ready and running."""
    running = 0
    for one in reversed(status.get("containerStatuses") or []):
        tally.add(one)
        state = one.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = _ended(terminated)
        elif one.get("ready") and "running" in state:
            running += 1
    return reason, running


def _gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates") or []
    if not gates:
        return NONE
    return f"{sum(_condition(status, one.get('conditionType', '')) for one in gates)}/{len(gates)}"


POD = Printer(
    (
        NAME,
        Column("Ready", description="How many of the pod's containers are ready to serve."),
        Column("Status", description="What the pod is doing, or what keeps it from it."),
        Column("Restarts", description="How often containers were restarted, and when last."),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ),
    _cells,
)
