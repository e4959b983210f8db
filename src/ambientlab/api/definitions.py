"""The schemas of the core kinds, as the newest release that `kubernetes-validate` carries describes them.

The file is 1.8 MB of JSON; building all of it as Python objects costs 25 MB. So it is split into the undecoded text of
each definition once, on first use, and a definition is decoded when somebody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

_REF = "#/$defs/"
_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)-local")


class _File(msgspec.Struct):
    definitions: dict[str, msgspec.Raw] = msgspec.field(name="$defs")


@cache
def _file() -> dict[str, msgspec.Raw]:
    # Only the package's data is wanted: importing it would load its JSON schema validator (60 ms, 5 MB).
    package = find_spec("kubernetes_validate")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("kubernetes_validate is not installed")
    releases = {
        tuple(map(int, match.groups())): directory
        for directory in Path(package.origin).with_name("kubernetes-json-schema").iterdir()
        if (match := _RELEASE.fullmatch(directory.name))
    }
    newest = releases[max(releases)]
    return msgspec.json.decode(newest.joinpath("_definitions.json").read_bytes(), type=_File).definitions


@cache
def definition(name: str) -> dict[str, Any]:
    """The JSON schema of `io.k8s.api.core.v1.Pod` and its like, shared: do not change it. Raises KeyError."""
    result: dict[str, Any] = msgspec.json.decode(_file()[name])
    return result


def reference(schema: Mapping[str, Any]) -> str:
    """The definition a schema refers to, or ""."""
    target: str = schema.get("$ref", "")
    return target.removeprefix(_REF)


# Definitions are named by the Go package of the type (the API machinery's own packages apart).
_PACKAGES = {
    "": "io.k8s.api.core",
    "apps": "io.k8s.api.apps",
    "autoscaling": "io.k8s.api.autoscaling",
    "policy": "io.k8s.api.policy",
    "batch": "io.k8s.api.batch",
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
}
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
SCHEMA_OR_BOOL = f"{JSON_SCHEMA}OrBool"
# Published as any value; a structural schema admits only the schema in them (and a bool in the first).
SCHEMA_UNIONS = frozenset({SCHEMA_OR_BOOL, f"{JSON_SCHEMA}OrArray"})
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


def name_of(group: str, version: str, kind: str) -> str:
    """The definition of a built-in kind: ("apps", "v1", "Deployment") -> `io.k8s.api.apps.v1.Deployment`."""
    if kind == "DeleteOptions":
        return DELETE_OPTIONS
    package = _PACKAGES.get(group) or f"io.k8s.api.{group.removesuffix('.k8s.io').removesuffix('.authorization')}"
    return f"{package}.{version}.{kind}"
