"""What creating or changing an object of some kinds brings about, before it is validated.

Namespaces must exist and live (NamespaceLifecycle), pods get their service account, Services their addresses, CRDs
their conditions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ambientlab.api import kinds
from ambientlab.api.errors import Cause
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.apiserver import crds, pod_admission, refusals
from ambientlab.apiserver.addresses import Addresses, inherit
from ambientlab.store.store import Store

NAME_LABEL = "kubernetes.io/metadata.name"


def collection(storage: Resource) -> str:
    """Where the store keeps objects of a resource, whatever version they came in."""
    return f"{storage.group}/{storage.plural}"


def key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


SERVICES = collection(kinds.SERVICE)
NAMESPACES = collection(kinds.NAMESPACE)
SERVICEACCOUNTS = collection(kinds.SERVICEACCOUNT)
CRDS = collection(kinds.CUSTOMRESOURCEDEFINITION)


class Admission:
    def __init__(self, store: Store, registry: Registry, chooser: random.Random, families: Sequence[str]) -> None:
        self._store = store
        self._registry = registry
        self._chooser = chooser
        self._addresses = Addresses(chooser, families)

    def rebuild(self) -> None:
        """Take stock of the addresses in use: at start, and when a write that took one has failed."""
        self._addresses.rebuild(entry.object for entry in self._store.list(SERVICES))

    def check_namespace(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Raises 404 for a namespace that is not there, 403 for one that is being deleted."""
        if not resource.namespaced:
            return
        found = self._store.latest(NAMESPACES, namespace)
        if found is None:
            raise refusals.not_found(kinds.NAMESPACE, namespace)
        if found.object["metadata"].get("deletionTimestamp"):
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
            raise refusals.forbidden(resource, obj["metadata"].get("name", ""), text, (cause,))

    def on_create(self, resource: Resource, obj: Object, now: str) -> None:
        """Change `obj` in place."""
        if resource == kinds.POD:
            pod_admission.admit(obj, self._account, self._chooser)
        elif resource == kinds.NAMESPACE:
            self._label(obj)
        elif resource == kinds.CUSTOMRESOURCEDEFINITION:
            crds.establish(obj, self._others(obj), now)

    def on_update(self, resource: Resource, obj: Object, old: Object, now: str) -> None:
        if resource == kinds.SERVICE:
            inherit(obj, old)
        elif resource == kinds.NAMESPACE:
            self._label(obj)
        elif resource == kinds.CUSTOMRESOURCEDEFINITION and not obj["metadata"].get("deletionTimestamp"):
            crds.establish(obj, self._others(obj), now)

    def allocate(self, resource: Resource, obj: Object, old: Object | None) -> None:
        """Give a valid Service the addresses it lacks, in place. Raises 422 for those it cannot have."""
        if resource == kinds.SERVICE:
            self._addresses.allocate(obj, old)

    def staged(self, resource: Resource, obj: Object, old: Object | None) -> None:
        """The write is on its way to the store: what it took is taken."""
        if resource == kinds.SERVICE:
            if old is None:
                self._addresses.hold(obj)
            else:
                self._addresses.release(old, obj)

    def released(self, resource: Resource, obj: Object) -> None:
        if resource == kinds.SERVICE:
            self._addresses.release(obj)

    def check_delete(self, resource: Resource, name: str) -> None:
        if resource == kinds.NAMESPACE and name in ("default", "kube-system", "kube-public"):
            raise refusals.forbidden(resource, name, "this namespace may not be deleted")

    def _account(self, namespace: str, name: str) -> Object | None:
        found = self._store.latest(SERVICEACCOUNTS, key(namespace, name))
        return found.object if found else None

    def _others(self, crd: Object) -> list[Object]:
        mine = crd["metadata"].get("name")
        return [entry.object for entry in self._store.list(CRDS) if entry.key != mine]

    @staticmethod
    def _label(namespace: Object) -> None:
        metadata = namespace["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata.get("name", "")}
