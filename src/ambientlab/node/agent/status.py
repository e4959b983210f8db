"""The status of a pod, computed from what its containers are doing. Pure.

Rules: pkg/kubelet/kubelet_pods.go (getPhase) and pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from ambientlab.api import objects
from ambientlab.api.objects import Object


class Role(Enum):
    INIT = "init"
    SIDECAR = "sidecar"  # an init container with restartPolicy Always
    MAIN = "main"
    EPHEMERAL = "ephemeral"

    @property
    def spec_field(self) -> str:
        return {"main": "containers", "ephemeral": "ephemeralContainers"}.get(self.value, "initContainers")

    @property
    def status_field(self) -> str:
        return self.spec_field.removesuffix("s") + "Statuses"


@dataclass(slots=True)
class ContainerRecord:
    """What is known of one container. `state` and `last_state` are v1.ContainerState."""

    name: str
    image: str
    role: Role
    state: Object = field(default_factory=dict)
    last_state: Object = field(default_factory=dict)
    restart_count: int = 0
    ready: bool = False
    started: bool = False
    image_id: str = ""
    container_id: str = ""

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """None until it has ended."""
        terminated = self.state.get("terminated")
        return None if terminated is None else terminated["exitCode"]

    def resume(self, before: Object, exit_code: int, now: datetime) -> None:
        """Takes over a v1.ContainerStatus of a former life of the node, whose processes ended with it (`exit_code`)."""
        self.container_id = before.get("containerID", "")
        self.image_id = before.get("imageID", "")
        self.restart_count = before.get("restartCount", 0)
        self.last_state = before.get("lastState") or {}
        state = before.get("state") or {}
        if "running" in state:
            self.state = {
                "terminated": {
                    "exitCode": exit_code,
                    "reason": "Unknown",
                    "startedAt": state["running"].get("startedAt"),
                    "finishedAt": objects.timestamp(now),
                    "containerID": self.container_id,
                }
            }
        elif "terminated" in state:
            self.state = state

    def to_status(self) -> Object:
        status: Object = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "restartCount": self.restart_count,
            "started": self.started,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the pod's worker knows besides its containers."""

    now: datetime
    start_time: datetime
    host_ips: Sequence[str]
    pod_ips: Sequence[str] = ()
    sandbox_ready: bool = False
    failure: tuple[str, str] = ("", "")  # reason and message of a pod that was ended as a whole


