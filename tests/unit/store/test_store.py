"""The store against a real SQLite file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambientlab.store.entry import Change
from ambientlab.store.log import Compacted, StoreError
from ambientlab.store.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "state.db", keep=10)
    opened.open()
    yield opened
    await opened.close()


def thing(name: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_a_write_is_readable_once_acknowledged_and_carries_its_revision(store: Store) -> None:
    entry = await store.put("/things", "default/a", thing("a"))
    assert entry.revision == store.revision == 1
    assert entry.object["metadata"]["resourceVersion"] == "1"
    assert store.get("/things", "default/a") is entry


async def test_only_latest_sees_what_is_not_durable_yet(store: Store) -> None:
    writing = asyncio.ensure_future(store.put("/things", "default/a", thing("a")))
    await asyncio.sleep(0)
    assert store.get("/things", "default/a") is None
    assert store.latest("/things", "default/a") is not None
    await writing
    deleting = asyncio.ensure_future(store.delete("/things", "default/a"))
    await asyncio.sleep(0)
    assert store.latest("/things", "default/a") is None
    assert store.get("/things", "default/a") is not None
    await deleting
    assert store.get("/things", "default/a") is None


async def test_lists_are_in_key_order_and_of_one_namespace(store: Store) -> None:
    for key in ("b/x", "a-b/x", "a/z", "a/b", "ab/x"):
        await store.put("/things", key, thing(key))
    assert [e.key for e in store.list("/things")] == ["a-b/x", "a/b", "a/z", "ab/x", "b/x"]
    assert [e.key for e in store.list("/things", "a")] == ["a/b", "a/z"]
    assert store.list("/others") == []


async def test_watchers_are_told_each_change_in_order_before_the_writer_goes_on(store: Store) -> None:
    seen: list[Change] = []
    store.watch("/things", seen.append)
    await store.put("/things", "default/a", thing("a", n=1))
    assert [c.type for c in seen] == ["ADDED"]
    await asyncio.gather(
        store.put("/things", "default/a", thing("a", n=2)), store.put("/things", "default/b", thing("b"))
    )
    await store.delete("/things", "default/a")
    assert [(c.type, c.entry.key, c.entry.revision) for c in seen] == [
        ("ADDED", "default/a", 1),
        ("MODIFIED", "default/a", 2),
        ("ADDED", "default/b", 3),
        ("DELETED", "default/a", 4),
    ]
    assert seen[1].old is not None
    assert seen[1].old.object["spec"] == {"n": 1}
    assert seen[3].entry.object["metadata"]["resourceVersion"] == "4"


async def test_a_watcher_that_fails_takes_nobody_with_it(store: Store) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    seen: list[Change] = []

    def broken(change: Change) -> None:
        raise RuntimeError("broken")

    store.watch("/things", broken)
    store.watch("/things", seen.append)
    await store.put("/things", "default/a", thing("a"))
    assert len(seen) == len(failures) == 1


async def test_an_unsubscribed_watcher_is_not_told(store: Store) -> None:
    seen: list[Change] = []
    stop = store.watch("/things", seen.append)
    stop()
    stop()
    await store.put("/things", "default/a", thing("a"))
    assert seen == []


async def test_history_is_told_from_any_revision_kept(store: Store) -> None:
    await store.put("/things", "default/a", thing("a", n=1))
    await store.put("/things", "default/a", thing("a", n=2))
    await store.put("/others", "default/x", thing("x"))
    await store.delete("/things", "default/a")
    changes = store.since("/things", 1)
    assert [(c.type, c.entry.revision) for c in changes] == [("MODIFIED", 2), ("DELETED", 4)]
    assert changes[0].old is not None
    assert changes[0].old.object["spec"] == {"n": 1}
    assert [e.object["spec"] for e in store.list_at("/things", 1)] == [{"n": 1}]
    assert [e.object["spec"] for e in store.list_at("/things", 3)] == [{"n": 2}]
    assert store.list_at("/things", 4) == []
    with pytest.raises(ValueError, match="ahead"):
        store.list_at("/things", 5)


async def test_compaction_forgets_history_but_never_an_object(store: Store) -> None:
    await store.put("/things", "default/still", thing("still"))
    for n in range(40):
        await store.put("/things", "default/busy", thing("busy", n=n))
    with pytest.raises(Compacted, match=r"too old resource version: 5 \(\d+\)"):
        store.since("/things", 5)
    with pytest.raises(Compacted):
        store.list_at("/things", 5)
    recent = store.revision - 5
    assert [e.key for e in store.list_at("/things", recent)] == ["default/busy", "default/still"]
    assert [c.entry.revision for c in store.since("/things", recent)] == list(range(recent + 1, store.revision + 1))


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "state.db")
    first.open()
    await first.put("/things", "default/a", thing("a"))
    await first.put("/things", "default/b", thing("b"))
    await first.delete("/things", "default/b")
    await first.close()
    second = Store(tmp_path / "state.db")
    second.open()
    assert [e.key for e in second.list("/things")] == ["default/a"]
    assert second.revision == 3
    assert [c.type for c in second.since("/things", 1)] == ["ADDED", "DELETED"]
    await second.close()


async def test_a_second_process_is_told_who_holds_the_store(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"in use by another process \(process \d+\): stop that one first"):
        Store(tmp_path / "state.db").open()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match=r"state\.db is damaged .*move it away"):
        Store(tmp_path / "state.db").open()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "absent" / "state.db").open()


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="has format 99"):
        Store(tmp_path / "state.db").open()


async def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(store: Store) -> None:
    await store.put("/things", "default/a", thing("a"))
    writer = store._log._writer
    assert writer is not None
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={pages + 1}")  # SQLite's own way to say the disk is full
    big = thing("b", blob="x" * 100_000)
    first = asyncio.ensure_future(store.put("/things", "default/b", big))
    second = asyncio.ensure_future(store.put("/things", "default/c", thing("c")))
    with pytest.raises(StoreError, match=r"disk holding .* is full"):
        await first
    with pytest.raises(StoreError):
        await second
    assert store.latest("/things", "default/b") is None
    assert store.revision == 1
    writer.execute("PRAGMA max_page_count=1000000")
    assert (await store.put("/things", "default/c", thing("c"))).revision == 2


WRITER = """
import asyncio, sys
from pathlib import Path
from ambientlab.store.store import Store

