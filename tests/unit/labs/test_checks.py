from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ambientlab.labs import checks
from ambientlab.labs.environment import Environment
from ambientlab.labs.model import Check


def a_check(**fields: Any) -> Any:
    return msgspec.convert(fields, Check)


def test_kubectl(playground: Environment) -> None:
    check = a_check(kind="kubectl", resource="thing/x", expected="a ready x", **{"for": "condition=Ready"}, within=1)
    verdict = checks.run(check, playground)
    assert (verdict.passed, verdict.observed) == (False, "error: timed out")
    (playground.directory / "condition=Ready").touch()
    verdict = checks.run(check, playground)
    assert (verdict.passed, verdict.observed) == (True, "so it is")
    assert verdict.expected == "a ready x"


@pytest.mark.parametrize(
    ("condition", "waited"),
    [
        ("condition=Ready", ["condition=Ready 60s", "create 5s"]),
        ("jsonpath={.spec.host}=x", ["jsonpath={.spec.host}=x 5s", "create 5s"]),
    ],
)
def test_an_object_that_nobody_makes_is_named_soon(playground: Environment, condition: str, waited: list[str]) -> None:
    kubectl = playground.directory.parent / "bin" / "kubectl"
    answer = """case $* in *--for=create*) echo timed out >&2;; *) echo 'Error (NotFound): no "x"' >&2;; esac; exit 1"""
    kubectl.write_text(f'#!/bin/bash\necho "$2 ${{!#}}" >> "$WORLD/asked"\n{answer}\n')
    verdict = checks.run(a_check(kind="kubectl", resource="thing/x", expected="an x", **{"for": condition}), playground)
    assert (verdict.passed, verdict.observed) == (False, 'Error (NotFound): no "x"')
    asked = (playground.directory / "asked").read_text().replace("--for=", "").replace("--timeout=", "")
    assert asked.splitlines() == waited


@pytest.mark.parametrize("patient", [True, False])
def test_log(playground: Environment, patient: bool) -> None:
    check = a_check(kind="log", target="ds/x", matches="a.*b", expected="a before b", within=0.3)
    (playground.directory / "log").write_text("b a\nx a b y\n")
    assert checks.run(check, playground).passed
    (playground.directory / "log").write_text("b a\n")
    kubectl = playground.directory.parent / "bin" / "kubectl"
    kubectl.write_text(kubectl.read_text().replace("sleep 30", "true" if not patient else "exec sleep 30"))
    verdict = checks.run(check, playground, patient=patient)
    assert (verdict.passed, verdict.expected, verdict.observed) == (False, "a before b", "not in the log")


def test_output(playground: Environment) -> None:
    check = a_check(kind="output", matches="^hello$", expected="a greeting")
    assert checks.run(check, playground, output="well\nhello\n").passed
    assert not checks.run(check, playground, output="hello there\n").passed


def test_no_kubectl(playground: Environment) -> None:
    nothing = Environment({"PATH": "/nonexistent"}, playground.directory)
    verdict = checks.run(a_check(kind="kubectl", resource="x", expected="no x", **{"for": "delete"}), nothing)
    assert (verdict.passed, verdict.observed) == (False, "kubectl is not on PATH")
