"""A run in a directory of its own leaves nothing, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ambientlab.host import isolated, lifecycle
from ambientlab.host.paths import MeshPaths, mesh_paths

RUN = """
import signal
from ambientlab.host import isolated
with isolated.directory() as root:
    print(root, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_ended_tidies_up(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        root = Path(process.stdout.readline().strip())
        assert root.is_dir()
        process.send_signal(number)
        assert process.wait(20) == (-number if number == signal.SIGINT else 128 + number)
    assert not root.exists()


def test_a_run_goes_on_where_a_closed_terminal_is_no_reason_to_end() -> None:
    with subprocess.Popen(["nohup", sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        root = Path(process.stdout.readline().strip())
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not root.exists()


@pytest.mark.parametrize("length", [48, 49, 200])
def test_sockets_have_a_place_wherever_temporary_files_are(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        place = Path(short, "x" * (length - len(short) - 1))
        place.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        with isolated.directory() as root:
            assert (root.parent == place) is (length <= 48)
            mesh_paths("ambientlab").create()


def test_a_mesh_that_does_not_stop_keeps_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, roots = [], []

    def run() -> None:
        with isolated.directory() as root:
            roots.append(root)
            for name in ("one", "two"):
                mesh_paths(name).create()
                mesh_paths(name).settings.write_text("{}")

    def down(paths: MeshPaths, **_: object) -> bool:
        stopped.append(paths.name)
        raise lifecycle.LifecycleError(f"mesh {paths.name!r} does not stop")

    monkeypatch.setattr(lifecycle, "down", down)
    with pytest.raises(lifecycle.LifecycleError):
        run()
    assert sorted(stopped) == ["one", "two"]
    assert not roots[0].exists()
