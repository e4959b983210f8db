"""Policies and whom they are for: AuthorizationPolicy, Sidecar, Telemetry, and selectors that select gateways.

pkg/config/analysis/analyzers/authz, sidecar, telemetry and k8sgateway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    GATEWAY_NAME_LABEL,
    NAMESPACE,
    POD,
    REQUESTAUTHENTICATION,
    SIDECAR,
    TELEMETRY,
    WASMPLUGIN,
)
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.codes import Message
from ambientlab.mesh.analysis.istio.objects import Item, captured, in_mesh, items, selected, written
from ambientlab.mesh.index import MeshIndex, meshconfig

_INJECTION, _REVISION, _MODE = "istio-injection", "istio.io/rev", "istio.io/dataplane-mode"


def authorization(index: MeshIndex) -> Iterator[Finding]:
    """That somebody is selected, and that namespaces exist."""
    pods = [pod for pod in items(index, POD) if in_mesh(pod)]
    namespaces = [item.ref.name for item in items(index, NAMESPACE)]
    for policy in items(index, AUTHORIZATIONPOLICY):
        wanted = _selector(policy)
        near = [p for p in pods if policy.ref.namespace in (p.ref.namespace, index.home.root)]
        whole_mesh = policy.ref.namespace == index.home.root and wanted is None
        if not whole_mesh and not any(selected(wanted or {}, pod.labels) for pod in near):
            yield codes.NO_WORKLOADS(policy.ref, written(wanted or {}), field="spec.selector" if wanted else "")
        for i, rule in enumerate(policy.spec.get("rules") or ()):
            for j, source in enumerate(rule.get("from") or ()):
                for name in ("namespaces", "notNamespaces"):
                    for k, pattern in enumerate((source.get("source") or {}).get(name) or ()):
                        if not any(_is(namespace, pattern) for namespace in namespaces):
                            field = f"spec.rules[{i}].from[{j}].source.{name}[{k}]"
                            yield codes.NOT_FOUND(policy.ref, "namespace", pattern, field=field)


def _is(namespace: str, pattern: str) -> bool:
    if pattern.startswith("*"):
        return namespace.endswith(pattern[1:])
    if pattern.endswith("*"):
        return namespace.startswith(pattern[:-1])
    return namespace.lower() == pattern.lower()


def sidecars(index: MeshIndex) -> Iterator[Finding]:
    """Ambient mode ignores them, whomever they select."""
    pods = list(items(index, POD))
    ambient = {item.ref.name for item in items(index, NAMESPACE) if _ambient(item.labels)}
    whole: dict[str, list[Item]] = defaultdict(list)
    chosen: dict[str, list[Item]] = defaultdict(list)
    by_name = {pod.full_name: pod for pod in pods}
    for sidecar in items(index, SIDECAR):
        wanted = (sidecar.spec.get("workloadSelector") or {}).get("labels")
        if not wanted:
            whole[sidecar.ref.namespace].append(sidecar)
            continue
        yield from _choose(chosen, sidecar, wanted, pods, "spec.workloadSelector")
    for name, some in chosen.items():
        pod = by_name[name]
        for sidecar in some:
            if captured(pod):
                words = "selected workload is in ambient mode, the policy has no impact"
                yield codes.INEFFECTIVE_POLICY(sidecar.ref, words)
            elif len(some) > 1:
                yield codes.CONFLICTING_SIDECARS(sidecar.ref, _names(some), pod.ref.namespace, pod.ref.name)
    for namespace, some in whole.items():
        for sidecar in some:
            if namespace in ambient:
                words = "namespace is in ambient mode, the policy has no impact"
                yield codes.INEFFECTIVE_POLICY(sidecar.ref, words)
            elif len(some) > 1:
                yield codes.SEVERAL_SIDECARS(sidecar.ref, _names(some), namespace)


def _choose(
    chosen: Mapping[str, list[Item]], policy: Item, wanted: Mapping[str, str], pods: Iterable[Item], field: str
) -> Iterator[Finding]:
    """Notes a policy under the pods of its namespace that it selects."""
    found = [pod for pod in pods if pod.ref.namespace == policy.ref.namespace and selected(wanted, pod.labels)]
    if not found:
        yield codes.NOT_FOUND(policy.ref, "selector", written(wanted), field=field)
    for pod in found:
        chosen[pod.full_name].append(policy)


def _ambient(labels: Mapping[str, str]) -> bool:
    return labels.get(_MODE) == "ambient" and labels.get(_INJECTION) != "enabled" and not labels.get(_REVISION)


def telemetries(index: MeshIndex) -> Iterator[Finding]:
    """Whom they select, and several for one."""
    pods = list(items(index, POD))
    chosen: dict[str, list[Item]] = defaultdict(list)
    for telemetry in items(index, TELEMETRY):
        if not (wanted := _selector(telemetry)):
            continue
        yield from _choose(chosen, telemetry, wanted, pods, "spec.selector")
    for full_name, some in chosen.items():
        namespace, _, name = full_name.partition("/")
        yield from _several(codes.CONFLICTING_TELEMETRIES, some, namespace, name)


def default_telemetries(index: MeshIndex) -> Iterator[Finding]:
    """Several for all of a namespace. Istio's analyser counts those with targetRefs among them, which are for no more
    than what they name."""
    whole: dict[str, list[Item]] = defaultdict(list)
    for telemetry in items(index, TELEMETRY):
        if telemetry.spec.get("selector") is None and not telemetry.spec.get("targetRefs"):
            whole[telemetry.ref.namespace].append(telemetry)
    for namespace, some in whole.items():
        yield from _several(codes.SEVERAL_TELEMETRIES, some, namespace)


def _several(message: Message, some: list[Item], *where: str) -> Iterator[Finding]:
    for item in some if len(some) > 1 else ():
        yield message(item.ref, _names(some), *where)


def providers(index: MeshIndex) -> Iterator[Finding]:
    """Access logs for which nobody is responsible."""
    default = (index.mesh_config.get(meshconfig.KEY) or {}).get("defaultProviders")
    if isinstance(default, dict) and default.get("accessLogging"):
        return
    for telemetry in items(index, TELEMETRY):
        for i, logging in enumerate(telemetry.spec.get("accessLogging") or ()):
            if not logging.get("disabled") and not logging.get("providers"):
                field = f"spec.accessLogging[{i}].providers"
                yield codes.NO_PROVIDERS(telemetry.ref, telemetry.ref.name, telemetry.ref.namespace, field=field)


def selectors(index: MeshIndex) -> Iterator[Finding]:
    """Policies that select the pods of a waypoint or a gateway, which take them by targetRefs alone."""
    pods = [pod for pod in items(index, POD) if GATEWAY_NAME_LABEL in pod.labels]
    for resource in (AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION, TELEMETRY, WASMPLUGIN):
        for policy in items(index, resource):
            wanted = _selector(policy)
            if wanted is None or policy.spec.get("targetRef"):
                continue
            for pod in pods:
                if pod.ref.namespace == policy.ref.namespace and selected(wanted, pod.labels):
                    yield codes.INEFFECTIVE_SELECTOR(policy.ref, pod.labels[GATEWAY_NAME_LABEL], field="spec.selector")


def _selector(policy: Item) -> Mapping[str, str] | None:
    found = policy.spec.get("selector")
    return None if found is None else found.get("matchLabels") or {}


def _names(some: list[Item]) -> str:
    return codes.listed(sorted(one.ref.name for one in some))
