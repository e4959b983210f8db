"""The API for the rooms of this process: the same verbs, without a wire."""

from __future__ import annotations

from collections.abc import Sequence

from ambientlab.api.client import Handler, Propagation, Unsubscribe
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource


class LocalClient:
    """Implements `ambientlab.api.client.Client` as a user of group system:masters."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        raise NotImplementedError

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]:
        raise NotImplementedError

    async def create(self, resource: Resource, obj: Object) -> Object:
        raise NotImplementedError

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        raise NotImplementedError

    async def patch(
        self, resource: Resource, name: str, namespace: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        raise NotImplementedError

    async def apply(self, resource: Resource, obj: Object, *, manager: str, subresource: str = "") -> Object:
        raise NotImplementedError

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        raise NotImplementedError

    def watch(self, resource: Resource, handler: Handler) -> Unsubscribe:
        raise NotImplementedError
