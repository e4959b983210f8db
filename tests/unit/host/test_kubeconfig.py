"""Merging our context into a person's kubeconfig and taking it out again."""

from __future__ import annotations

import base64
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambientlab.host import kubeconfig
from ambientlab.host.kubeconfig import Credentials, KubeconfigError
from ambientlab.host.paths import mesh_paths

CREDENTIALS = Credentials("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY")

THEIRS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "prod", "cluster": {"server": "https://prod:6443", "x-unknown": 1}}],
    "users": [{"name": "me", "user": {"exec": {"command": "aws", "args": ["eks"]}}}],
    "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me", "namespace": "web"}}],
    "current-context": "prod",
    "extensions": [{"name": "x", "extension": {"a": 1}}],
}


def read(path: Path) -> dict[str, Any]:
    value = yaml.safe_load(path.read_text())
    assert isinstance(value, dict)
    return value


def test_a_new_file_is_private_and_holds_the_context(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    kubeconfig.merge(path, "ambientlab-x", CREDENTIALS)
    config = read(path)
    assert config["current-context"] == "ambientlab-x"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert base64.b64decode(config["users"][0]["user"]["client-key-data"]) == b"KEY"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path], "no draft and no lock is left"


def test_what_was_there_stays_through_merge_and_remove(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    kubeconfig.merge(path, "ambientlab-x", CREDENTIALS)
    kubeconfig.merge(path, "ambientlab-x", CREDENTIALS)
    assert [each["name"] for each in read(path)["contexts"]] == ["prod", "ambientlab-x"]
    kubeconfig.remove(path, "ambientlab-x")
    assert read(path) == {**THEIRS, "current-context": ""}


def test_removing_leaves_another_current_context_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    kubeconfig.remove(path, "ambientlab-x")
    assert read(path) == THEIRS


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(yaml.safe_dump(THEIRS))
    link = tmp_path / "config"
    link.symlink_to(real)
    kubeconfig.merge(link, "ambientlab-x", CREDENTIALS)
    assert link.is_symlink()
    assert read(real)["current-context"] == "ambientlab-x"


@pytest.mark.parametrize(
    ("content", "words"), [("a: [", "not YAML"), ("- 1", "not a kubeconfig"), ("users: 3", "not a kubeconfig")]
)
def test_a_broken_file_is_named_and_kept(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(KubeconfigError, match=words) as caught:
        kubeconfig.merge(path, "ambientlab-x", CREDENTIALS)
    assert str(path) in str(caught.value)
    assert path.read_text() == content
    assert not path.with_name("config.lock").exists()


@pytest.mark.parametrize("path", ["/dev/null", "/"])
def test_nothing_but_a_file_is_replaced(path: str) -> None:
    with pytest.raises(KubeconfigError, match=f"cannot write {path}: it is no file"):
        kubeconfig.verify(Path(path))


def test_which_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    assert kubeconfig.target() == second, "none exists: the last"
    second.touch()
    first.touch()
    assert kubeconfig.target() == first, "the first that exists"
    assert kubeconfig.target(str(tmp_path / "third")) == tmp_path / "third"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.target() == tmp_path / ".kube" / "config"


def test_what_a_mesh_has_for_itself_gets_no_other_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    own, mine = mesh_paths("one").kubeconfig, tmp_path / "mine"
    own.parent.mkdir(parents=True)
    for file in (own, mine):
        file.touch()
    monkeypatch.setenv("KUBECONFIG", str(own))
    assert kubeconfig.target() == kubeconfig.target(mesh="two") == tmp_path / ".kube" / "config"
    assert kubeconfig.target(mesh="one") == own, "which is for its context"
    monkeypatch.setenv("KUBECONFIG", f"{own}:{mine}")
    assert kubeconfig.target(mesh="two") == mine


def test_a_lock_that_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "config.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    kubeconfig.merge(tmp_path / "config", "ambientlab-x", CREDENTIALS)
    assert not lock.exists()


def test_one_of_several_takes_over_what_a_killed_process_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow one has looked at the old lock, and gets to act on it when another has taken it over and holds it."""
    path, lock = tmp_path / "config", tmp_path / "config.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    looked, held = threading.Event(), threading.Event()
    inside: list[str] = []

    def late(call: Callable[..., None]) -> Callable[..., None]:
        def wait(*arguments: Any, **options: Any) -> None:
            if threading.current_thread() is slow and not looked.is_set():
                looked.set()
                assert held.wait(10)
            call(*arguments, **options)

        return wait

    def change() -> None:
        with kubeconfig._locked(path):
            inside.append("slow")

    slow = threading.Thread(target=change)
    monkeypatch.setattr(fcntl, "flock", late(fcntl.flock))
    monkeypatch.setattr(Path, "unlink", late(Path.unlink))
    slow.start()
    assert looked.wait(10)
    with kubeconfig._locked(path):
        held.set()
        slow.join(0.2)
        assert (inside, slow.is_alive(), lock.exists()) == ([], True, True)
    slow.join(10)
    assert (inside, lock.exists()) == (["slow"], False)


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".kube").touch()
    with pytest.raises(KubeconfigError, match=r"cannot write .*: File exists\. Set KUBECONFIG"):
        kubeconfig.merge(tmp_path / ".kube" / "config", "ambientlab-x", CREDENTIALS)
