"""What is read of a Gateway besides its part as a waypoint: where its proxy is found, and its parameters.

The rules are istiod's (pilot/pkg/config/kube/gateway/conversion.go and gateway_collection.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ambientlab.api import selectors
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object, annotations_of
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import ACCEPTED, Diagnostic, ObjectRef, ignored, unsupported
from ambientlab.mesh.index.values import service_host
from ambientlab.mesh.index.waypoints import hbone_listener
from ambientlab.mesh.ir import Key

_NAME_OVERRIDE = "gateway.istio.io/name-override"
_BINDING = "ambient.istio.io/waypoint-inbound-binding"
_NOT_BUILT = ("horizontalPodAutoscaler", "podDisruptionBudget")


@dataclass(frozen=True, slots=True)
class Place:
    """The Services in front of a Gateway's proxies; `wrong` are addresses that name none."""

    hosts: tuple[str, ...]
    wrong: tuple[str, ...] = ()


def place(obj: Object, domain: str) -> Place:
    """Those of a Gateway that names hostnames are somebody else's; otherwise it is the Service that it is given."""
    meta = obj["metadata"]
    addresses = obj["spec"].get("addresses") or []
    if not addresses or (len(addresses) == 1 and addresses[0].get("type", "IPAddress") == "IPAddress"):
        name = annotations_of(obj).get(_NAME_OVERRIDE) or meta["name"]
        return Place((service_host(Key(meta["namespace"], name), domain),))
    hosts = [a.get("value", "") for a in addresses if a.get("type", "Hostname") == "Hostname"]
    full = [host if "." in host else service_host(Key(meta["namespace"], host), domain) for host in hosts]
    return Place(tuple(full), tuple(a.get("value", "") for a in addresses if a.get("type", "Hostname") != "Hostname"))


def diagnostics(
    ctx: Context, key: Key, obj: Object, config_maps: Collection[Key, Object]
) -> Mapping[Key, tuple[Diagnostic, ...]]:
    found = tuple(_of(ctx, ObjectRef("Gateway", *key), obj, config_maps))
    return {key: found} if found else {}


def _of(ctx: Context, ref: ObjectRef, obj: Object, config_maps: Collection[Key, Object]) -> Iterator[Diagnostic]:
    if _BINDING in annotations_of(obj):
        field = f"metadata.annotations[{_BINDING}]"
        yield unsupported(ref, field, "the waypoint is reached by HBONE on port 15008")
    yield from _allowed_namespaces(ref, hbone_listener(obj))
    reference: dict[str, Any] | None = (obj["spec"].get("infrastructure") or {}).get("parametersRef")
    if reference is None:
        return
    if (group := reference["group"], kind := reference["kind"]) != ("", "ConfigMap"):
        message = f"Unsupported parametersRef group/kind {group}/{kind}, only ConfigMap is supported"
        yield Diagnostic(ref, "InvalidParameters", message, ACCEPTED)
        return
    where = Key(ref.namespace, reference["name"])
    config_map = ctx.fetch(config_maps, where)
    if config_map is None:
        yield Diagnostic(ref, "InvalidParameters", f"parametersRef ConfigMap {where} does not exist", ACCEPTED)
        return
    for name in _NOT_BUILT:
        if name in (config_map.get("data") or {}):
            yield unsupported(ref, f"{name} of ConfigMap {where}", "nothing is made of it")


def _allowed_namespaces(ref: ObjectRef, listener: Mapping[str, Any]) -> Iterator[Diagnostic]:
    try:
        selectors.from_object(listener.get("allowedRoutes", {}).get("namespaces", {}).get("selector"))
    except StatusError as error:
        field = f"spec.listeners[{listener['name']}].allowedRoutes.namespaces.selector"
        yield ignored(ref, field, f"{error.message}: it selects no namespace")
