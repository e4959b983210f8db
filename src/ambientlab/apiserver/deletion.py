"""Deleting: at once, or by asking whoever still has something to do.

An object with finalizers, and a pod that runs, only gets a deletionTimestamp; who removes the last finalizer (or the
kubelet, deleting with grace 0) makes it go. kubernetes.io/docs/concepts/overview/working-with-objects/finalizers and
.../concepts/architecture/garbage-collection for what propagation means: the garbage collector reads it off finalizers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from ambientlab.api import kinds
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object, copy, has_ended, name, namespace, parse_timestamp, timestamp
from ambientlab.api.resources import Resource
from ambientlab.apiserver import admission, refusals, strategy
from ambientlab.apiserver.crds import CLEANUP_FINALIZER
from ambientlab.apiserver.options import DeleteOptions, WriteOptions
from ambientlab.apiserver.verbs import Verbs, deletable
from ambientlab.store.entry import Entry

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_DEFAULT_GRACE = 30
_LONGEST = 2**63 // 10**9
"""Seconds that a duration of Go has at most, about 292 years."""


async def delete(
    verbs: Verbs, resource: Resource, in_namespace: str, object_name: str, options: DeleteOptions
) -> tuple[Entry, bool]:
    """The object as it is now, and whether it is gone. Raises `StatusError` 403, 404, 409."""
    current = verbs.latest(resource, in_namespace, object_name)
    verbs.admission.check_delete(resource, object_name)
    _check_preconditions(resource, current.object, options)
    obj = copy(current.object)
    _mark(resource, obj, options, verbs.clock())
    if options.dry_run:
        return current, deletable(resource, obj)
    gone = deletable(resource, obj)
    if not gone and obj == current.object:
        return current, False
    return await verbs.commit(resource, current.key, obj, current.object, WriteOptions()), gone


async def delete_all(
    verbs: Verbs, resource: Resource, entries: Sequence[Entry], options: DeleteOptions
) -> Sequence[Entry]:
    """Delete what a list selected; one that is gone already is no error. The writes share their commits."""

    async def one(entry: Entry) -> Entry | None:
        try:
            return (await delete(verbs, resource, namespace(entry.object), name(entry.object), options))[0]
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    done = await asyncio.gather(*(one(entry) for entry in entries))
    return [entry for entry in done if entry is not None]


def _check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    for label, wanted, actual in (
        ("UID", options.uid, obj["metadata"]["uid"]),
        ("ResourceVersion", options.resource_version, obj["metadata"]["resourceVersion"]),
    ):
        if wanted and wanted != actual:
            why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {actual}"
            raise refusals.conflict(resource, name(obj), why)


def _mark(resource: Resource, obj: Object, options: DeleteOptions, now: datetime) -> None:
    """Say in `obj`'s metadata that it is to go, and what has to happen first."""
    metadata = obj["metadata"]
    finalizers = [one for one in metadata.get("finalizers") or () if one not in (FOREGROUND, ORPHAN)]
    propagation = options.propagation
    if propagation is None:
        had = metadata.get("finalizers") or ()
        propagation = "Orphan" if ORPHAN in had else "Foreground" if FOREGROUND in had else "Background"
    if propagation == "Foreground":
        finalizers.append(FOREGROUND)
    elif propagation == "Orphan":
        finalizers.append(ORPHAN)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    grace = _grace(resource, obj, options)
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = timestamp(now + _lasting(grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if strategy.counts_generations(resource):
            metadata["generation"] = metadata.get("generation", 0) + 1
    elif grace < metadata.get("deletionGracePeriodSeconds", 0):
        begun = parse_timestamp(metadata["deletionTimestamp"]) - _lasting(metadata["deletionGracePeriodSeconds"])
        metadata["deletionTimestamp"] = timestamp(begun + _lasting(grace))
        metadata["deletionGracePeriodSeconds"] = grace
    if resource == kinds.NAMESPACE:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}


def _grace(resource: Resource, obj: Object, options: DeleteOptions) -> int:
    """Seconds a pod has to end. One that no kubelet has, or that has ended, needs none."""
    if resource != kinds.POD:
        return 0
    if has_ended(obj) or not obj["spec"].get("nodeName"):
        return 0
    if options.grace_seconds is not None:
        return max(options.grace_seconds, 0)
    seconds: int = obj["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
    return seconds


def _lasting(grace: int) -> timedelta:
    return timedelta(seconds=min(grace, _LONGEST))


class CustomCleanup:
    """Removes the objects of a CRD that is being deleted, and then the finalizer that holds it."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, crd: Object) -> None:
        """Called for every CRD that is there or changes."""
        if crd["metadata"].get("deletionTimestamp") and CLEANUP_FINALIZER in crd["metadata"].get("finalizers", ()):
            task = asyncio.get_running_loop().create_task(self._clean(crd))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _clean(self, crd: Object) -> None:
        verbs = self._verbs
        spec = crd["spec"]
        version = next(one["name"] for one in spec["versions"] if one.get("storage"))
        resource = verbs.registry.find(spec["group"], version, spec["names"]["plural"])
        where = f"{spec['group']}/{spec['names']['plural']}"
        if resource is not None:
            await delete_all(verbs, resource, verbs.store.list(where), DeleteOptions(propagation="Background"))
        await self._emptied(where)
        current = verbs.store.latest(admission.CRDS, name(crd))
        if current is None or current.object["metadata"]["uid"] != crd["metadata"]["uid"]:
            return
        last = copy(current.object)
        last["metadata"]["finalizers"] = [
            one for one in last["metadata"].get("finalizers", ()) if one != CLEANUP_FINALIZER
        ]
        if deletable(kinds.CUSTOMRESOURCEDEFINITION, last):
            await verbs.store.delete(current.collection, current.key, last)
        else:
            await verbs.store.put(current.collection, current.key, last)

    async def _emptied(self, where: str) -> None:
        """Objects with finalizers of their own go when those who set them are done."""
        changed = asyncio.Event()
        unsubscribe = self._verbs.store.watch(where, lambda _: changed.set())
        try:
            while self._verbs.store.list(where):
                changed.clear()
                await changed.wait()
        finally:
            unsubscribe()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