async def main():
    store = Store(Path(sys.argv[1]), keep=50)
    store.open()
    async def write(worker):
        n = 0
        while True:
            entry = await store.put("/things", f"default/{worker}-{n % 20}", {"metadata": {"name": "x"}, "n": n})
            sys.stdout.write(f"{entry.key} {entry.revision}\\n")
            sys.stdout.flush()
            n += 1
    await asyncio.gather(*(write(w) for w in range(4)))

asyncio.run(main())
"""


def write_until_killed(path: Path, lines: int) -> dict[str, int]:
    """Kill a writing process once it has acknowledged `lines` writes; every write it acknowledged."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged: dict[str, int] = {}
    for _ in range(lines):
        key, revision = process.stdout.readline().split()
        acknowledged[key] = int(revision)
    process.kill()
    for line in process.stdout.read().splitlines():
        if len(parts := line.split()) == 2:
            acknowledged[parts[0]] = max(int(parts[1]), acknowledged.get(parts[0], 0))
    process.stdout.close()
    process.wait()
    return acknowledged


@pytest.mark.parametrize("lines", [1, 37, 211])
async def test_kill_minus_9_loses_no_acknowledged_write(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "state.db"
    acknowledged = write_until_killed(path, lines)
    survivor = Store(path)
    survivor.open()
    for key, revision in acknowledged.items():
        entry = survivor.get("/things", key)
        assert entry is not None
        assert entry.revision >= revision
    assert survivor.revision >= max(acknowledged.values())
    await survivor.close()
