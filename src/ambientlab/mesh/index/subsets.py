"""DestinationRules: the subsets they name, and everything of them that is not done yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, unsupported
from ambientlab.mesh.index.values import host_matches, host_of
from ambientlab.mesh.ir import Key, Subset

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Rule:
    """A DestinationRule, read. `order` sorts rules as Istio merges them: by creation, then by name."""

    key: Key
    order: tuple[str, str]
    host: str
    export_to: tuple[str, ...]
    subsets: tuple[Subset, ...]
    diagnostics: tuple[Diagnostic, ...]

    def visible_in(self, namespace: str) -> bool:
        return not self.export_to or any(
            e in ("*", namespace) or (e == "." and namespace == self.key.namespace) for e in self.export_to
        )


def read(ctx: Context, key: Key, obj: Object, domain: str) -> Mapping[Key, Rule]:
    ref = ObjectRef("DestinationRule", key.namespace, key.name)
    spec = obj["spec"]
    diagnostics = [
        unsupported(ref, f"spec.{field}") for field in ("trafficPolicy", "workloadSelector") if spec.get(field)
    ]
    subsets = []
    for i, item in enumerate(spec.get("subsets") or []):
        subsets.append(Subset(item["name"], tuple(sorted((item.get("labels") or {}).items()))))
        if item.get("trafficPolicy"):
            diagnostics.append(unsupported(ref, f"spec.subsets[{i}].trafficPolicy"))
    order = (obj["metadata"].get("creationTimestamp", ""), f"{key.name}.{key.namespace}")
    host = host_of(spec.get("host", ""), key.namespace, domain)
    exported = tuple(spec.get("exportTo") or ())
    return {key: Rule(key, order, host, exported, tuple(subsets), tuple(diagnostics))}


class Rules:
    """The rules of each host, found as a waypoint finds them."""

    def __init__(self, rules: Collection[Key, Rule]) -> None:
        self._exact = rules.index(lambda _, rule: (rule.host,))
        self._wild = rules.index(lambda _, rule: ("*",) if rule.host.startswith("*") else ())

    def subsets(self, ctx: Context, namespace: str, host: str, waypoint: Key | None) -> tuple[Subset, ...]:
        """The rule is looked up in the namespace of the proxy, then of the service, then of the mesh; within one
        namespace the most specific host wins and rules for the same host are merged, the older first
        (pilot/pkg/model/push_context.go, destinationRule)."""
        candidates = list(ctx.select(self._exact, host))
        candidates += [r for r in ctx.select(self._wild, "*") if host_matches(r.host, host)]
        home = waypoint.namespace if waypoint else namespace
        for place in dict.fromkeys((home, namespace, ROOT_NAMESPACE)):
            here = [r for r in candidates if r.key.namespace == place and r.visible_in(home)]
            if here:
                best = max((not r.host.startswith("*"), len(r.host)) for r in here)
                merged: dict[str, Subset] = {}
                for rule in sorted(here, key=lambda r: r.order):
                    if (not rule.host.startswith("*"), len(rule.host)) == best:
                        for subset in rule.subsets:
                            merged.setdefault(subset.name, subset)
                return tuple(merged.values())
        return ()
