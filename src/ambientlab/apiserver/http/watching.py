"""Watch: a stream of changes, one JSON line each.

The store calls `_Stream.tell` with each change, in order; lines wait there until the connection takes them. A client
that does not keep up is cut off: it lists and watches anew, which is cheaper for both than an endless queue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

from ambientlab.api.client import EventType
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver.http.negotiation import JSON, Form
from ambientlab.apiserver.http.rendering import Renderer, partial
from ambientlab.apiserver.http.selection import Selection, check_reached, number
from ambientlab.apiserver.refusals import bad_request, expired
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Change, Entry
from ambientlab.store.log import Compacted

MAX_QUEUED = 16 << 20
BOOKMARK_SECONDS = 60.0
_TIMEOUT_SECONDS = (1800, 3600)
INITIAL_END = "k8s.io/initial-events-end"


class _Stream:
    """From changes to the lines one client gets."""

    def __init__(
        self, verbs: Verbs, renderer: Renderer, resource: Resource, selection: Selection, form: Form, include: str
    ) -> None:
        self._verbs = verbs
        self._renderer = renderer
        self._resource = resource
        self._selection = selection
        self._form = form
        self._include = include
        self._columns_sent = False
        self._lines: list[bytes] = []
        self._size = 0
        self.ready = asyncio.Event()
        self.overrun = False

    def tell(self, change: Change) -> None:
        event = self._seen(change)
        if event is None:
            return
        native = change.entry.object.get("apiVersion") == self._resource.api_version
        if native and not self._form.view:
            self._queue(change.encoded(event))
            return
        obj = change.entry.object
        if event == "DELETED" and change.type != "DELETED" and change.old is not None:
            obj = change.departed(change.old)
        self._queue(self._line(event, obj))

    def _seen(self, change: Change) -> EventType | None:
        """What the change is to somebody who sees only what is selected."""
        selection = self._selection
        if selection.everything:
            return change.type
        now = selection.matches(change.entry.object)
        if change.type == "ADDED":
            return "ADDED" if now else None
        before = selection.matches(change.old.object) if change.old is not None else now
        if change.type == "DELETED":
            return "DELETED" if before else None
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None

    def add(self, entry: Entry) -> None:
        if not self._form.view:
            encoded = self._verbs.represent(self._resource, entry).encoded
            self._queue(b'{"type":"ADDED","object":' + encoded + b"}\n")
        else:
            self._queue(self._line("ADDED", entry.object))

    def bookmark(self, revision: int, *, initial: bool = False) -> None:
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {INITIAL_END: "true"}
        obj: Object = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        if self._form.view == "Table":
            table = self._renderer.table(self._resource, [], self._include, {"resourceVersion": str(revision)})
            row = {"cells": [], "object": {**partial(obj)}}
            obj = {**table, "rows": [row]} if initial else table
        elif self._form.view:
            obj = partial(obj)
        self._queue(orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n")

    def fail(self, error: StatusError) -> None:
        self._queue(orjson.dumps({"type": "ERROR", "object": error.to_status()}) + b"\n")

    def _line(self, event: EventType, obj: Object) -> bytes:
        if self._form.view == "Table":
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            shown = self._renderer.table(self._resource, [obj], self._include, metadata, columns=not self._columns_sent)
            self._columns_sent = True
        elif self._form.view:
            shown = partial(obj)
        else:
            shown = {**obj, "apiVersion": self._resource.api_version}
        return orjson.dumps({"type": event, "object": shown}) + b"\n"

    def _queue(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)
        self.overrun = self.overrun or self._size > MAX_QUEUED
        self.ready.set()

    def take(self) -> bytes:
        lines, self._lines, self._size = self._lines, [], 0
        self.ready.clear()
        return b"".join(lines)


async def watch(
    request: web.Request,
    verbs: Verbs,
    renderer: Renderer,
    resource: Resource,
    selection: Selection,
    form: Form,
    stopping: asyncio.Event,
) -> web.StreamResponse:
    """Stream until the client goes, its timeout ends, or the server stops."""
    query = request.query
    if form.media_type != JSON:
        raise StatusError(406, "NotAcceptable", "only the following media types are accepted: application/json")
    _check(query)
    stream = _Stream(verbs, renderer, resource, selection, form, query.get("includeObject", ""))
    unsubscribe = _begin(stream, verbs, resource, selection, query)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (number(query, "timeoutSeconds") or random.uniform(*_TIMEOUT_SECONDS))
    bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
    response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    try:
        await response.prepare(request)
        await _pump(response, stream, verbs, deadline, bookmarks, stopping)
    except ConnectionError:
        return response  # the client went away, as they do
    finally:
        unsubscribe()
    return response


async def _pump(
    response: web.StreamResponse,
    stream: _Stream,
    verbs: Verbs,
    deadline: float,
    bookmarks: bool,
    stopping: asyncio.Event,
) -> None:
    loop = asyncio.get_running_loop()
    stop = loop.create_task(stopping.wait())
    stop.add_done_callback(lambda _: stream.ready.set())
    try:
        while not stopping.is_set() and not stream.overrun:
            if data := stream.take():
                await response.write(data)
                continue
            left = deadline - loop.time()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, BOOKMARK_SECONDS) if bookmarks else left):
                    await stream.ready.wait()
            except TimeoutError:
                if bookmarks:
                    stream.bookmark(verbs.store.revision)
        if data := stream.take():
            await response.write(data)
        await response.write_eof()
    finally:
        stop.cancel()


def _check(query: Mapping[str, str]) -> None:
    """The rules of ListOptions for watches."""
    initial = query.get("sendInitialEvents")
    if initial not in (None, "true", "false", "1", "0"):
        raise bad_request(f"sendInitialEvents: invalid value {initial!r}")
    if initial is None:
        if query.get("resourceVersionMatch"):
            raise bad_request("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    elif query.get("resourceVersionMatch") != "NotOlderThan":
        raise bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")


def _begin(
    stream: _Stream, verbs: Verbs, resource: Resource, selection: Selection, query: Mapping[str, str]
) -> Callable[[], None]:
    """Queue what is there or was missed, and subscribe, in one step: nothing is told twice or not at all."""
    store, collection = verbs.store, verbs.collection(resource)
    version = number(query, "resourceVersion")
    initial = query.get("sendInitialEvents")
    check_reached(version, store.revision)
    if initial in ("true", "1") or (initial is None and version == 0):
        for entry in selection.of(store.list(collection, selection.namespace)):
            stream.add(entry)
        if initial is not None and query.get("allowWatchBookmarks") in ("true", "1"):
            stream.bookmark(store.revision, initial=True)
    elif version:
        try:
            missed = store.since(collection, version)
        except Compacted as error:
            stream.fail(expired(str(error)))
            stream.overrun = True
            return lambda: None
        for change in missed:
            stream.tell(change)
    return store.watch(collection, stream.tell)
