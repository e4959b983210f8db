"""Where API objects live: one SQLite file, one revision counter, everything readable in memory.

A write is staged at once on the event loop, where it gets its revision, and becomes visible when it is durable:

    put/delete -> staged -> [ one transaction of all that was staged, in the writer's thread ] -> visible, watchers told

so that writes made while the disk syncs share the next sync (group commit), and nobody reads what a crash could take
back. `latest` sees staged writes: the check before a write and the write itself happen without an await between
them, which is all the locking optimistic concurrency needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from ambientlab.api.client import EventType, Unsubscribe
from ambientlab.api.objects import Object
from ambientlab.store.entry import Change, Collection, Entry
from ambientlab.store.log import Log, StoreError

Watcher = Callable[[Change], None]
_Staged = tuple[Change, "asyncio.Future[Entry]"]
_Batch = list[_Staged]
Entries = Sequence[Entry]
Changes = Sequence[Change]


class Store:
    """`keep`: how many revisions of history stay readable for lists and watches that start in the past."""

    def __init__(self, path: Path, *, keep: int = 4096) -> None:
        self._log = Log(path)
        self._keep = keep
        self._collections: dict[str, Collection] = {}
        self._watchers: dict[str, list[_Subscription]] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._staged: _Batch = []
        self._overlay: dict[tuple[str, str], Change] = {}
        self._next = 0
        self._writing: asyncio.Future[None] | None = None
        self.revision = 0

    def open(self) -> None:
        """Lock the file, read everything. Raises `StoreError`."""
        for entry in self._log.open():
            self._collection(entry.collection).put(entry)
        self.revision = self._next = self._log.revision
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def close(self) -> None:
        """Wait for writes in flight, then let go of the file."""
        while self._writing is not None or self._staged:
            if self._writing is None:
                await asyncio.sleep(0)
            else:
                await asyncio.wait([self._writing])
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        self._log.close()

    # Reading

    def get(self, collection: str, key: str) -> Entry | None:
        found = self._collections.get(collection)
        return found.entries.get(key) if found else None

    def list(self, collection: str, namespace: str | None = None) -> Entries:
        """In the order of keys; of every namespace if `namespace` is None."""
        found = self._collections.get(collection)
        return found.select(namespace) if found else []

    def list_at(self, collection: str, revision: int, namespace: str | None = None) -> Entries:
        """The list as it was. Raises `Compacted`, and `ValueError` for a revision that is still to come."""
        if revision == self.revision:
            return self.list(collection, namespace)
        if revision > self.revision:
            raise ValueError(f"revision {revision} is ahead of {self.revision}")
        entries = self._log.at(collection, revision)
        return [e for e in entries if e.key.startswith(namespace + "/")] if namespace is not None else entries

    def latest(self, collection: str, key: str) -> Entry | None:
        """The newest state, durable or on its way: what a write must be checked against."""
        change = self._overlay.get((collection, key))
        if change is None:
            return self.get(collection, key)
        return None if change.type == "DELETED" else change.entry

    def collections(self) -> Sequence[str]:
        """The collections that hold anything."""
        return [name for name, found in self._collections.items() if found.keys]

    # Writing

    async def put(self, collection: str, key: str, obj: Object) -> Entry:
        """Create or replace; returns once durable. The store owns `obj` from now on and sets its resourceVersion."""
        old = self.latest(collection, key)
        return await self._stage("MODIFIED" if old else "ADDED", collection, key, obj, old)

    async def delete(self, collection: str, key: str, last: Object | None = None) -> Entry | None:
        """Remove, returning the last state (`last`, if the deletion itself changed it) at the new revision."""
        old = self.latest(collection, key)
        if old is None:
            return None
        obj = {**(last or old.object)}
        obj["metadata"] = {**obj["metadata"]}
        return await self._stage("DELETED", collection, key, obj, old)

    def _stage(
        self, kind: EventType, collection: str, key: str, obj: Object, old: Entry | None
    ) -> asyncio.Future[Entry]:
        if self._executor is None:
            raise StoreError(f"{self._log.path} is closed")
        loop = asyncio.get_running_loop()
        revision = self._next + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        entry = Entry(collection, key, revision, obj, orjson.dumps(obj))
        self._next = revision
        change = Change(kind, entry, old)
        self._overlay[collection, key] = change
        future: asyncio.Future[Entry] = loop.create_future()
        self._staged.append((change, future))
        if len(self._staged) == 1 and self._writing is None:
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        if self._writing is not None or not self._staged or self._executor is None:
            return
        batch, self._staged = self._staged, []
        loop = asyncio.get_running_loop()
        self._writing = loop.create_future()
        job = loop.run_in_executor(self._executor, self._log.commit, [change for change, _ in batch], self._keep)
        job.add_done_callback(lambda done: self._written(batch, done))

    def _written(self, batch: _Batch, done: asyncio.Future[int]) -> None:
        error = done.exception()
        if error is not None:
            self._take_back(batch, error)
        else:
            self._publish(batch)
        assert self._writing is not None
        self._writing.set_result(None)
        self._writing = None
        self._flush()

    def _publish(self, batch: _Batch) -> None:
        loop = asyncio.get_running_loop()
        for change, future in batch:
            entry = change.entry
            found = self._collection(entry.collection)
            if change.type == "DELETED":
                found.remove(entry.key)
            else:
                found.put(entry)
            if self._overlay.get((entry.collection, entry.key)) is change:
                del self._overlay[entry.collection, entry.key]
            self.revision = entry.revision
            # Each watcher in a callback of its own: the order stays, and one that fails takes nobody with it.
            for subscription in self._watchers.get(entry.collection, ()):
                loop.call_soon(subscription.tell, change)
            if not future.done():  # the writer may be gone; its write is not
                future.set_result(entry)

    def _take_back(self, batch: _Batch, error: BaseException) -> None:
        """Nothing staged may survive a failed commit: later writes were checked against earlier ones."""
        failed, self._staged = batch + self._staged, []
        self._overlay.clear()
        self._next = self.revision
        for _, future in failed:
            if not future.done():
                future.set_exception(error)

    # Watching

    def watch(self, collection: str, watcher: Watcher) -> Unsubscribe:
        """Tell every later change, in commit order, on the event loop, once it is durable."""
        subscription = _Subscription(watcher)
        subscriptions = self._watchers.setdefault(collection, [])
        subscriptions.append(subscription)

        def unsubscribe() -> None:
            if subscription.active:
                subscription.active = False
                subscriptions.remove(subscription)

        return unsubscribe

    def since(self, collection: str, revision: int) -> Changes:
        """What changed after a revision until now; with `watch` in the same step, nothing is missed or told twice.

        Raises `Compacted`.
        """
        return [] if revision >= self.revision else self._log.since(collection, revision, self.revision)

    def _collection(self, name: str) -> Collection:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection()
        return found


class _Subscription:
    """A watcher that can be dropped although calls to it are scheduled."""

    __slots__ = ("active", "watcher")

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.active = True

    def tell(self, change: Change) -> None:
        if self.active:
            self.watcher(change)
