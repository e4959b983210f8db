"""What the store hands out: objects with their encoding, and changes of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

import orjson

from ambientlab.api.client import EventType
from ambientlab.api.objects import Object


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One object at one revision. `encoded` is `object` as JSON; both are shared and never change.

    `key` is `namespace/name`, or `name` for an object of cluster scope: its order is the order of a list.
    """

    collection: str
    key: str
    revision: int
    object: Object
    encoded: bytes


@dataclass(slots=True, eq=False)
class Change:
    """One committed write. `entry` of a DELETED is the last state, carrying the revision of the deletion."""

    type: EventType
    entry: Entry
    old: Entry | None
    _encoded: dict[EventType, bytes] = field(default_factory=dict)

    def encoded(self, as_type: EventType) -> bytes:
        """The line of a watch stream, made once for all who watch.

        A selector turns MODIFIED into ADDED or DELETED for a watcher whose selection the object enters or leaves.
        """
        line = self._encoded.get(as_type)
        if line is None:
            value = self.entry.encoded
            if as_type == "DELETED" and self.type != "DELETED" and self.old is not None:
                value = orjson.dumps(self.departed(self.old))
            line = b'{"type":"' + as_type.encode() + b'","object":' + value + b"}\n"
            self._encoded[as_type] = line
        return line

    def departed(self, old: Entry) -> Object:
        """What a watcher is told of an object that left its selection: the last state it knew, at this revision."""
        metadata = {**old.object["metadata"], "resourceVersion": str(self.entry.revision)}
        return {**old.object, "metadata": metadata}


class Collection:
    """The objects of one resource, in the order of their keys."""

    __slots__ = ("entries", "keys")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.keys: list[str] = []

    def put(self, entry: Entry) -> Entry | None:
        old = self.entries.get(entry.key)
        if old is None:
            insort(self.keys, entry.key)
        self.entries[entry.key] = entry
        return old

    def remove(self, key: str) -> Entry | None:
        old = self.entries.pop(key, None)
        if old is not None:
            del self.keys[bisect_left(self.keys, key)]
        return old

    def select(self, namespace: str | None) -> list[Entry]:
        if namespace is None:
            return [self.entries[key] for key in self.keys]
        # "0" follows "/" in ASCII, so the two bounds hold exactly the keys of one namespace.
        low = bisect_left(self.keys, namespace + "/")
        high = bisect_left(self.keys, namespace + "0")
        return [self.entries[key] for key in self.keys[low:high]]
