"""Deployments, replica sets, daemon sets and controller revisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.printers.columns import (
    AGE,
    NAME,
    NONE,
    Column,
    Printer,
    age,
    containers_and_images,
    labels_text,
    selector_text,
    wide,
)

_TAIL = (wide("Containers"), wide("Images"), wide("Selector"))


def _tail(obj: Object) -> list[Any]:
    spec = obj.get("spec") or {}
    return [*containers_and_images(spec.get("template") or {}), selector_text(spec.get("selector"))]


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *_tail(obj),
    ]


DEPLOYMENT = Printer(
    (
        NAME,
        Column("Ready", description="Pods that are ready, of those wanted."),
        Column("Up-to-date", "integer", description="Pods made from the present template."),
        Column("Available", "integer", description="Pods that have been ready for long enough."),
        AGE,
        *_TAIL,
    ),
    _deployment,
)


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now),
        *_tail(obj),
    ]


REPLICASET = Printer(
    (NAME, Column("Desired", "integer"), Column("Current", "integer"), Column("Ready", "integer"), AGE, *_TAIL),
    _replica_set,
)


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    pod = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [
        obj["metadata"]["name"],
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels_text(pod.get("nodeSelector")),
        age(obj, now),
        *_tail(obj),
    ]


DAEMONSET = Printer(
    (
        NAME,
        Column("Desired", "integer"),
        Column("Current", "integer"),
        Column("Ready", "integer"),
        Column("Up-to-date", "integer"),
        Column("Available", "integer"),
        Column("Node Selector"),
        AGE,
        *_TAIL,
    ),
    _daemon_set,
)


def _controller_revision(obj: Object, now: datetime) -> list[Any]:
    owner = next((one for one in obj["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    controller = f"{owner['kind'].lower()}.{owner['apiVersion'].partition('/')[0]}/{owner['name']}" if owner else NONE
    return [obj["metadata"]["name"], controller, obj.get("revision", 0), age(obj, now)]


CONTROLLERREVISION = Printer(
    (NAME, Column("Controller"), Column("Revision", "integer"), AGE),
    _controller_revision,
)
