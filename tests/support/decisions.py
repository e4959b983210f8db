"""Objects as YAML, the mesh they make, and what it decides: for tests that read as a specification."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.mesh.decide import Decision, Delivered, Request, by_label, decide
from ambientlab.mesh.index import MeshIndex, index
from ambientlab.mesh.ir import Key

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
CURL = Key("test", "curl")
HELLO = "http://helloworld.hello:5000"


@cache
def objects_in(text: str) -> list[Object]:
    return [obj for obj in yaml.load_all(text, Loader=yaml.CSafeLoader) if obj]


def world(name: str = "hello") -> list[Object]:
    """One of the worlds of the goldens: helloworld behind a waypoint, curl in test, httpbin outside the mesh."""
    return objects_in((GOLDEN / "worlds" / f"{name}.yaml").read_text())


def case(name: str) -> str:
    """The objects of a golden case."""
    return (GOLDEN / "cases" / f"{name}.in.yaml").read_text()


def indexed(*objects: Object) -> MeshIndex:
    """Later objects replace earlier ones of the same name."""
    found: dict[tuple[str, str, str, str], Object] = {}
    for obj in objects:
        meta = obj["metadata"]
        found[(obj["apiVersion"], obj["kind"], meta.get("namespace", ""), meta["name"])] = obj
    listed: dict[Any, list[Object]] = {}
    for (api_version, kind, _, _), obj in found.items():
        listed.setdefault(KINDS[(api_version, kind)], []).append(obj)
    return index(listed)


def ask(
    text: str,
    url: str = HELLO,
    *,
    client: Key | None = CURL,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Decision:
    """What the world with these objects in it decides."""
    mesh = indexed(*world(), *objects_in(text)).mesh
    return decide(mesh, client, Request.to(url, method, (headers or {}).items()))


def versions(decision: Decision) -> dict[str, Fraction]:
    """Shares by the `version` of who gets the request, or by the status of who does not let it."""
    return decision.distribution(by_label("version"))


def arrival(decision: Decision) -> Request:
    """The request as every endpoint gets it."""
    [request] = {result.request for result in decision.delivered()}
    return request


def ends(decision: Decision) -> list[Any]:
    return [outcome.result for outcome in decision.outcomes if not isinstance(outcome.result, Delivered)]
