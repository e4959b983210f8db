"""Every code has an example that gives it and one that does not, laid over the world `hello`: findings/ID.bad.yaml and
findings/ID.good.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambientlab.mesh.analysis import ANALYSERS, Finding, analyse
from support.decisions import case, indexed, objects_in, world

HERE = Path(__file__).parent / "findings"
IDS = sorted({path.name.partition(".")[0] for path in HERE.glob("*.yaml")})
CASES = sorted(path.name.removesuffix(".in.yaml") for path in HERE.parent.glob("cases/*.in.yaml"))


def found(text: str = "") -> tuple[Finding, ...]:
    return analyse(indexed(*world(), *objects_in(text)), ANALYSERS)


def test_nothing_is_wrong_with_the_world() -> None:
    assert found() == ()


@pytest.mark.parametrize("id_", IDS)
def test_the_bad_example_has_the_code_and_the_good_one_has_none(id_: str) -> None:
    bad = found((HERE / f"{id_}.bad.yaml").read_text())
    assert [finding.code.id for finding in bad] == [id_]
    assert found((HERE / f"{id_}.good.yaml").read_text()) == ()


@pytest.mark.parametrize("name", CASES)
def test_whatever_there_is_can_be_analysed(name: str) -> None:
    for finding in found(case(name)):
        assert finding.message
        assert finding.remedies, finding
        assert all(remedy.commands for remedy in finding.remedies)
