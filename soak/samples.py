"""Valid objects of every kind, to spoil: those of the goldens, and `samples.yaml` for kinds that no golden has.

Where an object alone decides about all traffic or starts processes without end, as any cluster's would, spoilt ones
are asked about and not stored (`lasting` is False; they are sent as dry runs, which take the same way up to the store).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import ROOT_NAMESPACE

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"
OWN = Path(__file__).with_name("samples.yaml")
WORLD = GOLDEN / "worlds/hello.yaml"

_KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
_ONLY_ASKED = frozenset(
    (
        kinds.POD,
        kinds.REPLICASET,
        kinds.DEPLOYMENT,
        kinds.DAEMONSET,
        kinds.GATEWAY,
        kinds.GATEWAYCLASS,
        kinds.NAMESPACE,
        kinds.NODE,
    )
)


@dataclass(frozen=True, slots=True)
class Sample:
    resource: Resource
    object: Object
    lasting: bool

    @property
    def collection(self) -> str:
        namespace = self.object["metadata"].get("namespace")
        where = f"/namespaces/{namespace}" if self.resource.namespaced else ""
        return f"{self.resource.path}{where}/{self.resource.plural}"

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.object['metadata']['name']}"


def _sample(obj: Object) -> Sample:
    resource = _KINDS[obj["apiVersion"], obj["kind"]]
    lasting = resource not in _ONLY_ASKED and obj["metadata"].get("namespace") != ROOT_NAMESPACE
    if resource.namespaced:
        obj["metadata"].setdefault("namespace", "default")
    return Sample(resource, obj, lasting)


def _read(path: Path) -> Iterator[Sample]:
    for obj in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
        yield _sample(obj)


@cache
def samples() -> tuple[Sample, ...]:
    """In an order that is always the same."""
    cases = sorted(GOLDEN.glob("cases/*.in.yaml"))
    return tuple(sample for path in (WORLD, OWN, *cases) for sample in _read(path))


def world() -> list[Sample]:
    """What policies and routes of the goldens lead to: Services with endpoints that nobody answers at."""
    wanted = (kinds.SERVICE, kinds.ENDPOINTSLICE)
    return [s for s in _read(WORLD) if s.resource in wanted and not s.object["metadata"]["name"].startswith("waypoint")]


def namespaces() -> list[str]:
    """Where the samples live."""
    found = {sample.object["metadata"].get("namespace") for sample in samples() if sample.resource.namespaced}
    return sorted(found - {None, "default", ROOT_NAMESPACE})
