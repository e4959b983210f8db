"""The mesh's configuration: the key `mesh` of ConfigMap `istio` in the root namespace, as in Istio.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ambientlab.api.objects import Object
from ambientlab.cluster import ROOT_NAMESPACE
from ambientlab.flow.collection import Collection, Graph
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, unsupported
from ambientlab.mesh.ir import Key

KEY = Key(ROOT_NAMESPACE, "istio")
_STDOUT = "/dev/stdout"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Config = Mapping[str, Any]


def read(config_map: Object) -> Config:
    """Empty if it is no mapping."""
    try:
        config = yaml.load((config_map.get("data") or {}).get("mesh") or "", _LOADER)
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def collection(graph: Graph, config_maps: Collection[Key, Object]) -> Collection[Key, Config]:
    """The configuration under `KEY`, if there is one."""
    return graph.derive("mesh's configuration", config_maps, lambda _, key, obj: {key: read(obj)} if key == KEY else {})


def logs(config: Config) -> bool:
    """Whether what passes a proxy is logged where no Telemetry says so."""
    return bool(config.get("accessLogFile"))


def diagnostics(config: Config) -> Iterator[Diagnostic]:
    ref = ObjectRef("ConfigMap", *KEY)
    if config.get("accessLogFile", _STDOUT) not in ("", _STDOUT):
        yield unsupported(ref, "mesh.accessLogFile", f"proxies log to {_STDOUT}")
    if config.get("accessLogEncoding", "TEXT") != "TEXT":
        yield unsupported(ref, "mesh.accessLogEncoding", "logs are text")
    if config.get("accessLogFormat"):
        yield unsupported(ref, "mesh.accessLogFormat", "logs have Istio's default format")
