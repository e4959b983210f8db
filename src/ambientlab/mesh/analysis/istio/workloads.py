"""Namespaces, pods and Deployments: who is in the mesh, and how.

pkg/config/analysis/analyzers/injection, deployment and authn. Where ambient mode makes a difference that Istio's
analyser does not see, it is made here: a namespace that says `istio.io/dataplane-mode`, or has pods that do, has been
decided about, and is not told to decide (IST0102).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ambientlab.api.kinds import DEPLOYMENT, NAMESPACE, POD, REQUESTAUTHENTICATION
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import Item, captured, containers, control_plane, items
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import MeshIndex

_INJECTION, _REVISION, _MODE = "istio-injection", "istio.io/rev", "istio.io/dataplane-mode"
_INJECT = "sidecar.istio.io/inject"
_RESERVED_USER = 1337
_MOST_NAMED = 5


def injection(index: MeshIndex) -> Iterator[Finding]:
    injected = set()
    enrolled = {pod.ref.namespace for pod in items(index, POD) if captured(pod) or _MODE in pod.labels}
    for item in items(index, NAMESPACE):
        name, labels = item.ref.name, item.labels
        if name == index.home.config.namespace:
            continue
        asked = labels.get(_INJECTION)
        found = [f"{_INJECTION}={asked}"] if asked is not None else []
        if asked in (None, "enabled"):
            found += [f"{label}={labels[label]}" for label in (_REVISION, _MODE) if label in labels]
        if len(found) > 1:
            yield codes.SEVERAL_LABELS(item.ref, codes.listed(found), field="metadata.labels")
        if labels.get(_MODE) == "ambient":
            continue
        if asked == "enabled":
            injected.add(name)
        elif not asked and _REVISION not in labels and _MODE not in labels and name not in enrolled:
            command = remedies.line("kubectl", "label", "namespace", name, f"{_MODE}=ambient")
            cure = Remedy(f"bring {name} into the mesh, in ambient mode", (command,))
            yield codes.NOT_INJECTED(item.ref, name, field="metadata.labels", remedies=(cure,))
    for pod in items(index, POD):
        if pod.ref.namespace in injected and _wants_proxy(pod) and not _has_proxy(pod):
            yield codes.MISSING_PROXY(pod.ref, pod.full_name)


def _wants_proxy(pod: Item) -> bool:
    said = pod.labels.get(_INJECT, pod.annotations.get(_INJECT, ""))
    return said.lower() != "false" and not pod.spec.get("hostNetwork")


def _has_proxy(pod: Item) -> bool:
    return any(one["name"] == "istio-proxy" and one.get("image") for one in containers(pod))


def users(index: MeshIndex) -> Iterator[Finding]:
    for item in (*items(index, POD), *items(index, DEPLOYMENT)):
        if control_plane(item):
            continue
        field, spec = _of_pod(item)
        if (spec.get("securityContext") or {}).get("runAsUser") == _RESERVED_USER:
            yield codes.RESERVED_USER(item.ref, field=f"{field}.securityContext.runAsUser")
        for i, container in enumerate(spec.get("containers") or ()):
            user = (container.get("securityContext") or {}).get("runAsUser")
            if user == _RESERVED_USER and container["name"] not in ("istio-proxy", "istio-operator"):
                yield codes.RESERVED_USER(item.ref, field=f"{field}.containers[{i}].securityContext.runAsUser")


def key_sets(index: MeshIndex) -> Iterator[Finding]:
    """That istiod may fetch keys from anywhere, where somebody's tokens are checked."""
    asking = [item.full_name for item in items(index, REQUESTAUTHENTICATION)]
    for item in items(index, DEPLOYMENT) if asking else ():
        if item.labels.get("app") == "istiod" and not any(map(_blocks, _of_pod(item)[1].get("containers") or ())):
            rest = f", and {len(asking) - _MOST_NAMED} more" if len(asking) > _MOST_NAMED else ""
            names = ", ".join(asking[:_MOST_NAMED]) + rest
            yield codes.KEYS_FROM_ANYWHERE(item.ref, len(asking), names, field="spec.template.spec.containers")


def _of_pod(item: Item) -> tuple[str, Mapping[str, Any]]:
    """The spec of a pod, or of a Deployment's pods, and where it is."""
    template = item.spec.get("template")
    return ("spec", item.spec) if template is None else ("spec.template.spec", template.get("spec") or {})


def _blocks(container: Mapping[str, Any]) -> bool:
    return any(one["name"] == "BLOCKED_CIDRS_IN_JWKS_URIS" and one.get("value") for one in container.get("env") or ())
