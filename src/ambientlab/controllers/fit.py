"""Whether a pod may run on a node: node selector, required node affinity, taints, cordon, how many there are. Pure.

The rules are those of kube-scheduler's NodeAffinity, TaintToleration, NodeUnschedulable and NodeResourcesFit plugins,
and so are the words. Requests of processor and memory are recorded, not enforced, so they never stand in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import gt, lt
from typing import Any

from ambientlab.api.numbers import signed
from ambientlab.api.objects import Object, labels_of, name

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
TOO_MANY = "Too many pods"
_KEEPS_OUT = ("NoSchedule", "NoExecute")


def misfit(spec: Object, node: Object) -> str | None:
    """Why a pod with this spec cannot run on `node`, in the plural form of a scheduler's message; None if it can."""
    if node["spec"].get("unschedulable") and not _tolerates(spec, {"key": UNSCHEDULABLE, "effect": "NoSchedule"}):
        return "node(s) were unschedulable"
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] in _KEEPS_OUT and not _tolerates(spec, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    if not selector.items() <= labels_of(node).items() or not _affine(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return None


def crowding(node: Object, pods: int) -> str | None:
    """Why there is no place for one more where `pods` are."""
    most = ((node.get("status") or {}).get("allocatable") or {}).get("pods")
    return TOO_MANY if most is not None and pods >= int(most) else None


def claims(spec: Object) -> list[str]:
    """The claims that a pod with this spec mounts."""
    sources = (volume.get("persistentVolumeClaim") for volume in spec.get("volumes") or [])
    return [source["claimName"] for source in sources if source]


def same_place(old: Object, new: Object) -> bool:
    """Whether a change of a node leaves who fits on it as it was, as a heartbeat does."""
    return bool(old["spec"] == new["spec"] and labels_of(old) == labels_of(new))


def _tolerates(spec: Object, taint: Mapping[str, str]) -> bool:
    for toleration in spec.get("tolerations") or []:
        exists = toleration.get("operator", "Equal") == "Exists"
        if (
            toleration.get("effect", taint["effect"]) == taint["effect"]
            and toleration.get("key", taint["key"] if exists else None) == taint["key"]
            and (exists or toleration.get("value", "") == taint.get("value", ""))
        ):
            return True
    return False


def _affine(spec: Object, node: Object) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    labels, fields = labels_of(node), {"metadata.name": name(node)}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))  # an empty term matches no node
        and all(_matches(one, labels) for one in term.get("matchExpressions") or [])
        and all(_matches(one, fields) for one in term.get("matchFields") or [])
        for term in required["nodeSelectorTerms"]
    )


def _matches(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One v1.NodeSelectorRequirement."""
    value = labels.get(requirement["key"])
    wanted = requirement.get("values") or []
    rules: dict[str, Callable[[], bool]] = {
        "In": lambda: value in wanted,
        "NotIn": lambda: value not in wanted,
        "Exists": lambda: value is not None,
        "DoesNotExist": lambda: value is None,
        "Gt": lambda: _compared(value, wanted[0], gt),
        "Lt": lambda: _compared(value, wanted[0], lt),
    }
    return rules[requirement["operator"]]()


def _compared(value: str | None, bound: str, holds: Callable[[int, int], bool]) -> bool:
    """What is no number fits nowhere (k8s.io/apimachinery, pkg/labels/selector.go, Matches)."""
    number, least = signed(value or ""), signed(bound)
    return number is not None and least is not None and holds(number, least)
