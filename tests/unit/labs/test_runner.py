from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ambientlab.labs import checks, guide, loading, runner
from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Lab

TOY = """
title: A toy
summary: Nothing but files.
assets: [note.txt]
setup:
  manifests: [world.yaml]
  commands: [kubectl get nothing]
reset: [kubectl delete everything]
steps:
- title: Make the thing ready
  text: |
    Write a file whose
    name is the condition.
  fails_before: true
  commands:
  - touch condition=Ready
  - |
    cat note.txt
    echo done
  hints: [Think of touch.]
  checks:
  - {kind: kubectl, resource: thing/x, for: condition=Ready, expected: x is ready, within: 1}
  - {kind: output, matches: "^remember$", expected: the note}
- title: Send traffic
  text: Half and half.
  checks:
  - kind: traffic
    from: test/curl
    url: URL
    requests: 20
    outcomes: [{name: a, body: a}, {name: b, body: b}]
"""


@pytest.fixture
def toy(tmp_path: Path, serve_http: Callable[..., str]) -> Callable[..., Lab]:
    def load(**changes: str) -> Lab:
        text = TOY.replace("URL", serve_http((200, "a"), (200, "b")))
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        source = tmp_path / "lab"
        source.mkdir()
        (source / "lab.yaml").write_text(text)
        (source / "note.txt").write_text("remember\n")
        (source / "world.yaml").write_text("kind: World\n")
        return loading.load_directory("toy", source)

    return load


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_lab_from_beginning_to_end(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    assert runner.run(toy(), playground, plain_console)
    text = printed(plain_console)
    assert "── 1/2  Make the thing ready\nWrite a file whose name is the condition.\n\n$ touch" in text
    assert "$ touch condition=Ready\n$ cat note.txt\n> echo done\nremember\ndone\n✓ ok  x is ready" in text
    assert "✓ ok  a 50%, b 50%  → a 10, b 10 of 20 (p=1)" in text
    assert "2 of 2 steps verified" in text
    assert "✗" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert (playground.directory / "applied").read_text() == "kind: World\n"


def test_a_step_whose_checks_hold_already(
    toy: Callable[..., Lab], playground: Environment, plain_console: Console
) -> None:
    (playground.directory / "condition=Ready").touch()
    assert not runner.run(toy(), playground, plain_console)
    assert "✗ FAIL  nothing of this before the step  → it holds already: so it is" in printed(plain_console)
    assert "1 of 2 steps verified" in printed(plain_console)


def test_a_command_that_fails(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    assert not runner.run(toy(**{"cat note.txt": "cat nothing; false"}), playground, plain_console)
    assert "✗ FAIL  the note  → not printed" in printed(plain_console)


def test_the_exit_status_counts(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    assert not runner.run(toy(**{"echo done": "false"}), playground, plain_console)
    assert "✗ FAIL  `cat note.txt` succeeds  → exit status 1" in printed(plain_console)


def test_no_world_to_start_from(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    (playground.directory.parent / "bin" / "kubectl").write_text("#!/bin/sh\necho no cluster >&2; exit 1\n")
    assert not runner.run(toy(), playground, plain_console)
    assert "✗ setting up the lab: `kubectl apply -f -`: no cluster" in printed(plain_console)


def test_a_learner(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    lab = toy()
    with pytest.raises(CommandError, match="ambientlab lab start toy"):
        guide.show(lab, playground, plain_console)
    guide.start(lab, playground, plain_console)
    assert (playground.directory / "note.txt").read_text() == "remember\n"
    assert not guide.check(lab, playground, plain_console)
    guide.hint(lab, playground, plain_console)
    assert "Think of touch." in printed(plain_console)
    assert guide.solve(lab, playground, plain_console)
    assert "── 2/2  Send traffic" in printed(plain_console)
    assert guide.check(lab, playground, plain_console)
    assert printed(plain_console).endswith("The lab is done.\n")
    (playground.directory / "note.txt").write_text("mine")
    guide.reset(lab, playground, plain_console)
    assert (playground.directory / "note.txt").read_text() == "remember\n"
    guide.show(lab, playground, plain_console)
    assert printed(plain_console).count("── 1/2") == 2


def test_a_learner_is_led_back_to_the_same_place(
    toy: Callable[..., Lab], playground: Environment, plain_console: Console
) -> None:
    lab, there = toy(), replace(playground, flags=("--context", "my own"))
    with pytest.raises(CommandError, match="ambientlab lab start toy --context 'my own'"):
        guide.show(lab, there, plain_console)
    guide.start(lab, there, plain_console)
    assert not guide.check(lab, there, plain_console)
    for verb in ("check", "hint"):
        assert f"ambientlab lab {verb} toy --context 'my own'   (" in printed(plain_console)


def test_a_learner_sees_what_is_waited_for(toy: Callable[..., Lab], playground: Environment) -> None:
    lab = toy()
    terminal = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    guide.start(lab, playground, terminal)
    begun = len(printed(terminal))
    assert not guide.check(lab, playground, terminal)
    waiting, _, _ = printed(terminal)[begun:].partition("✗ FAIL")
    assert checks.describe(lab.steps[0].checks[0]) in waiting


def test_a_learner_comes_back(toy: Callable[..., Lab], playground: Environment, plain_console: Console) -> None:
    lab = toy()
    guide.start(lab, playground, plain_console)
    assert guide.solve(lab, playground, plain_console)
    (playground.directory / "note.txt").write_text("mine")
    guide.start(lab, playground, plain_console)
    assert (playground.directory / "note.txt").read_text() == "mine"
    assert printed(plain_console).count("── 2/2") == 2


def test_a_context_is_pinned_for_what_is_typed(playground: Environment) -> None:
    environment = Environment(playground.variables, playground.directory, "other")
    with environment.pinned() as pinned:
        assert pinned.context == ""
        kubeconfig = Path(pinned.variables["KUBECONFIG"])
        assert kubeconfig.stat().st_mode & 0o077 == 0
        assert kubeconfig.read_text() == "kubectl --context=other\n"
    assert not kubeconfig.exists()


def test_a_directory_that_cannot_be_written(
    toy: Callable[..., Lab], playground: Environment, plain_console: Console
) -> None:
    (playground.directory / "note.txt").symlink_to("missing/note.txt")
    assert not runner.run(toy(), playground, plain_console)
    assert "note.txt: No such file or directory" in printed(plain_console).replace("\n", "")
