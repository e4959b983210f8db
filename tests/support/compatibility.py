"""docs/compatibility.md, made from the schemas of the kinds, the mesh's table of exemptions and the golden cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ambientlab.api import crds, definitions
from ambientlab.api.objects import Object
from ambientlab.mesh.index import coverage
from ambientlab.mesh.index.coverage import EXEMPTIONS, Exemption

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
CASES = ROOT / "tests" / "golden"

INTRODUCTION = """\
# Compatibility

Every field of Services and of every kind of Gateway API 1.6 and Istio 1.31 that this API serves, and what a mesh of
ambientlab makes of it. This page is generated from the schemas and from the table behind the findings in statuses, so
it says what the program says; every field that is honoured has a golden case that shows what comes of it.

| word | meaning |
|---|---|
| honoured | works as in Istio |
| ignored | Istio's ambient mode ignores it too, and ambientlab says so in the object's status or istiod's log |
| refused | as Istio does, with its words, in the object's status |
| unsupported | Istio honours it, ambientlab does not yet, and says so there |

`[]` is any item of a list, `{}` any entry of a map. A row about a field holds for everything below it.
"""


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of a schema's fields that hold no further fields."""
    if reference := definitions.reference(schema):
        schema = definitions.definition(reference)
    if properties := schema.get("properties"):
        for name, below in properties.items():
            yield from leaves(below, f"{path}.{name}" if path else name)
    elif isinstance(items := schema.get("items"), dict):
        yield from leaves(items, f"{path}[]")
    elif isinstance(values := schema.get("additionalProperties"), dict):
        yield from leaves(values, f"{path}{{}}")
    else:
        yield path


def fields(crd: Object) -> list[str]:
    """The paths of what an author writes: the spec, of its stored version."""
    version = next(v for v in crd["spec"]["versions"] if v["storage"])
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    return list(leaves(properties["spec"], "spec")) if "spec" in properties else []


def kinds() -> list[Object]:
    """As their CRDs describe them."""
    service = {"$ref": f"#/$defs/{definitions.name_of('', 'v1', 'Service')}"}
    schema = {"openAPIV3Schema": definitions.definition(definitions.reference(service))}
    built_in = {
        "group": "",
        "names": {"kind": "Service"},
        "versions": [{"name": "v1", "storage": True, "schema": schema}],
    }
    return [{"spec": built_in}, *crds.shipped()]


def name_of(crd: Object) -> str:
    return coverage.name_of(crd["spec"]["group"], crd["spec"]["names"]["kind"])


def exemption(kind: str, path: str) -> tuple[str, Exemption] | None:
    """The entry that covers a path, and the path of that entry."""
    for prefix, entry in EXEMPTIONS.get(kind, {}).items():
        if path == prefix or path.startswith((f"{prefix}.", f"{prefix}[", f"{prefix}{{")):
            return prefix, entry
    return None


def shown_in_goldens() -> dict[str, set[str]]:
    """By kind: the paths that golden cases set."""
    found: dict[str, set[str]] = {}
    for source in sorted(CASES.glob("cases/*.in.yaml")) + sorted(CASES.glob("worlds/*.yaml")):
        for obj in yaml.safe_load_all(source.read_text()):
            group = obj["apiVersion"].rpartition("/")[0]
            kind = coverage.name_of(group, obj["kind"])
            found.setdefault(kind, set()).update(_set_paths(obj.get("spec", {}), "spec"))
    return found


def _set_paths(value: Any, path: str) -> Iterator[str]:
    yield path
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _set_paths(below, f"{path}.{name}")
            # a map's entries cannot be told from an object's fields without the schema
            yield from _set_paths(below, f"{path}{{}}")
    elif isinstance(value, list):
        for item in value:
            yield from _set_paths(item, f"{path}[]")


def page() -> str:
    parts = [INTRODUCTION]
    for crd in kinds():
        kind = name_of(crd)
        versions = ", ".join(v["name"] for v in crd["spec"]["versions"])
        parts.append(f"## {kind}\n\n`{crd['spec']['group'] or 'core'}`, {versions}\n\n{_table(kind, fields(crd))}")
    return "\n".join(parts)


def _table(kind: str, paths: Iterable[str]) -> str:
    rows: dict[str, str] = {}
    for path in paths:
        covered = exemption(kind, path)
        if covered is None:
            rows[path] = "honoured"
        else:
            prefix, entry = covered
            only = f" where it is {entry.only}" if entry.only else ""
            rows[prefix] = f"{entry.effect}{only}: {entry.why}"
    body = "".join(f"| `{path}` | {text} |\n" for path, text in rows.items())
    return f"| field | |\n|---|---|\n{body}"
