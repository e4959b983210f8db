"""How the rooms of one process reach the API: the contract between controllers, node, mesh and the API server.

The API server implements it over its own verbs, so that an object written by a controller passes the same admission,
defaulting and validation as one that arrived over HTTP. Tests may implement it over a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change. `old` is the object before it, None when ADDED; `object` the last state when DELETED."""

    type: EventType
    object: Object
    old: Object | None = None


Handler = Callable[[Event], None]
Unsubscribe = Callable[[], None]


class Client(Protocol):
    """Reads are synchronous, from memory, and return shared objects (see `objects`). Writes raise `StatusError`."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """Of a kind whose CRD somebody has deleted, nothing is found here and in `list`."""
        ...

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]:
        """Every object, or those of one namespace; label selection is the caller's."""
        ...

    async def create(self, resource: Resource, obj: Object) -> Object: ...

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace; a `metadata.resourceVersion` that is not the current one raises Conflict (409)."""
        ...

    async def patch(
        self, resource: Resource, name: str, namespace: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """Apply a JSON merge patch (RFC 7386)."""
        ...

    async def apply(self, resource: Resource, obj: Object, *, manager: str, subresource: str = "") -> Object:
        """Server-side apply, forced: `manager` owns the fields of `obj` and drops those it no longer names."""
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        propagation: Propagation = "Background",
    ) -> None: ...

    def watch(self, resource: Resource, handler: Handler) -> Unsubscribe:
        """Call `handler` with ADDED for every object that exists now, then for each change, in commit order,
        on the event loop and after the change is durable. A handler does no work of its own: it enqueues."""
        ...
