"""Namespaces, nodes, events, configuration, leases and CRDs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.printers.columns import AGE, NAME, NONE, UNKNOWN, Column, Printer, age, since, wide

_ROLE = "node-role.kubernetes.io/"


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("status") or {}).get("phase", ""), age(obj, now)]


NAMESPACE = Printer((NAME, Column("Status"), AGE), _namespace)


def _node(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    ready = [one["status"] for one in status.get("conditions") or () if one.get("type") == "Ready"]
    states = [("Ready" if one == "True" else "NotReady") for one in ready] or ["Unknown"]
    if (obj.get("spec") or {}).get("unschedulable"):
        states.append("SchedulingDisabled")
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE)
    return [
        obj["metadata"]["name"],
        ",".join(states),
        ",".join(roles) or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(status: Object, kind: str) -> str:
    return next((one["address"] for one in status.get("addresses") or () if one.get("type") == kind), NONE)


NODE = Printer(
    (
        NAME,
        Column("Status"),
        Column("Roles"),
        AGE,
        Column("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ),
    _node,
)


def _event(obj: Object, now: datetime) -> list[Any]:
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    if series := obj.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count", count)
    involved = obj.get("involvedObject") or {}
    target = f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"
    return [
        f"{last} (x{count} over {first})" if count > 1 else last,
        obj.get("type", ""),
        obj.get("reason", ""),
        target if involved.get("name") else involved.get("kind", "").lower(),
        involved.get("fieldPath", ""),
        _source(obj),
        (obj.get("message") or "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or {}
    parts = [source.get("component") or obj.get("reportingComponent") or ""]
    parts.append(source.get("host") or obj.get("reportingInstance") or "")
    return ", ".join(part for part in parts if part)


EVENT = Printer(
    (
        Column("Last Seen", description="When it last happened, and how often since the first time."),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        wide("Subobject"),
        wide("Source"),
        Column("Message"),
        wide("First Seen"),
        wide("Count", "integer"),
        Column("Name", "string", 1, "name"),
    ),
    _event,
)


def _config_map(obj: Object, now: datetime) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [obj["metadata"]["name"], count, age(obj, now)]


CONFIGMAP = Printer((NAME, Column("Data", "integer"), AGE), _config_map)


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


SECRET = Printer((NAME, Column("Type"), Column("Data", "integer"), AGE), _secret)


def _service_account(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("secrets") or ()), age(obj, now)]


SERVICEACCOUNT = Printer((NAME, Column("Secrets", "integer"), AGE), _service_account)


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("spec") or {}).get("holderIdentity") or "", age(obj, now)]


LEASE = Printer((NAME, Column("Holder"), AGE), _lease)


def _crd(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp") or UNKNOWN]


CUSTOMRESOURCEDEFINITION = Printer((NAME, Column("Created At", "date")), _crd)
