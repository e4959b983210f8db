"""The command line without a mesh: what it offers, how it reads values, how it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambientlab.cli import shell
from ambientlab.cli.lab import Screen
from ambientlab.cli.layout import page
from ambientlab.cli.main import COMMANDS, cli
from ambientlab.cli.mesh import Seconds
from ambientlab.cli.output import table, talk
from ambientlab.host.paths import mesh_paths

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_every_command_can_be_imported_and_explains_itself(tmp_path: Path) -> None:
    # A mesh of whoever runs this must not be found: kubectl and istioctl would replace this very process.
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path)})
    for name in COMMANDS:
        done = runner.invoke(cli, [name, "--help"])
        if name in ("kubectl", "istioctl"):  # there --help is the program's own
            assert (done.exit_code, "is not running" in done.output) == (1, True), done.output
        else:
            assert done.exit_code == 0, done.output
            assert done.output.startswith("Usage: ")


def test_help_has_the_programs_name_however_it_was_started() -> None:
    with started("status", "--help") as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"Usage: ambientlab status ")


def test_the_next_command_of_a_lab_leads_to_the_same_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["lab", "show", "--context", "prod", "--kubeconfig", "mine"])
    assert "ambientlab lab start traffic-management --context prod --kubeconfig mine\n" in done.output


def test_a_shell_finds_its_programs_elsewhere_once_the_mesh_is_purged(tmp_path: Path) -> None:
    for place in ("mesh", "installed"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "ambientlab").write_text(f"#!/bin/sh\necho {place}\n")
        (tmp_path / place / "ambientlab").chmod(0o755)
    (tmp_path / "rc").write_text(shell._RC)
    variables = {
        "AMBIENTLAB_PATH": f"{tmp_path}/mesh",
        "PATH": f"{tmp_path}/installed:/usr/bin:/bin",
        "HOME": "/nowhere",
    }
    typed = f". {tmp_path}/rc\nambientlab\nrm -r {tmp_path}/mesh\nambientlab\n"
    done = subprocess.run(["bash"], input=typed, env=variables, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("mesh\ninstalled\n", "")


SERVING = """
import signal
from pathlib import Path
from ambientlab.cli.program import Program
from ambientlab.host.kubectl import Kubectl

program = Program()

@program.command()
def serve():
    with Kubectl(Path("kubeconfig")).proxy() as socket:
        print(socket, flush=True)
        signal.pause()

