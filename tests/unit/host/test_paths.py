"""Where a mesh's files are, and what is refused."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from ambientlab.host import doctor, kubeconfig, process
from ambientlab.host.paths import MeshPaths, PathError, known_meshes, mesh_paths


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def test_directories_are_private(home: Path) -> None:
    paths = mesh_paths("demo")
    paths.create()
    assert paths.state == home / "state" / "ambientlab" / "demo"
    assert paths.run == home / "run" / "ambientlab" / "demo"
    for directory in (paths.state, paths.pki, paths.run):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert paths.context == "ambientlab-demo"


def test_without_a_runtime_directory_sockets_go_where_temporary_files_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(home))
    assert mesh_paths("demo").run == home / f"ambientlab-{os.geteuid()}" / "demo"


@pytest.mark.parametrize("place", ["", "here", "/nowhere"])
def test_temporary_files_have_a_place_of_which_all_processes_know(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (home / "here").mkdir()
    monkeypatch.chdir(home)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", place)
    assert mesh_paths("demo").run == Path(f"/tmp/ambientlab-{os.geteuid()}/demo")


def test_a_user_without_a_home_is_told_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert mesh_paths("demo").state == Path("/.local/state/ambientlab/demo")
    assert kubeconfig.target() == Path("/.kube/config")


def test_what_cannot_be_looked_into_is_no_mesh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As directories of other users, which root can look into as well: such a name is for nobody."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ("x" * 300)))
    paths = mesh_paths("demo")
    assert not process.locked(paths)
    assert not list(filter(None, [process.running(paths), *known_meshes()]))
    assert [finding.ok for finding in doctor._storage()] == [True, True]
    with pytest.raises(PathError, match="File name too long"):
        paths.create()
    with pytest.raises(kubeconfig.KubeconfigError, match=r"cannot read .*: File name too long\. Set KUBECONFIG"):
        kubeconfig.verify(home / ("x" * 300))


def test_nobody_else_can_put_something_in_the_place_of_sockets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everybody may write, somebody may have made the directory above first."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(home))
    paths = mesh_paths("demo")
    paths.run.parent.mkdir()
    paths.run.parent.chmod(0o777)
    paths.create()
    assert stat.S_IMODE(paths.run.parent.stat().st_mode) == 0o700
    paths.run.rmdir()
    paths.run.parent.rename(home / "elsewhere")
    paths.run.parent.symlink_to(home / "elsewhere")
    with pytest.raises(PathError, match=f"{paths.run.parent} is not a directory of this user"):
        paths.create()


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a-", "x" * 41, "a b", "a\n"])
def test_names_that_are_no_path_segment_are_refused(name: str) -> None:
    with pytest.raises(PathError, match="mesh name"):
        mesh_paths(name)


def test_a_place_that_is_a_file_is_named(home: Path) -> None:
    (home / "state").write_text("")
    with pytest.raises(PathError, match="XDG_STATE_HOME"):
        mesh_paths("demo").create()


def test_a_place_that_is_too_deep_for_sockets_is_named(home: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        longest = Path(place) / ("x" * (107 - len(f"{place}//xds/xds.sock")))
        MeshPaths("demo", home / "state", longest).create()
        with pytest.raises(PathError, match=r"is 1 bytes too long for a socket in it\. Name .* XDG_RUNTIME_DIR"):
            MeshPaths("demo", home / "state", longest.with_name(f"{longest.name}x")).create()


def test_a_directory_open_to_others_is_closed() -> None:
    paths = mesh_paths("demo")
    paths.create()
    os.chmod(paths.state, 0o755)
    paths.create()
    assert stat.S_IMODE(paths.state.stat().st_mode) == 0o700


def test_known_meshes_are_those_with_settings() -> None:
    assert known_meshes() == []
    for name in ("one", "two"):
        mesh_paths(name).create()
    mesh_paths("one").settings.write_text("{}")
    assert known_meshes() == ["one"]
