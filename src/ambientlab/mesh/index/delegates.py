"""VirtualServices that hand rules on to others: root and delegate merged, as Istio does before any proxy sees them.

A rule of a root that names a delegate becomes the delegate's rules, each within the root's matches: a rule whose match
cannot hold within them is left out (pilot/pkg/model/virtualservice.go, mergeHTTPRoutes). A delegate that is not there,
or not exported to the root's namespace, leaves only that rule out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.values import host_of
from ambientlab.mesh.ir import Key

Json = Mapping[str, Any]

_INHERITED = (
    "rewrite", "directResponse", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirrorPercentage",
    "corsPolicy", "mirrors", "headers",
)  # fmt: skip
_ONE_VALUE = ("uri", "scheme", "method", "authority", "sourceNamespace", "port", "gateways", "statPrefix")
_MAPS = ("headers", "withoutHeaders", "queryParams", "sourceLabels")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of `spec.http` with full host names. `ref` and `field` tell where it is written; its matches come with the
    fields they are written in."""

    ref: ObjectRef
    field: str
    value: Json
    matches: tuple[tuple[str, Json], ...]


def rules_of(key: Key, spec: Json, domain: str) -> list[Rule]:
    """An object's own rules. Short names are completed in the namespace of the object that writes them."""
    result = []
    for i, value in enumerate(spec.get("http") or []):
        field = f"spec.http[{i}]"
        matches = tuple((f"{field}.match[{j}]", match) for j, match in enumerate(value.get("match") or []))
        full = _with_full_names(value, key.namespace, domain)
        result.append(Rule(ObjectRef("VirtualService", *key), field, full, matches))
    return result


def targets(key: Key, obj: Object) -> list[Key]:
    """The VirtualServices that one hands rules on to."""
    found = [rule.get("delegate") for rule in obj["spec"].get("http") or []]
    return [_target(key, delegate) for delegate in found if delegate]


def _target(root: Key, delegate: Json) -> Key:
    return Key(delegate.get("namespace") or root.namespace, delegate.get("name") or "")


def merged(
    root: Key, rules: list[Rule], fetch: Callable[[Key], Object | None], domain: str, notes: list[Diagnostic]
) -> Iterator[Rule]:
    """The rules with those of delegates in the places of what names them."""
    for rule in rules:
        if rule.value.get("delegate") is None:
            yield rule
            continue
        key = _target(root, rule.value["delegate"])
        delegate = fetch(key)
        if problem := _unusable(root, key, delegate):
            notes.append(Diagnostic(rule.ref, "DelegateMissing", problem, field=f"{rule.field}.delegate"))
        elif delegate is not None:
            for part in rules_of(key, delegate["spec"], domain):
                if (both := _merge(rule, part)) is not None:
                    yield both
                else:
                    message = (
                        f"left out of {rule.ref}: none of its matches lies within those of {rule.field}, which "
                        "delegates to it"
                    )
                    notes.append(Diagnostic(part.ref, "DelegateConflict", message, field=part.field))


def _unusable(root: Key, key: Key, delegate: Object | None) -> str:
    if delegate is None or delegate["spec"].get("hosts"):
        what = "has hosts, and only one without can be delegated to" if delegate is not None else "not found"
        return f"the rule is left out: delegate VirtualService {key} {what}"
    exported = delegate["spec"].get("exportTo") or ["*"]
    if not any(e in ("*", root.namespace) or (e == "." and key.namespace == root.namespace) for e in exported):
        return f"the rule is left out: delegate VirtualService {key} is not exported to {root.namespace}"
    return ""


def _with_full_names(rule: Json, namespace: str, domain: str) -> Json:
    def full(destination: Json) -> Json:
        return {**destination, "host": host_of(destination.get("host", ""), namespace, domain)}

    result = dict(rule)
    if rule.get("mirror"):
        result["mirror"] = full(rule["mirror"])
    for field in ("route", "mirrors"):
        if rule.get(field):
            result[field] = [{**item, "destination": full(item["destination"])} for item in rule[field]]
    return result


def _merge(root: Rule, part: Rule) -> Rule | None:
    matches = _merged_matches(root.matches, part.matches)
    if matches is None:
        return None
    value = {name: root.value[name] for name in _INHERITED if root.value.get(name) is not None}
    value |= {name: item for name, item in part.value.items() if item is not None}
    value["name"] = _joined(root.value, part.value)
    return Rule(part.ref, part.field, value, matches)


def _merged_matches(
    root: tuple[tuple[str, Json], ...], part: tuple[tuple[str, Json], ...]
) -> tuple[tuple[str, Json], ...] | None:
    """None where some match of the delegate lies within none of the root's."""
    if not root or not part:
        return part or root
    result = []
    for field, leaf in part:
        within = [match for _, match in root if not _conflict(match, leaf)]
        if not within:
            return None
        result += [(field, _merged_match(match, leaf)) for match in within]
    return tuple(result)


def _merged_match(root: Json, leaf: Json) -> Json:
    result = {name: root[name] for name in _ONE_VALUE if root.get(name)}
    result |= {name: item for name, item in leaf.items() if item}
    result["name"] = _joined(root, leaf)
    for name in _MAPS:
        if both := {**(root.get(name) or {}), **(leaf.get(name) or {})}:
            result[name] = both
    return result


def _joined(root: Json, leaf: Json) -> str:
    return "-".join(filter(None, (root.get("name"), leaf.get("name"))))


def _conflict(root: Json, leaf: Json) -> bool:
    """Whether `leaf` can hold where `root` does not."""
    if any(_string_conflict(root.get(name), leaf.get(name)) for name in ("uri", "scheme", "method", "authority")):
        return True
    for name in ("headers", "withoutHeaders", "queryParams"):
        ours = root.get(name) or {}
        if any(_string_conflict(ours.get(key), value) for key, value in (leaf.get(name) or {}).items()):
            return True
    if bool(root.get("ignoreUriCase")) != bool(leaf.get("ignoreUriCase")):
        return True
    if root.get("port") and leaf.get("port") and root["port"] != leaf["port"]:
        return True
    if root.get("sourceNamespace") and leaf.get("sourceNamespace") != root["sourceNamespace"]:
        return True
    labels = root.get("sourceLabels") or {}
    if any(labels.get(key, value) != value for key, value in (leaf.get("sourceLabels") or {}).items()):
        return True
    gateways, inner = root.get("gateways") or [], leaf.get("gateways") or []
    return bool(gateways) and (len(inner) > len(gateways) or not set(inner) <= set(gateways))


def _string_conflict(root: Mapping[str, str] | None, leaf: Mapping[str, str] | None) -> bool:
    """An exact value lies within itself only, a prefix within a shorter one; an expression within nothing."""
    if root is None or leaf is None:
        return False
    if root.get("regex") or leaf.get("regex"):
        return True
    if root.get("exact"):
        return leaf.get("exact") != root["exact"]
    inner = leaf.get("prefix") or leaf.get("exact") or ""
    return not (root.get("prefix") and inner and inner.startswith(root["prefix"]))
