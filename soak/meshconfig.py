"""Spoilt configurations of a mesh: ConfigMap istio, whose text no API server looks into.

What would cut off all traffic, were it taken as it is meant, is left out: the mesh's trust and its root namespace; and
what makes the listeners of all waypoints anew.
"""

from __future__ import annotations

import random

import yaml

from ambientlab.mesh.index import meshconfig
from soak.api import Answer, Api
from soak.mutation import Mutator
from soak.objects import as_yaml
from soak.samples import samples
from soak.wire import BODIES

KEPT = ("trustDomain", "trustDomainAliases", "rootNamespace", "accessLogFile", "accessLogEncoding", "accessLogFormat")
LEVELS = 40_000
"""So deep that a parser which calls itself for each has no stack left."""
_PATH = "/api/v1/namespaces/{}/configmaps/{}".format(*meshconfig.KEY)


class MeshConfigs:
    """Those of the goldens. `restore` brings back what there was at first."""

    def __init__(self, dice: random.Random, api: Api) -> None:
        self._dice = dice
        self._api = api
        self._first: str = api.get(_PATH)["data"]["mesh"]
        texts = (sample.object["data"]["mesh"] for sample in samples() if sample.path == _PATH)
        read = (yaml.load(text, Loader=yaml.CSafeLoader) for text in (self._first, *texts))
        self._configs = [{key: value for key, value in config.items() if key not in KEPT} for config in read]
        self._mutator = Mutator(dice, self._configs)

    def send(self) -> Answer:
        return self._write(self._text())

    def restore(self) -> None:
        self._write(self._first)

    def _text(self) -> str:
        match self._dice.choices(("spoilt", "noise", "deep"), (90, 8, 2))[0]:
            case "noise":
                return self._dice.choice(BODIES).decode(errors="replace")
            case "deep":
                return "[" * LEVELS + "]" * LEVELS
        return as_yaml(self._mutator.spoilt(self._dice.choice(self._configs))).decode()

    def _write(self, text: str) -> Answer:
        return self._api.send("PATCH", _PATH, {"data": {"mesh": text}}, "application/merge-patch+json")
