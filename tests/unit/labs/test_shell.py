from __future__ import annotations

import time
from pathlib import Path

import pytest

from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.shell import Shell


def ends(pid: str) -> bool:
    """Soon. A process that ended stays a zombie until its new parent looks."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
    return False


def test_output_and_status(playground: Environment) -> None:
    with Shell(playground) as shell:
        assert shell.run("echo out; echo err >&2", timeout=20).output == "out\nerr\n"
        assert shell.run("printf 'no newline'", timeout=20).output == "no newline"
        assert shell.run("(exit 3)", timeout=20).status == 3
        assert shell.run("true", timeout=20).status == 0


def test_one_shell_for_all_commands(playground: Environment) -> None:
    with Shell(playground) as shell:
        shell.run("x=5; mkdir sub; cd sub", timeout=20)
        assert shell.run("echo $x; pwd", timeout=20).output == f"5\n{playground.directory}/sub\n"


def test_it_is_bash_and_knows_here_documents(playground: Environment) -> None:
    with Shell(playground) as shell:
        done = shell.run("cat > file <<'EOF'\nname: '$x'\nEOF\nfor i in {1..3}; do echo $i; done; cat file", timeout=20)
    assert done.output == "1\n2\n3\nname: '$x'\n"


@pytest.mark.parametrize("command", ["echo 'open", "if true; then", "cat <<EOF\nnever", ")", "no-such-program-here"])
def test_a_mistake_ends_with_its_command(playground: Environment, command: str) -> None:
    with Shell(playground) as shell:
        shell.run(command, timeout=20)
        assert shell.run("echo fine", timeout=20).output == "fine\n"


def test_an_unknown_program(playground: Environment) -> None:
    with Shell(playground) as shell:
        done = shell.run("no-such-program-here", timeout=20)
    assert done.status == 127
    assert "no-such-program-here: command not found" in done.output


def test_commands_do_not_read_each_other(playground: Environment) -> None:
    with Shell(playground) as shell:
        assert shell.run("cat", timeout=20).output == ""
        assert shell.run("echo next", timeout=20).output == "next\n"


def test_a_command_that_does_not_end(playground: Environment) -> None:
    pid_file = playground.directory / "pid"
    with Shell(playground) as shell:
        done = shell.run("echo before; sleep 600 & echo $! > pid; wait", timeout=1)
        assert (done.status, done.output) == (124, "before\n")
        assert ends(pid_file.read_text().strip())
        assert shell.run("echo again", timeout=20).output == "again\n"


def test_a_command_that_leaves_the_shell(playground: Environment) -> None:
    with Shell(playground) as shell:
        assert shell.run("exit 7", timeout=20).status == 7
        assert shell.run("echo again", timeout=20).output == "again\n"


def test_output_comes_while_the_command_runs(playground: Environment) -> None:
    heard: list[str] = []

    def on_output(text: str) -> None:
        heard.append(text)
        (playground.directory / "go").touch()

    with Shell(playground) as shell:
        done = shell.run(
            "echo first; until [ -e go ]; do sleep 0.01; done; echo second", timeout=20, on_output=on_output
        )
    assert done.status == 0
    assert "".join(heard) == done.output == "first\nsecond\n"


def test_nothing_is_left_behind(playground: Environment) -> None:
    with Shell(playground) as shell:
        pid = shell.run("sleep 600 & echo $!", timeout=20).output.strip()
    assert ends(pid)


def test_no_directory(playground: Environment) -> None:
    missing = Environment(playground.variables, playground.directory / "missing")
    with Shell(missing) as shell, pytest.raises(CommandError, match="cannot run bash"):
        shell.run("true", timeout=20)
