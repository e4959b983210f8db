"""Owner references: who controls an object, and the adopting and releasing that keeps them true to label selectors."""

from __future__ import annotations

from typing import Any

from ambientlab.api import selectors
from ambientlab.api.client import Client, Event
from ambientlab.api.objects import Object, labels_of, name, namespace, uid
from ambientlab.api.resources import Resource
from ambientlab.controllers.base import Key, key_of
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import PermanentError


def owner_references(obj: Object) -> list[dict[str, Any]]:
    return obj["metadata"].get("ownerReferences") or []


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The one owner reference with `controller: true`."""
    return next((ref for ref in owner_references(obj) if ref.get("controller")), None)


def controller_reference(resource: Resource, owner: Object) -> dict[str, Any]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def enqueue_owners(queue: WorkQueue[Key], client: Client, resource: Resource, event: Event) -> None:
    """Add those of `resource` that a change concerns: who controls the event's object, who did before the change, and
    for an orphan whoever would adopt it."""
    controlled = False
    for obj in (event.object, event.old):
        ref = controller_of(obj) if obj is not None else None
        if ref is not None:
            controlled = True
            if ref["kind"] == resource.kind and ref["apiVersion"] == resource.api_version:
                queue.add(Key(namespace(event.object), ref["name"]))
    labels = labels_of(event.object)
    if controlled or event.type == "DELETED" or not labels:
        return
    for owner in client.list(resource, namespace(event.object)):
        selector = selectors.from_object(owner["spec"].get("selector"))
        if selector is not None and selector.matches(labels):
            queue.add(key_of(owner))


async def claim(client: Client, owner_resource: Resource, owner: Object, resource: Resource) -> list[Object]:
    """What `owner` controls of `resource`, after adopting orphans its selector matches and releasing what it no longer
    matches. An owner being deleted keeps what it has and takes nothing new. Raises PermanentError for a selector that
    would match everything."""
    selector = selectors.from_object(owner["spec"]["selector"])
    if selector is None or not selector.requirements:
        raise PermanentError(f"spec.selector selects all {resource.plural} of the namespace; give it a label")
    mine = []
    for obj in client.list(resource, namespace(owner)):
        ref = controller_of(obj)
        if ref is None:
            if selector.matches(labels_of(obj)) and not is_deleting(owner) and not is_deleting(obj):
                references = [*owner_references(obj), controller_reference(owner_resource, owner)]
                mine.append(await _set_owners(client, resource, obj, references))
        elif ref["uid"] == uid(owner):
            if selector.matches(labels_of(obj)):
                mine.append(obj)
            elif not is_deleting(owner):
                references = [other for other in owner_references(obj) if other["uid"] != uid(owner)]
                await _set_owners(client, resource, obj, references)
    return mine


async def _set_owners(client: Client, resource: Resource, obj: Object, references: list[dict[str, Any]]) -> Object:
    return await client.update(resource, {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}})
