"""Server-side apply: merge a configuration into an object, and drop what its manager no longer names.

kubernetes.io/docs/reference/using-api/server-side-apply. Which lists merge, and by what, is the schema's to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from ambientlab.api.objects import Object, annotations_of
from ambientlab.api.schema import Node
from ambientlab.apiserver.patch import fields, managed
from ambientlab.apiserver.patch.fields import Fields, Path
from ambientlab.apiserver.patch.managed import Conflict, Manager, Managers, Owned

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
_ANY = Node()


@dataclass(frozen=True, slots=True)
class Applied:
    """`object` without its managedFields brought up to date; `claimed` is what the configuration names."""

    object: Object
    claimed: Fields


class Conflicts(Exception):
    """Other managers own, with other values, what the configuration sets."""

    def __init__(self, found: list[Conflict]) -> None:
        self.found = found
        if len(found) == 1:
            text = f"Apply failed with 1 conflict: conflict with {found[0].manager}: {fields.text(found[0].path)}"
        else:
            by_manager: dict[str, list[str]] = {}
            for conflict in found:
                by_manager.setdefault(str(conflict.manager), []).append("- " + fields.text(conflict.path))
            parts = [f"conflicts with {manager}:\n" + "\n".join(paths) for manager, paths in sorted(by_manager.items())]
            text = f"Apply failed with {len(found)} conflicts: " + "\n".join(parts)
        super().__init__(text)


def apply(live: Object, config: Object, node: Node, managers: Managers, manager: Manager) -> Applied:
    """`live` with `config` merged in, and without what `manager` applied before and no longer does."""
    claimed = fields.applied(config, node)
    merged = _merge(live, config, node)
    last = managers.get(manager)
    if last is not None:
        others = [owned.fields for other, owned in managers.items() if other != manager]
        merged = prune(merged, node, last.fields - claimed, claimed.union(*others))
    return Applied(merged, claimed)


def settle(
    live: Object,
    new: Object,
    claimed: Fields,
    node: Node,
    managers: Managers,
    manager: Manager,
    now: str,
    *,
    force: bool,
) -> dict[Manager, Owned]:
    """The managers after an apply that turns `live` into `new`. Raises `Conflicts` unless `force`."""
    changed, removed = fields.compare(live, new, node)
    contested = managed.conflicts(managers, manager, changed & claimed)
    if contested and manager.name == _KUBECTL:
        own = _of_last_applied(live, node, manager.api_version)
        contested = [conflict for conflict in contested if conflict.path not in own]
    if contested and not force:
        raise Conflicts(contested)
    return managed.take(managers, manager, claimed, changed & claimed, removed, now)


def _of_last_applied(live: Object, node: Node, api_version: str) -> Fields:
    """Fields that client-side apply has set and nobody has changed since, which kubectl may take over
    (k8s.io/apimachinery, pkg/util/managedfields/internal/lastappliedmanager.go)."""
    try:
        last = orjson.loads(annotations_of(live).get(LAST_APPLIED, ""))
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        return frozenset()
    changed, removed = fields.compare(last, live, node)
    return fields.applied(last, node) - changed - removed


def _merge(live: Any, config: Any, node: Node) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and not node.map_atomic:
        result = dict(live)
        for name, value in config.items():
            result[name] = _merge(live[name], value, fields.child(node, name)) if name in live else value
        return result
    if isinstance(config, list) and isinstance(live, list) and not fields.is_leaf(config, node):
        return _merge_items(live, config, node)
    return config


def _merge_items(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """The configuration's order for its items; those only the object has come as early as they did."""
    known = {fields.step(item, node): item for item in live}
    wanted = {fields.step(item, node): item for item in config}
    result: list[Any] = []
    before = iter(known)
    head = next(before, None)
    done: set[str] = set()
    for name, item in wanted.items():
        while head is not None and (head not in wanted or head in done):
            if head not in wanted:
                result.append(known[head])
            head = next(before, None)
        done.add(name)
        result.append(_merge(known[name], item, node.items or _ANY) if name in known else item)
    rest = [] if head is None else [head, *before]
    return result + [known[name] for name in rest if name not in wanted]


def prune(value: Any, node: Node, dropped: Fields, owned: Fields) -> Any:
    """Remove the dropped paths nobody owns, at or below; containers that this empties go too."""
    keep: set[Path] = set()
    for path in owned:
        keep.update(path[:length] for length in range(1, len(path) + 1))
    doomed = {path for path in dropped if path not in keep}
    return _without(value, node, (), doomed, keep, _ancestors(doomed)) if doomed else value


def _ancestors(paths: Iterable[Path]) -> set[Path]:
    return {path[:length] for path in paths for length in range(len(path))}


def _without(value: Any, node: Node, path: Path, doomed: set[Path], keep: set[Path], affected: set[Path]) -> Any:
    kept: list[tuple[str, Any]] = []
    for name, inner, inner_node in fields.steps(value, node):
        here = (*path, name)
        if here in doomed:
            continue
        left = inner
        if here in affected and not fields.is_leaf(inner, inner_node):
            left = _without(inner, inner_node, here, doomed - _identity(here), keep, affected)
            if inner and not left and here not in keep and path:
                continue
        kept.append((name, left))
    if isinstance(value, dict):
        return {name[2:]: inner for name, inner in kept}
    return [inner for _, inner in kept]


def _identity(path: Path) -> set[Path]:
    """The fields without which an item of a list would be another: they stay as long as the item does."""
    name = path[-1]
    return {(*path, f"f:{key}") for key in orjson.loads(name[2:])} if name.startswith("k:") else set()
