"""Watching everything: every kind that is served, those of CRDs that come and go among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import CUSTOMRESOURCEDEFINITION
from ambientlab.api.resources import Resource
from ambientlab.flow.reconcile import Stop

_NEEDED = {"list", "watch", "delete"}


class World:
    """The kinds with objects in them, one version of each, and where they are found by group and kind."""

    def __init__(self, client: Client, resources: Callable[[], Sequence[Resource]]) -> None:
        self._client = client
        self._resources = resources

    def resources(self) -> Iterator[Resource]:
        """One version of each kind (the first listed, which is the preferred one) that can be listed and deleted."""
        seen = set()
        for resource in self._resources():
            kind = (resource.group, resource.kind)
            if kind not in seen and (not resource.verbs or set(resource.verbs) >= _NEEDED):
                seen.add(kind)
                yield resource

    def find(self, api_version: str, kind: str) -> Resource | None:
        """By an owner reference's apiVersion and kind; the version does not matter, the objects are the same."""
        group = api_version.rpartition("/")[0]
        return next((one for one in self.resources() if (one.group, one.kind) == (group, kind)), None)

    def watch(
        self, handler: Callable[[Resource, Event], None], appeared: Callable[[Resource], None] = lambda _: None
    ) -> Stop:
        """`handler` hears of every change to anything. `appeared` hears of a kind that was not served before, after
        its existing objects have been handled."""
        watched: dict[Resource, Stop] = {}

        def watch_one(resource: Resource) -> Stop:
            return self._client.watch(resource, lambda event: handler(resource, event))

        def rescan() -> None:
            now = list(self.resources())
            for resource in watched.keys() - set(now):
                watched.pop(resource)()
            for resource in now:
                if resource not in watched:
                    watched[resource] = watch_one(resource)
                    appeared(resource)

        rescan()
        stop_crds = self._client.watch(CUSTOMRESOURCEDEFINITION, lambda event: rescan())

        def stop() -> None:
            stop_crds()
            for stop_one in watched.values():
                stop_one()
            watched.clear()

        return stop