program(["serve"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_no_children(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("apiVersion: v1\nkind: Config\n")
    with subprocess.Popen([sys.executable, "-c", SERVING], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        socket = Path(process.stdout.readline().strip())
        assert socket.is_socket()
        [kubectl] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert not Path("/proc", kubectl).exists()
    assert not socket.parent.exists()


def test_an_interruption_ends_with_130(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifests")
    with (
        started("analyze", "--offline", "-f", str(tmp_path / "manifests")) as process,
        (tmp_path / "manifests").open("w"),  # comes back when the reader opens it as well
    ):
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT


def test_a_reader_that_goes_away_ends_with_141() -> None:
    with started("analyze", "--offline", "-f", "-", "--fail-on", "never") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        assert process.wait() == 128 + signal.SIGPIPE


def test_a_reader_of_istioctl_that_goes_away_ends_it_with_141(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dump")
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", "x", "authz", "check", "-f", str(tmp_path / "dump")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        (tmp_path / "dump").write_text("{}")
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a mesh `told`, on a machine whose PATH has no program at all."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    path = mesh_paths("told").daemon_log
    path.parent.mkdir(parents=True)
    return path


def test_a_reader_of_logs_that_goes_away_ends_them_with_141(log: Path) -> None:
    log.write_text("line\n" * 100_000)
    with started("logs", "--name", "told") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 128 + signal.SIGPIPE


def test_logs_follow_a_file_that_is_cut_short_or_replaced(log: Path) -> None:
    log.write_text("1\n2\n")
    with started("logs", "--name", "told", "--tail", "1", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"2\n"
        with log.open("a") as file:
            file.write("3\n")
        assert process.stdout.readline() == b"3\n"
        os.truncate(log, 0)
        log.write_text("4\n")
        assert process.stdout.readline() == b"4\n"
        log.rename(log.with_suffix(".log.1"))
        log.write_text("5, of the same length or longer\n")
        assert process.stdout.readline() == b"5, of the same length or longer\n"
        process.stdout.close()
        assert process.wait(20) == 128 + signal.SIGPIPE, "though nothing is written any more"


def test_a_log_that_cannot_be_read_is_named(log: Path) -> None:
    log.mkdir()
    done = CliRunner().invoke(cli, ["logs", "--name", "told"])
    assert (done.exit_code, done.stderr) == (1, f"Error: cannot read {log}: Is a directory\n")


def test_a_reader_of_a_lab_that_goes_away_is_told_of_as_any_other() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "w")
    with pytest.raises(BrokenPipeError):
        Screen(file=file).print("step 1")
    with suppress(BrokenPipeError):
        file.close()


@pytest.mark.parametrize(
    ("encoding", "title"), [("latin-1", "Istio Ambient ? Traffic"), ("utf-8", "Istio Ambient – Traffic")]
)
def test_what_an_encoding_has_no_signs_for_is_left_out(encoding: str, title: str) -> None:
    command = [sys.executable, "-m", "ambientlab.cli.main", "lab", "list"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True)
    assert title in done.stdout.decode(encoding)


def test_no_file_takes_the_place_of_a_stream_that_is_closed() -> None:
    code = """
import os
from ambientlab.cli.program import Program
Program("x", invoke_without_command=True, callback=lambda: os._exit(os.open("/", os.O_RDONLY)))()
"""
    done = subprocess.run(["sh", "-c", f'exec {sys.executable} -c "$0" <&- >&- 2>&-', code], check=False)
    assert done.returncode > 2


FULL = "Error: cannot write: No space left on device\n"
CHECK = "istioctl x authz check -f -"


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("main analyze --offline -f - <&-", 1, "Error: cannot read -: Bad file descriptor\n"),
        (f"{CHECK} <&-", 1, "Error: failed to get config dump from file -: open -: bad file descriptor\n"),
        ("istioctl analyze -L >&-", 0, ""),
        ("istioctl analyze -L >/dev/full", 1, FULL),
        ("istioctl --help >/dev/full", 1, FULL),
        ("main analyze --help >/dev/full", 1, FULL),
    ],
)
def test_streams_that_are_closed_or_full(typed: str, code: int, said: str) -> None:
    script = f"exec {sys.executable} -m ambientlab.cli.{typed}"
    done = subprocess.run(["sh", "-c", script], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("command", ["up", "down", "status", "logs"])
def test_a_file_that_is_not_for_this_user_is_named(command: str, tmp_path: Path) -> None:
    """What root cannot use either."""
    home = tmp_path / ("x" * 300)
    env = {**os.environ, "XDG_STATE_HOME": str(home), "KUBECONFIG": str(tmp_path / "config"), "AMBIENTLAB_NAME": "demo"}
    typed = [sys.executable, "-m", "ambientlab.cli.main", *command.split()]
    done = subprocess.run(typed, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    if command != "status":
        assert done.returncode == 1
        assert re.match(rf"Error: cannot (make|use) {home}\S*: File name too long", done.stderr)


def started(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ambientlab.cli.main", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert re.search(rf"`(ambientlab )?{name}\b", README), f"README.md does not name `{name}`"


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("1m30s", 90), ("250ms", 0.25), ("1h", 3600), ("7", 7)])
def test_durations_are_written_as_kubectl_takes_them(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "1 s", "-1s", "1m 30s", "s1"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Seconds().convert(text, None, None)


def test_no_terminal_obeys_what_objects_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert page([["a\x1b[2J", "b\tc"], ["\x9bd\r"]]) == "a\\x1b[2J\nb\tc\n\n\\x9bd\\x0d"
    talk("no pod \x1b]0;x\x07")
    assert capsys.readouterr().err == "no pod \\x1b]0;x\\x07\n"


def test_tables_have_kubectls_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table(["NAME", "AGE"], [["a-long-name", "1s"], ["b", ""]])
    assert capsys.readouterr().out == "NAME          AGE\na-long-name   1s\nb\n"
