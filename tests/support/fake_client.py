"""The API client over a dict: versions, conflicts, finalizers, graceful deletion and watches, and nothing else.

It knows no defaulting and no validation: what these do to objects shows when the same stories run over the API server.
"""

import asyncio
import itertools
import uuid
from collections import defaultdict

from ambientlab.api.client import Event
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.kinds import DAEMONSET, DEPLOYMENT, NAMESPACE, POD, REPLICASET, SERVICEACCOUNT
from ambientlab.api.objects import Object, copy, timestamp
from ambientlab.api.resources import Resource
from ambientlab.apiserver.patch.merge import merge_patch

_DEFAULTS: dict[Resource, Object] = {
    DEPLOYMENT: {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    },
    REPLICASET: {"replicas": 1},
    DAEMONSET: {"updateStrategy": {"type": "RollingUpdate"}, "revisionHistoryLimit": 10},
    NAMESPACE: {"finalizers": ["kubernetes"]},
}


class FakeClient:
    def __init__(self, clock):
        self._clock = clock
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._watchers = defaultdict(list)
        self._versions = itertools.count(1)
        self._applied = {}
        self.writes = 0

    def get(self, resource, name, namespace=""):
        return self._objects[resource].get((namespace, name))

    def list(self, resource, namespace=None):
        return [obj for (home, _), obj in sorted(self._objects[resource].items()) if namespace in (None, home)]

    async def create(self, resource, obj):
        await asyncio.sleep(0)
        obj = copy(obj)
        meta = obj["metadata"]
        key = meta.get("namespace", ""), meta["name"]
        home = self.get(NAMESPACE, key[0])
        if resource.namespaced and home is None:
            raise StatusError(404, "NotFound", f'namespaces "{key[0]}" not found')
        if home is not None and home["metadata"].get("deletionTimestamp"):
            message = f"namespace {key[0]} is being terminated"
            raise StatusError(403, "Forbidden", message, causes=(Cause("NamespaceTerminating", message),))
        account = (obj.get("spec") or {}).get("serviceAccountName", "default")
        if resource == POD and self.get(SERVICEACCOUNT, account, key[0]) is None:
            raise StatusError(403, "Forbidden", f'serviceaccount "{account}" not found')
        if key in self._objects[resource]:
            raise StatusError(409, "AlreadyExists", f'{resource.plural} "{key[1]}" already exists')
        obj["spec"] = {**_DEFAULTS.get(resource, {}), **(obj.get("spec") or {})}
        obj.pop("status", None)
        if resource == NAMESPACE:
            obj["status"] = {"phase": "Active"}
        if resource == POD:
            obj["status"] = {"phase": "Pending"}
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(self._clock.now()), "generation": 1}
        return self._store(resource, key, obj)

    async def update(self, resource, obj, *, subresource=""):
        await asyncio.sleep(0)
        key, old = self._find(resource, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        return self._replace(resource, key, old, copy(obj), subresource)

    async def patch(self, resource, name, namespace, patch, *, subresource=""):
        await asyncio.sleep(0)
        key, old = self._find(resource, name, namespace)
        return self._replace(resource, key, old, merge_patch(copy(old), copy(patch)), subresource)

    async def apply(self, resource, obj, *, manager, subresource=""):
        await asyncio.sleep(0)
        key = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        before = self._applied.get((resource, key, manager), {})
        self._applied[resource, key, manager] = copy(obj)
        old = self.get(resource, key[1], key[0])
        if old is None:
            return await self.create(resource, obj)
        return self._replace(resource, key, old, merge_patch(_prune(copy(old), before, obj), copy(obj)), subresource)

    async def delete(self, resource, name, namespace="", *, uid="", grace_seconds=None, propagation="Background"):
        await asyncio.sleep(0)
        key, old = self._find(resource, name, namespace)
        if uid and uid != old["metadata"]["uid"]:
            raise StatusError(409, "Conflict", "Precondition failed: UID")
        obj = copy(old)
        meta = obj["metadata"]
        finalizers = [one for one in meta.get("finalizers", ()) if one not in ("orphan", "foregroundDeletion")]
        extra = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(propagation, [])
        meta["finalizers"] = [*finalizers, *extra]
        running = resource == POD and obj["spec"].get("nodeName") and obj["status"]["phase"] in ("Pending", "Running")
        meta.setdefault("deletionTimestamp", timestamp(self._clock.now()))
        meta["deletionGracePeriodSeconds"] = 30 if running and grace_seconds is None else 0
        if resource == NAMESPACE:
            obj["status"] = {**obj["status"], "phase": "Terminating"}
        self._put(resource, key, old, obj)

    def watch(self, resource, handler):
        self._watchers[resource].append(handler)
        for obj in self.list(resource):
            handler(Event("ADDED", obj))
        return lambda: self._watchers[resource].remove(handler)

    def _find(self, resource, name, namespace):
        key = namespace, name
        if key not in self._objects[resource]:
            raise StatusError(404, "NotFound", f'{resource.plural} "{name}" not found')
        return key, self._objects[resource][key]

    def _replace(self, resource, key, old, obj, subresource):
        given, stored = obj["metadata"], old["metadata"]
        if given.get("resourceVersion", stored["resourceVersion"]) != stored["resourceVersion"]:
            raise StatusError(409, "Conflict", "the object has been modified")
        if given.get("uid", stored["uid"]) != stored["uid"]:
            raise StatusError(409, "Conflict", "Precondition failed: UID")
        if subresource == "status":
            meta = {**stored, "annotations": given.get("annotations", {})} if "annotations" in given else stored
            obj = {**old, "metadata": meta, "status": obj["status"]}
        elif subresource == "finalize":
            obj = {**old, "spec": obj["spec"]}
        else:
            keep = {name: stored[name] for name in ("uid", "creationTimestamp", "generation")}
            obj["metadata"] = {**given, **keep}
            if "status" in old:
                obj["status"] = old["status"]
            if resource == NAMESPACE:
                obj["spec"] = old["spec"]
        return self._put(resource, key, old, obj)

    def _put(self, resource, key, old, obj):
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if obj == old:
            return old
        if obj.get("spec") != old.get("spec"):
            obj["metadata"]["generation"] = old["metadata"]["generation"] + 1
        meta = obj["metadata"]
        waits = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
        waits = waits or (resource == NAMESPACE and obj["spec"]["finalizers"])
        if meta.get("deletionTimestamp") and not waits:
            del self._objects[resource][key]
            return self._tell(resource, "DELETED", obj, old)
        return self._store(resource, key, obj, old)

    def _store(self, resource, key, obj, old=None):
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self._objects[resource][key] = obj
        return self._tell(resource, "MODIFIED" if old else "ADDED", obj, old)

    def _tell(self, resource, type_, obj, old):
        self.writes += 1
        for handler in self._watchers[resource]:
            asyncio.get_running_loop().call_soon(handler, Event(type_, obj, old))
        return obj


def _prune(target, before, now):
    """Without what a manager applied before and no longer names."""
    for key, value in before.items():
        if key not in now:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(now[key], dict) and isinstance(target.get(key), dict):
            _prune(target[key], value, now[key])
    return target
