"""DestinationRules: which of them holds for a service, and what it says.

A waypoint looks a rule up in its own namespace, then in the service's, then in the mesh's root namespace
(pilot/pkg/model/push_context.go, destinationRule); within one, the most specific host wins, and rules for the same host
are merged (pilot/pkg/model/destination_rule.go, mergeDestinationRule). It passes over rules with a workloadSelector,
which are for clients (pilot/pkg/model/sidecar.go, DestinationRule: clusters of a waypoint are inbound).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.trafficpolicy import Policies, Reader, effective
from ambientlab.mesh.index.values import host_matches, host_of
from ambientlab.mesh.ir import Key, Port, Subset, TrafficPolicy

_PRIVATE = frozenset({"."})


@dataclass(frozen=True, slots=True)
class Rule:
    """A DestinationRule, read. `order` sorts rules as Istio merges them: by creation, then by name. `secrets` are the
    names of those that proxies need, by the field that asks for them. One `from_backend_policy` nobody wrote."""

    key: Key
    order: tuple[str, str]
    host: str
    export_to: frozenset[str]
    selector: tuple[tuple[str, str], ...] | None
    policies: Policies | None
    subsets: tuple[tuple[Subset, Policies | None], ...]
    secrets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    from_backend_policy: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def private(self) -> bool:
        """Whether it is for its own namespace alone."""
        return self.export_to in (_PRIVATE, {self.key.namespace})

    def visible_in(self, namespace: str) -> bool:
        return (
            not self.export_to
            or bool(self.export_to & {"*", namespace})
            or ("." in self.export_to and namespace == self.key.namespace)
        )

    def policy(self, port: int, subset: str = "") -> TrafficPolicy | None:
        """For a port, or for none where it is 0."""
        if not subset:
            return effective(self.policies, None, port)
        own = next((policies for s, policies in self.subsets if s.name == subset), None)
        return effective(self.policies, own, port)


def read(ctx: Context, key: Key, obj: Object, domain: str) -> Mapping[Key, Rule]:
    ref = ObjectRef("DestinationRule", key.namespace, key.name)
    spec = obj["spec"]
    reader = Reader(key, ref)
    selector = spec.get("workloadSelector")
    order = (obj["metadata"].get("creationTimestamp", ""), f"{key.name}.{key.namespace}")
    host = host_of(spec.get("host", ""), key.namespace, domain)
    policies = reader.read(spec.get("trafficPolicy"), "spec.trafficPolicy")
    subsets = tuple(_subset(reader, item, f"spec.subsets[{i}]") for i, item in enumerate(spec.get("subsets") or ()))
    return {
        key: Rule(
            key,
            order,
            host,
            frozenset(spec.get("exportTo") or ()) if selector is None else _PRIVATE,
            None if selector is None else tuple(sorted((selector.get("matchLabels") or {}).items())),
            policies,
            subsets,
            secrets=tuple(reader.secrets.items()),
            diagnostics=tuple(reader.notes),
        )
    }


def _subset(reader: Reader, item: Mapping[str, Any], path: str) -> tuple[Subset, Policies | None]:
    subset = Subset(item["name"], tuple(sorted((item.get("labels") or {}).items())))
    return subset, reader.read(item.get("trafficPolicy"), f"{path}.trafficPolicy")


def merged(rules: Sequence[Rule]) -> list[Rule]:
    """Rules for one host of one namespace as Istio consolidates them, those with a selector first.

    The oldest is added to: subsets it does not have yet, and a top-level policy if it has none. Rules exported to other
    namespaces stay apart. One that is exported like a rule with a selector goes into that one, and is gone for a
    waypoint.
    """
    result: list[Rule] = []
    for rule in sorted(rules, key=lambda r: (r.selector is None, r.order)):
        apart = True
        for i, known in enumerate(result):
            apart = rule.export_to != known.export_to
            if apart and not (known.export_to and rule.export_to >= known.export_to):
                continue
            if None not in (rule.selector, known.selector) and rule.selector != known.selector:
                apart = True
                continue
            if (rule.selector is None) == (known.selector is None):
                apart = False
            names = {subset.name for subset, _ in known.subsets}
            result[i] = replace(
                known,
                policies=_together(known, rule),
                subsets=known.subsets + tuple(s for s in rule.subsets if s[0].name not in names),
            )
        if apart:
            result.append(rule)
    return result


def _together(older: Rule, younger: Rule) -> Policies | None:
    """The top-level policy of the older, or the younger's if it has none; but what users write comes before what a
    backend policy asks for, which fills the gaps (mergeBackendPolicyTrafficPolicy)."""
    if older.policies is None or younger.policies is None:
        return older.policies or younger.policies
    if older.from_backend_policy == younger.from_backend_policy:
        return older.policies
    if older.from_backend_policy:
        return younger.policies.over(older.policies)
    return older.policies.over(younger.policies)


class Rules:
    """The rules of each host, found as a waypoint finds them. Those of the namespace `root` are for everybody."""

    def __init__(self, root: str, *collections: Collection[Key, Rule]) -> None:
        self.root = root
        self._exact = [rules.index(lambda _, rule: (rule.host,)) for rules in collections]
        self._wild = [rules.index(lambda _, rule: _wildcard(rule.host)) for rules in collections]

    def of(self, ctx: Context, namespace: str, host: str, waypoint: Key | None) -> Rule | None:
        """What holds for a service of `namespace`, all rules for it merged into one."""
        _, found = self._first(ctx, namespace, host, waypoint)
        return next((r for r in reversed(found) if r.selector is None), None)

    def deciding(self, ctx: Context, namespace: str, host: str, waypoint: Key | None) -> tuple[Rule, ...]:
        """Those that `of` merges."""
        pool, _ = self._first(ctx, namespace, host, waypoint)
        return tuple(r for r in pool if r.selector is None)

    def _first(
        self, ctx: Context, namespace: str, host: str, waypoint: Key | None
    ) -> tuple[Sequence[Rule], Sequence[Rule]]:
        """The most specific rules of the first place that has some for the waypoint, and what they come to."""
        rules = [r for index in self._exact for r in ctx.select(index, host)]
        rules += [r for index in self._wild for r in ctx.select(index, "*") if host_matches(r.host, host)]
        home = waypoint.namespace if waypoint else namespace
        own = [r for r in rules if r.key.namespace == home and r.visible_in(home)]
        if home == self.root:
            # what is there for everybody comes last, even for a waypoint there
            own = [r for r in own if r.private]
        pools = [own]
        for place in (namespace, self.root):
            pools.append([r for r in rules if r.key.namespace == place and not r.private])
        for pool in filter(None, pools):
            best = max(_specificity(r.host) for r in pool)
            specific = [r for r in pool if _specificity(r.host) == best]
            if found := [r for r in merged(specific) if r.visible_in(home)]:
                return specific, found
        return (), ()


def _wildcard(host: str) -> tuple[str, ...]:
    return ("*",) if host.startswith("*") else ()


def _specificity(host: str) -> tuple[bool, int]:
    return not host.startswith("*"), len(host)


def policies_of(rule: Rule | None, ports: Sequence[Port]) -> tuple[tuple[int, str, TrafficPolicy], ...]:
    """What the rule says for every port, and for none in particular (0), of the service and of each subset."""
    if rule is None:
        return ()
    names = ("", *(subset.name for subset, _ in rule.subsets))
    found = ((number, name, rule.policy(number, name)) for number in (0, *(p.number for p in ports)) for name in names)
    return tuple((number, name, policy) for number, name, policy in found if policy is not None)
