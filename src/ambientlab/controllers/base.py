"""What the controllers share: how they name work, what they are given, and which failures are only lost races."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object, annotations_of, name, namespace
from ambientlab.api.resources import Resource
from ambientlab.flow.clock import Clock, LoopClock
from ambientlab.flow.reconcile import Stop

T = TypeVar("T")


class Key(NamedTuple):
    """An object of a known kind; `namespace` is "" for cluster scope."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    return Key(namespace(obj), name(obj))


class Roots(Protocol):
    """The roots that the mesh trusts, and a way to be told when they may have changed."""

    @property
    def root_pem(self) -> bytes: ...

    def watch(self, changed: Callable[[], None]) -> Stop: ...


@dataclass(frozen=True, slots=True)
class Options:
    """`resources` lists what is served now, CRs included, and is asked again whenever a CRD changes.

    `cluster_root` is a PEM bundle, the API server's CA (ConfigMap kube-root-ca.crt); `mesh_roots` are the mesh's
    (istio-ca-root-cert).
    """

    resources: Callable[[], Sequence[Resource]]
    cluster_root: str
    mesh_roots: Roots
    clock: Clock = field(default_factory=LoopClock)


def lost_race(error: Exception) -> bool:
    """Somebody else was faster: changed, created or deleted the object, or began to delete its namespace. The next
    pass sees what they did."""
    return isinstance(error, StatusError) and (
        error.code in (404, 409) or any(cause.reason == "NamespaceTerminating" for cause in error.causes)
    )


async def all_of(tasks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, awaited together so that their writes share a commit. Every one runs to its end; then the
    first error that is not a lost race is raised, or else the first."""
    if len(tasks) == 1:
        return [await tasks[0]]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise next((e for e in errors if not (isinstance(e, Exception) and lost_race(e))), errors[0])
    return [result for result in results if not isinstance(result, BaseException)]


async def write_status(
    client: Client, resource: Resource, obj: Object, status: Object, annotations: Mapping[str, str] | None = None
) -> None:
    """Make `status` the whole status of `obj` and add `annotations`, unless all that is so already. Built-in kinds
    take annotations with a status, as in Kubernetes.

    What has been done goes before what is said of it: loops that a write of this pass has woken get their turn first,
    and then share a commit with the report, so that a Deployment's pods do not wait for it."""
    old = obj.get("status") or {}
    present = annotations_of(obj)
    new = {key: value for key, value in (annotations or {}).items() if present.get(key) != value}
    if status == old and not new:
        return
    patch: Object = {"status": {**dict.fromkeys(old.keys() - status.keys()), **status}}
    if new:
        patch["metadata"] = {"annotations": new}
    await asyncio.sleep(0)
    await client.patch(resource, name(obj), namespace(obj), patch, subresource="status")


async def delete_quietly(client: Client, resource: Resource, obj: Object) -> None:
    """Delete exactly this object; that it is gone already, or another has its name, is as good."""
    try:
        await client.delete(resource, name(obj), namespace(obj), uid=obj["metadata"].get("uid", ""))
    except StatusError as error:
        if not lost_race(error):
            raise
