"""The mesh's configuration: the key `mesh` of ConfigMap `istio` in the root namespace, as in Istio.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ambientlab.api.objects import Object
from ambientlab.cluster import ROOT_NAMESPACE, TRUST_DOMAIN
from ambientlab.flow.collection import Collection, Graph
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, unsupported
from ambientlab.mesh.ir import Key

KEY = Key(ROOT_NAMESPACE, "istio")
_STDOUT = "/dev/stdout"
_FIXED = {"rootNamespace": ROOT_NAMESPACE, "trustDomain": TRUST_DOMAIN}
_FOLLOWED = {"accessLogFile", "accessLogEncoding", "accessLogFormat", "extensionProviders", *_FIXED}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Config = Mapping[str, Any]


def read(config_map: Object) -> Config:
    """Empty if it is no mapping."""
    return _parsed(config_map)[0]


def _parsed(config_map: Object) -> tuple[Config, str]:
    """The second is why it is no mapping."""
    try:
        config = yaml.load((config_map.get("data") or {}).get("mesh") or "", _LOADER)
    except yaml.YAMLError as error:
        return {}, " ".join(str(error).split())
    if config is None or isinstance(config, dict):
        return config or {}, ""
    return {}, f"it is a {type(config).__name__}, not a mapping"


def collection(graph: Graph, config_maps: Collection[Key, Object]) -> Collection[Key, Config]:
    """The configuration under `KEY`, if there is one."""
    return graph.derive("mesh's configuration", config_maps, lambda _, key, obj: {key: read(obj)} if key == KEY else {})


def problems(graph: Graph, config_maps: Collection[Key, Object]) -> Collection[Key, str]:
    """Why nothing is read under `KEY`, if there is something that cannot be."""

    def problem(_: object, key: Key, obj: Object) -> Mapping[Key, str]:
        return {key: why} if key == KEY and (why := _parsed(obj)[1]) else {}

    return graph.derive("what is wrong with the mesh's configuration", config_maps, problem)


def unreadable(why: str) -> Diagnostic:
    """Istio says "invalid mesh config, using last known state" (pkg/config/mesh/meshwatcher/collection.go)."""
    message = f"data.mesh is invalid, and what it says does not hold (Istio goes on with what it said before): {why}"
    return Diagnostic(ObjectRef("ConfigMap", *KEY), "Invalid", message, field="data.mesh")


def logs(config: Config) -> bool:
    """Whether what passes a proxy is logged where no Telemetry says so."""
    return bool(config.get("accessLogFile"))


def diagnostics(config: Config) -> Iterator[Diagnostic]:
    ref = ObjectRef("ConfigMap", *KEY)
    for name in sorted(map(str, config.keys() - _FOLLOWED)):
        yield unsupported(ref, f"mesh.{name}")
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            yield unsupported(ref, f"mesh.{name}", f"it is always {value}")
    if config.get("accessLogFile", _STDOUT) not in ("", _STDOUT):
        yield unsupported(ref, "mesh.accessLogFile", f"proxies log to {_STDOUT}")
    if config.get("accessLogEncoding", "TEXT") != "TEXT":
        yield unsupported(ref, "mesh.accessLogEncoding", "logs are text")
    if config.get("accessLogFormat"):
        yield unsupported(ref, "mesh.accessLogFormat", "logs have Istio's default format")
