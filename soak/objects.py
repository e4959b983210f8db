"""Spoilt objects as requests: every verb, patch type, form and option that takes one."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml

from ambientlab.api.kinds import POD
from soak.api import Request
from soak.mutation import Mutator, places, value_at
from soak.samples import Sample, samples

# fmt: off
VALIDATION = ("", "Strict", "Warn", "Ignore", "strict")
PATCHES = {
    "apply-patch+yaml": 40, "merge-patch+json": 15, "strategic-merge-patch+json": 10, "json-patch+json": 10,
    "apply-patch+cbor": 1,
}
SERVER_SET = (
    "creationTimestamp", "uid", "generation", "resourceVersion", "deletionTimestamp", "ownerReferences", "finalizers",
)
# fmt: on
CONDITION = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "so it is",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
STATUS = {
    "conditions": [CONDITION, {**CONDITION, "type": "ambientlab.io/Finding"}],
    "addresses": [{"value": "240.240.0.9", "host": "api.example.com"}, {"value": "10.96.0.9", "type": "IPAddress"}],
    "parents": [{"parentRef": {"name": "helloworld"}, "controllerName": "x/y", "conditions": [CONDITION]}],
    "ancestors": [{"ancestorRef": {"name": "helloworld"}, "controllerName": "x/y", "conditions": [CONDITION]}],
}
"""What controllers write, of any kind."""
STATUSES = 0.1
"""How many documents of a file have one, as what a cluster is asked for has."""
LIVE_PODS = 0.05
"""How many spoilt pods really are to be made."""


class Objects:
    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._samples = samples()
        self._mutator = Mutator(dice, [sample.object for sample in self._samples])

    def documents(self, count: int) -> str:
        """A file of some spoilt objects, for commands."""
        chosen = [self._dice.choice(self._samples) for _ in range(count)]
        spoilt = [self._mutator.spoilt(sample.object) for sample in chosen]
        for sample, obj in zip(chosen, spoilt, strict=True):
            if self._dice.random() < STATUSES:
                obj["status"] = self._status(sample)
        return "\n---\n".join(as_json(obj) for obj in spoilt)

    def request(self) -> tuple[Sample, Request]:
        dice = self._dice
        sample = dice.choice(self._samples)
        obj = self._named(self._mutator.spoilt(sample.object), sample)
        query = [f"fieldValidation={validation}"] if (validation := dice.choice(VALIDATION)) else []
        if not (sample.lasting or (sample.resource == POD and dice.random() < LIVE_PODS)):
            query.append("dryRun=All")
        return sample, self._written(sample, obj, query)

    def _written(self, sample: Sample, obj: Any, query: list[str]) -> Request:
        dice = self._dice
        way = dice.choices(("patch", "create", "replace", "status", "delete"), (55, 15, 10, 10, 10))[0]
        if way == "patch":
            kind = dice.choices(list(PATCHES), list(PATCHES.values()))[0]
            query += ["fieldManager=soak", "force=true"] if kind.startswith("apply") else []
            body: Any = self._json_patch(obj) if kind.startswith("json") else obj
            return _request("PATCH", sample.path, query, self._text(body), f"application/{kind}")
        if way == "status":
            status = {"status": self._status(sample)}
            if dice.random() < 0.5:
                merged = "application/merge-patch+json"
                return _request("PATCH", f"{sample.path}/status", query, self._text(status), merged)
            whole = self._named(copy.deepcopy(sample.object), sample) | status
            return _request("PUT", f"{sample.path}/status", query, self._text(whole), self._type())
        if way == "delete":
            options = self._mutator.spoilt({"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
            return _request(
                "DELETE", sample.path, query, self._text(options) if dice.random() < 0.5 else b"", self._type()
            )
        if way == "replace":
            return _request("PUT", sample.path, query, self._text(obj), self._type())
        return _request("POST", sample.collection, query, self._text(obj), self._type())

    def _status(self, sample: Sample) -> Any:
        return self._mutator.spoilt({"spec": {**STATUS, **(sample.object.get("status") or {})}}).get("spec")

    def _named(self, obj: Any, sample: Sample) -> Any:
        """Mostly with the name that the path has, or nothing would get further than that."""
        if not isinstance(obj, dict) or self._dice.random() < 0.05:
            return obj if isinstance(obj, dict) else {}
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        for field in ("name", "namespace"):
            if field in sample.object["metadata"]:
                obj["metadata"][field] = sample.object["metadata"][field]
        if self._dice.random() < 0.95:
            for field in SERVER_SET:
                obj["metadata"].pop(field, None)
        return obj

    def _json_patch(self, obj: Any) -> list[dict[str, Any]]:
        """Operations at places of the object; the values are spoilt as the object is."""
        dice = self._dice
        found = list(places(obj)) or [("metadata",)]
        operations = []
        for _ in range(dice.choice((1, 1, 2, 5))):
            place = dice.choice(found)
            pointer = "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in place)
            verb = dice.choice(("add", "replace", "remove", "test", "copy", "move", "destroy"))
            operations.append({"op": verb, "path": pointer, "from": pointer, "value": value_at(obj, place)})
        return operations

    def _text(self, value: Any) -> bytes:
        if self._dice.random() < 0.1:
            return as_yaml(value)
        text = as_json(value).encode()
        if self._dice.random() < 0.03:
            return text[: self._dice.randrange(len(text))]
        return text

    def _type(self) -> str:
        return "application/json" if self._dice.random() < 0.9 else "application/yaml"


def as_json(value: Any) -> str:
    """With the numbers that JSON has no words for, and half characters, as a careless program would."""
    return json.dumps(value)


def as_yaml(value: Any) -> bytes:
    """Half characters are none in YAML: what has them stays JSON, which YAML takes."""
    try:
        return yaml.dump(value, Dumper=yaml.CSafeDumper).encode()
    except UnicodeEncodeError:
        return as_json(value).encode()


def _request(method: str, path: str, query: list[str], body: bytes, content_type: str) -> Request:
    return Request(method, path + ("?" + "&".join(query) if query else ""), body, {"Content-Type": content_type})
