"""Clusters as lists of their objects, written down as an API server gives them, and served by HTTP.

A file's first document says which kinds the cluster has in which versions beside Kubernetes' own; the others are its
objects. An object is listed in every version of its kind that is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from support.object_server import Answer

CLUSTERS = Path(__file__).parents[1] / "golden/clusters"
_OWN = {
    "v1": ("configmaps", "namespaces", "nodes", "pods", "services"),
    "discovery.k8s.io/v1": ("endpointslices",),
}
_PLURALS = {value.kind: value.plural for value in vars(kinds).values() if isinstance(value, Resource)}


def recorded(name: str) -> dict[str, Answer]:
    """What the cluster answers, by path."""
    serves, *objects = yaml.load_all((CLUSTERS / f"{name}.yaml").read_text(), yaml.CSafeLoader)
    served = {**_OWN, **serves}
    found: dict[str, Answer] = dict(_groups(served))
    for version, plurals in served.items():
        group = version.rpartition("/")[0]
        for plural in plurals:
            items = [o for o in objects if _group(o) == group and _PLURALS[o["kind"]] == plural]
            found[f"{_base(version)}/{plural}"] = 200, {"kind": "List", "apiVersion": version, "items": items}
    for obj in objects:
        if obj["kind"] == "ConfigMap":
            meta = obj["metadata"]
            found[f"/api/v1/namespaces/{meta['namespace']}/configmaps/{meta['name']}"] = 200, obj
    return found


def _groups(served: Mapping[str, Any]) -> Iterator[tuple[str, Answer]]:
    for group in {version.rpartition("/")[0] for version in served} - {""}:
        versions = [{"groupVersion": v, "version": v.rpartition("/")[2]} for v in served if v.startswith(f"{group}/")]
        yield f"/apis/{group}", (200, {"kind": "APIGroup", "name": group, "versions": versions})


def _base(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _group(obj: Object) -> str:
    group: str = obj["apiVersion"].rpartition("/")[0]
    return group
