"""What the API has acknowledged, and whether it is still there."""

from __future__ import annotations

import json
from typing import Any

from ambientlab.api import kinds
from ambientlab.api.objects import Object, annotations_of, labels_of
from ambientlab.mesh.index.workloads import REDIRECTION
from soak.api import Answer, Api, Request
from soak.faults import Faults
from soak.samples import Sample
from soak.world import NAMESPACE

# fmt: off
LASTING = (
    kinds.CONFIGMAP, kinds.SECRET, kinds.SERVICEACCOUNT, kinds.SERVICE, kinds.ENDPOINTSLICE, kinds.POD,
    kinds.REPLICASET, kinds.DEPLOYMENT, kinds.HTTPROUTE, kinds.GATEWAY,
)
# fmt: on
OTHERS_WRITE = ("managedFields", "resourceVersion", "generation")
"""In the metadata of an object that others write a status to."""


def snapshot(api: Api, namespace: str = NAMESPACE) -> dict[str, bytes]:
    """Every object of a namespace, byte for byte."""
    found = {}
    for resource in LASTING:
        collection = f"{resource.path}/namespaces/{namespace}/{resource.plural}"
        for obj in api.get(collection)["items"]:
            path = f"{collection}/{obj['metadata']['name']}"
            found[path] = api.ask(Request("GET", path)).body
    return found


def compare(api: Api, before: dict[str, bytes], faults: Faults) -> None:
    for path, body in before.items():
        if (now := api.ask(Request("GET", path)).body) != body:
            faults.add(f"what nobody touched is another: {path}", f"{body.decode()}\n{now.decode()}")


class Ledger:
    """Of objects that were written: what of them was acknowledged last."""

    def __init__(self) -> None:
        self._known: dict[str, Object] = {}

    def heard(self, sample: Sample, request: Request, answer: Answer) -> None:
        path, _, query = request.path.partition("?")
        if not 200 <= answer.status < 300 or "dryRun" in query:
            return
        obj = answer.json()
        if request.method == "DELETE":
            self._known.pop(path, None)
        elif obj.get("kind") == sample.resource.kind:
            path = f"{sample.collection}/{obj['metadata']['name']}"
            self._known[path] = obj
            if kinds.GATEWAY_NAME_LABEL in labels_of(obj):  # a controller has a say in it
                del self._known[path]

    def check(self, api: Api, faults: Faults) -> int:
        """How many were looked at."""
        for path, obj in self._known.items():
            answer = api.ask(Request("GET", path))
            if answer.status == 404 and _may_go(obj):
                continue
            if answer.status != 200:
                faults.add(f"an acknowledged write is lost: {obj['kind']} {answer.status}", json.dumps(obj))
            elif _written(now := answer.json()) != _written(obj):
                faults.add(f"an acknowledged write is another: {obj['kind']}", f"{json.dumps(obj)}\n{json.dumps(now)}")
        return len(self._known)


def _may_go(obj: Object) -> bool:
    """What is owned goes with its owner."""
    return bool(obj["metadata"].get("ownerReferences") or obj["metadata"].get("deletionTimestamp"))


def _written(obj: Object) -> Any:
    """Without what others write: the scheduler and istio-cni have a word about pods."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in OTHERS_WRITE}
    written = {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}
    if obj["kind"] == kinds.POD.kind:
        annotations = {key: value for key, value in annotations_of(obj).items() if key != REDIRECTION}
        written["metadata"] = {**metadata, "annotations": annotations}
        written["spec"] = {key: value for key, value in obj["spec"].items() if key != "nodeName"}
    return written
