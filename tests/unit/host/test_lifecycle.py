"""What `down` says and deletes, and a mesh that is started by one command while another one stops it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from ambientlab.host import kubeconfig, lifecycle, process
from ambientlab.host.kubeconfig import Credentials
from ambientlab.host.paths import MeshPaths, mesh_paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeshPaths:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    found = mesh_paths("demo")
    found.create()
    return found


def acquired(paths: MeshPaths) -> int:
    lock = process.acquire(paths)
    assert lock is not None
    return lock


def test_nobody_starts_a_mesh_while_what_it_has_left_is_deleted(
    paths: MeshPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(acquired(paths))
    locks = []
    remove = shutil.rmtree

    def removing(place: Path, ignore_errors: bool) -> None:
        if place == paths.run:
            locks.append(process.acquire(paths))
        remove(place, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", removing)
    assert not lifecycle.down(paths, purge=False, kubeconfig_path=None)
    assert locks == [None]
    assert not paths.run.exists()
    os.close(acquired(paths))


def test_purging_leaves_nothing(paths: MeshPaths) -> None:
    os.close(acquired(paths))
    assert not lifecycle.down(paths, purge=True, kubeconfig_path=None)
    assert list(paths.state.parent.iterdir()) == []
    assert not lifecycle.down(paths, purge=True, kubeconfig_path=None)


def test_purging_leaves_nothing_that_a_pod_has_closed(paths: MeshPaths, tmp_path: Path) -> None:
    """As an ordinary user: to root nothing is closed."""
    closed = paths.state / "node" / "volumes" / "uid" / "closed"
    (closed / "below").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (closed / "link").symlink_to(tmp_path / "elsewhere")
    closed.chmod(0)
    lifecycle.down(paths, purge=True, kubeconfig_path=None)
    assert list(paths.state.parent.iterdir()) == []
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_a_state_that_stays_is_told(paths: MeshPaths) -> None:
    in_the_way = paths.state.with_name(f".demo.{os.getpid()}") / "something"
    in_the_way.mkdir(parents=True)
    with pytest.raises(lifecycle.LifecycleError, match=r"its state left behind: cannot delete .*/demo"):
        lifecycle.down(paths, purge=True, kubeconfig_path=None)
    assert paths.state.exists()


def test_a_mesh_of_which_nobody_is_recorded_is_not_touched(paths: MeshPaths) -> None:
    lock = acquired(paths)
    with pytest.raises(lifecycle.LifecycleError, match="is starting: wait a moment"):
        lifecycle.down(paths, purge=True, kubeconfig_path=None)
    os.close(lock)
    assert paths.run.exists()


@pytest.mark.parametrize("purged", [False, True])
def test_a_mesh_that_is_begun_while_another_ends_has_its_directories(
    paths: MeshPaths, monkeypatch: pytest.MonkeyPatch, purged: bool
) -> None:
    waiting, there = threading.Event(), []

    def look(_: MeshPaths) -> bool:
        waiting.set()
        return False

    monkeypatch.setattr(lifecycle, "_answers", look)
    monkeypatch.setattr(lifecycle, "_start", lambda paths, *_: there.append(paths.run.is_dir() and paths.bin.is_dir()))
    lock = acquired(paths)
    up = threading.Thread(
        target=lifecycle.up, args=(paths,), kwargs={"patience": 10, "report": print, "kubeconfig_path": None}
    )
    up.start()
    assert waiting.wait(10)
    for place in (paths.run, paths.state) if purged else (paths.run,):
        shutil.rmtree(place.rename(place.with_name("gone")))  # whole at once: `up` makes it anew meanwhile
    os.close(lock)
    up.join(20)
    assert there == [True]


@pytest.mark.parametrize("settings", ["", "[]", '{"port": "x"}', '{"port": 65536}', '{"port": -1}'])
def test_a_port_that_is_none_is_chosen_anew(paths: MeshPaths, settings: str) -> None:
    paths.settings.write_text(settings)
    with lifecycle.bind_api(paths) as listener:
        assert lifecycle.saved_port(paths) == listener.getsockname()[1]


def test_what_cannot_be_written_is_named(paths: MeshPaths) -> None:
    paths.daemon_log.mkdir()
    with pytest.raises(lifecycle.LifecycleError, match=f"cannot write {paths.daemon_log}: Is a directory"):
        lifecycle.up(paths, patience=1, report=print, kubeconfig_path=None)
    os.close(acquired(paths))


def test_a_context_that_stays_is_told(paths: MeshPaths, tmp_path: Path) -> None:
    config = tmp_path / "config"
    kubeconfig.merge(config, paths.context, Credentials("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY"))
    (tmp_path / f".config.{os.getpid()}").mkdir()  # where it would be written
    with pytest.raises(lifecycle.LifecycleError, match="mesh 'demo' is stopped, with its context left behind: cannot"):
        lifecycle.down(paths, purge=False, kubeconfig_path=config)
