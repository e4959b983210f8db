"""The SQLite file under the store: every version of every object since the last compaction.

    log(revision, collection, key, type, value)   one row per write, the value as JSON
    obj(collection, key, revision)                which of them is the current one
    meta(name, value)                             the revision counter, and how far the log is compacted

A transaction holds a batch of writes with the counter, in WAL mode with synchronous=FULL: what was committed survives
kill -9 and power loss. All calls block; `Store` makes the writing ones in its own thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from ambientlab.store.entry import Change, Entry

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log(
  revision INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS log_by_key ON log(collection, key, revision);
CREATE TABLE IF NOT EXISTS obj(
  collection TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY(collection, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES('revision', 0), ('compacted', 0);
"""
# A key keeps its newest version at or before the new bound, so that a list at any later revision is whole;
# a deletion there needs no witness.
_COMPACT = """
DELETE FROM log WHERE revision <= :bound AND (type = 'DELETED' OR EXISTS(
  SELECT 1 FROM log AS newer WHERE newer.collection = log.collection AND newer.key = log.key
  AND newer.revision > log.revision AND newer.revision <= :bound))
"""


class StoreError(Exception):
    """The store cannot do what was asked; the message says why and what to do."""


class Compacted(Exception):
    """The revision asked for is older than the history kept."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {requested} ({oldest})")
        self.requested = requested
        self.oldest = oldest


def _entry(collection: str, key: str, revision: int, value: bytes) -> Entry:
    return Entry(collection, key, revision, orjson.loads(value), value)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as one line each for the person who runs this."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            text = f"the disk holding {path} is full: free some space"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            text = f"{path} cannot be written ({error}): check the permissions of the file and its directory"
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            text = f"{path} is damaged ({error}): move it away to start with an empty cluster"
        elif code == sqlite3.SQLITE_IOERR:
            text = f"{path} cannot be read or written ({error}): check the disk and its free space"
        else:
            text = f"{path}: {error}"
        raise StoreError(text) from error


class Log:
    """One open file. `open` takes the lock; only one process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.revision = 0
        self.compacted = 0
        self._lock = -1
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def open(self) -> Iterable[Entry]:
        """Read every current object. Raises `StoreError`."""
        self._take_lock()
        try:
            with _explained(self.path):
                return self._load()
        except StoreError:
            self.close()
            raise

    def _take_lock(self) -> None:
        path = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{path.parent} cannot be written ({error.strerror}): check its permissions and free space"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._lock, 32).decode(errors="replace").strip()
            os.close(self._lock)
            self._lock = -1
            who = f" (process {holder})" if holder.isdigit() else ""
            raise StoreError(f"{self.path} is in use by another process{who}: stop that one first") from error
        with suppress(OSError):  # the number is a courtesy to whoever finds the lock taken
            os.ftruncate(self._lock, 0)
            os.write(self._lock, str(os.getpid()).encode())

    def _load(self) -> list[Entry]:
        with suppress(FileExistsError):  # SQLite would make it readable by others
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._writer = writer = self._connect()
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise StoreError(
                f"{self.path} has format {version}, not {FORMAT}: move it away, or use the version it is from"
            )
        if writer.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise StoreError(f"{self.path} is on a file system without write-ahead logging: use a local disk")
        writer.execute("PRAGMA synchronous=FULL")
        writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT")
        self._reader = self._connect()
        meta = dict(writer.execute("SELECT name, value FROM meta"))
        self.revision, self.compacted = meta["revision"], meta["compacted"]
        rows = writer.execute(
            "SELECT obj.collection, obj.key, obj.revision, log.value FROM obj LEFT JOIN log USING(revision)"
        )
        try:
            return [
                Entry(collection, key, revision, orjson.loads(value), value)
                for collection, key, revision, value in rows
            ]
        except (orjson.JSONDecodeError, TypeError) as error:
            raise StoreError(
                f"{self.path} is damaged (an object cannot be read): move it away to start with an empty cluster"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)

    def commit(self, changes: Sequence[Change], keep: int) -> int:
        """Make a batch durable; returns the bound of compaction, moved up if more than twice `keep` is kept."""
        writer = self._writer
        assert writer is not None
        revision = changes[-1].entry.revision
        compacted = self.compacted
        with _explained(self.path):
            writer.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    entry = change.entry
                    writer.execute(
                        "INSERT INTO log VALUES(?,?,?,?,?)",
                        (entry.revision, entry.collection, entry.key, change.type, entry.encoded),
                    )
                    if change.type == "DELETED":
                        writer.execute("DELETE FROM obj WHERE collection=? AND key=?", (entry.collection, entry.key))
                    else:
                        writer.execute(
                            "INSERT OR REPLACE INTO obj VALUES(?,?,?)", (entry.collection, entry.key, entry.revision)
                        )
                writer.execute("UPDATE meta SET value=? WHERE name='revision'", (revision,))
                if revision - compacted > 2 * keep:
                    compacted = revision - keep
                    writer.execute(_COMPACT, {"bound": compacted})
                    writer.execute("UPDATE meta SET value=? WHERE name='compacted'", (compacted,))
                writer.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    writer.execute("ROLLBACK")
                raise
        self.revision, self.compacted = revision, compacted
        return compacted

    def since(self, collection: str, revision: int, until: int) -> list[Change]:
        """The changes in (revision, until], oldest first. Raises `Compacted`."""
        with self._reading(revision) as reader:
            rows = reader.execute(
                "SELECT revision, key, type, value FROM log WHERE revision > ? AND revision <= ? AND collection = ?"
                " ORDER BY revision",
                (revision, until, collection),
            ).fetchall()
            changes = []
            for at, key, kind, value in rows:
                entry = _entry(collection, key, at, value)
                changes.append(Change(kind, entry, self._before(reader, entry) if kind != "ADDED" else None))
            return changes

    def at(self, collection: str, revision: int) -> list[Entry]:
        """Every object of a collection as of a revision, in the order of keys. Raises `Compacted`."""
        with self._reading(revision) as reader:
            rows = reader.execute(
                "SELECT key, max(revision), type, value FROM log WHERE collection = ? AND revision <= ?"
                " GROUP BY key ORDER BY key",
                (collection, revision),
            ).fetchall()
        return [
            Entry(collection, key, at, orjson.loads(value), value) for key, at, kind, value in rows if kind != "DELETED"
        ]

    @staticmethod
    def _before(reader: sqlite3.Connection, entry: Entry) -> Entry | None:
        row = reader.execute(
            "SELECT revision, value FROM log WHERE collection=? AND key=? AND revision<? AND type<>'DELETED'"
            " ORDER BY revision DESC LIMIT 1",
            (entry.collection, entry.key, entry.revision),
        ).fetchone()
        return _entry(entry.collection, entry.key, *row) if row else None

    @contextmanager
    def _reading(self, revision: int) -> Iterator[sqlite3.Connection]:
        """One snapshot: a compaction that commits meanwhile must not thin out what is being read."""
        reader = self._reader
        assert reader is not None
        with _explained(self.path):
            reader.execute("BEGIN")
            try:
                oldest = reader.execute("SELECT value FROM meta WHERE name='compacted'").fetchone()[0]
                if revision < oldest:
                    raise Compacted(revision, oldest)
                yield reader
            finally:
                reader.execute("COMMIT")

    def close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                with suppress(sqlite3.Error):  # a damaged file may refuse its last checkpoint; there is no more to do
                    connection.close()
        self._reader = self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