def pod_status(pod: Object, records: Sequence[ContainerRecord], facts: PodFacts) -> Object:
    """The whole v1.PodStatus; conditions of other owners (PodScheduled, readiness gates) are kept."""
    old: Object = pod.get("status") or {}
    reason, message = facts.failure
    status: Object = {
        "phase": "Failed" if reason else _phase(pod, records),
        "startTime": objects.timestamp(facts.start_time),
        **addresses(facts.pod_ips, facts.host_ips),
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
    if reason:
        status |= {"reason": reason, "message": message}
    if generation := pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    for record in records:
        status.setdefault(record.role.status_field, []).append(record.to_status())
    status["conditions"] = _conditions(pod, records, facts, status["phase"])
    return status


def addresses(ips: Sequence[str], host_ips: Sequence[str]) -> Object:
    """Of a v1.PodStatus."""
    named = (("podIP", ips), ("hostIP", host_ips))
    return {
        field: value
        for name, values in named
        if values
        for field, value in ((name, values[0]), (f"{name}s", [{"ip": each} for each in values]))
    }


def merge_patch(old: Object, new: Object) -> Object:
    """The RFC 7386 patch that turns status `old` into `new`; empty when nothing differs."""
    patch: Object = {key: value for key, value in new.items() if old.get(key) != value}
    patch.update({key: None for key in old if key not in new and key not in _FOREIGN})
    return patch


_FOREIGN = frozenset({"nominatedNodeName", "resize", "resourceClaimStatuses"})


def _phase(pod: Object, records: Sequence[ContainerRecord]) -> str:
    restart = pod["spec"].get("restartPolicy", "Always")
    if any(r.exit_code and restart == "Never" for r in records if r.role is Role.INIT):
        return "Failed"
    if not initialized(records):
        return "Pending"
    main = [r for r in records if r.role is Role.MAIN]
    if any(r.running for r in main):
        return "Running"
    ended = [r for r in main if r.exit_code is not None]
    if len(ended) == len(main):
        if restart == "Always":
            return "Running"
        if not any(r.exit_code for r in ended):
            return "Succeeded"
        return "Failed" if restart == "Never" else "Running"
    # Waiting: on a restart the pod keeps running, before the first start it is still pending.
    return "Running" if any(r.last_state or r.exit_code is not None for r in main) else "Pending"


def initialized(records: Sequence[ContainerRecord]) -> bool:
    return all(
        (r.exit_code == 0) if r.role is Role.INIT else (r.started or r.restart_count > 0)
        for r in records
        if r.role in (Role.INIT, Role.SIDECAR)
    )


def _conditions(pod: Object, records: Sequence[ContainerRecord], facts: PodFacts, phase: str) -> list[Object]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    now = objects.timestamp(facts.now)
    generation = pod["metadata"].get("generation")
    ours: dict[str, Object] = {}

    def put(kind: str, value: bool, reason: str = "", message: str = "") -> None:
        condition: Object = {"type": kind, "status": "True" if value else "False", "lastProbeTime": None}
        before = old.get(kind, {})
        same = before.get("status") == condition["status"]
        condition["lastTransitionTime"] = before.get("lastTransitionTime", now) if same else now
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        if generation:
            condition["observedGeneration"] = generation
        ours[kind] = condition

    done = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
    put("PodReadyToStartContainers", facts.sandbox_ready)
    waiting = [r.name for r in records if r.role in (Role.INIT, Role.SIDECAR) and not initialized([r])]
    if done == "PodCompleted" or not waiting:
        put("Initialized", True, done if done == "PodCompleted" else "")
    else:
        put("Initialized", False, "ContainersNotInitialized", _named("containers with incomplete status", waiting))
    unready = [r.name for r in records if r.role in (Role.MAIN, Role.SIDECAR) and not r.ready]
    gates = "" if unready or done else _closed_gates(pod, old)
    if done:
        put("Ready", False, done)
        put("ContainersReady", False, done)
    else:
        why = ("ContainersNotReady", _named("containers with unready status", unready)) if unready else ("", "")
        put("ContainersReady", not unready, *why)
        put("Ready", not unready and not gates, *(("ReadinessGatesNotReady", gates) if gates else why))
    if "PodScheduled" not in old:
        put("PodScheduled", True)
    order = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    foreign = [condition for kind, condition in old.items() if kind not in ours]
    return [ours[kind] for kind in order if kind in ours] + foreign


def _named(text: str, names: Sequence[str]) -> str:
    return f"{text}: [{' '.join(names)}]"


def _closed_gates(pod: Object, conditions: dict[str, Object]) -> str:
    """Why a readiness gate keeps the pod from being Ready, or "" (kubernetes.io, "Pod readiness")."""
    messages = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in conditions:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif conditions[kind]["status"] != "True":
            messages.append(
                f'the status of pod readiness gate "{kind}" is not "True", but {conditions[kind]["status"]}'
            )
    return ", ".join(messages)


def qos_class(pod: Object) -> str:
    """kubernetes.io, "Pod Quality of Service Classes"."""
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    resources = [c.get("resources") or {} for c in containers]
    if not any(r.get(kind) for r in resources for kind in ("requests", "limits")):
        return "BestEffort"
    for each in resources:
        limits, requests = each.get("limits") or {}, each.get("requests") or each.get("limits") or {}
        if any(name not in limits or requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"
