"""docs/plan.md says what the command says. AMBIENTLAB_REFRESH_GOLDENS=1 writes the plans in it anew."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ambientlab.cli.output import EXIT_FAILURE
from ambientlab.cli.plan.command import plan
from ambientlab.cli.plan.delete import delete
from ambientlab.cli.plan.report import EXIT_CHANGES, EXIT_FAILED, EXIT_SAME
from ambientlab.mesh.plan import Aspect, Fate
from support import pages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/plan.md"
GOLDENS = ROOT / "tests/golden/plan"
SHOWN = ("in_vain", "waypoint", "fault", "policies", "deleted")
TYPES = {
    frozenset({"kind", "namespace", "name"}),
    frozenset({"fraction", "percent"}),
    frozenset({"request", "token", "matches"}),
    frozenset({"request", "token", "matches", "before", "after"}),
}
"""Fields of the types that the page describes beside the document."""
WHOLE = ("warnings[]", "unseen[]")
SCHEMA = json.loads((ROOT / "docs/plan.schema.json").read_text())
jsonschema: Any = importlib.import_module("jsonschema")  # it comes without types


def test_the_plans_are_the_commands() -> None:
    pages.shows(PAGE, GOLDENS, SHOWN)


def test_every_aspect_is_explained() -> None:
    first = [row.split(" | ")[0] for row in pages.rows(PAGE, "How to read it")]
    assert {name for cell in first for name in re.findall(r"`([^`]+)`", cell)} == set(Aspect)


def test_every_option_and_exit_code_is_explained() -> None:
    table = "\n".join(pages.rows(PAGE, "Options"))
    for parameter in (*plan.params, *(one for one in delete.params if one.param_type_name == "option")):
        assert any(re.search(rf"`{name}\b", table) for name in parameter.opts), parameter.name
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2"]
    assert (EXIT_SAME, EXIT_FAILED, EXIT_FAILURE, EXIT_CHANGES) == (0, 1, 1, 2)


def test_every_field_of_the_json_is_explained() -> None:
    goldens = [json.loads(golden.read_text()) for golden in GOLDENS.glob("*.json")]
    found = pages.fields(goldens, TYPES, WHOLE)
    told = pages.told(PAGE)
    # lists that are empty in every golden
    empty = {"objects[].warnings[]", "notPruned[]", "unseen[]"}
    assert found - told == set()
    assert told - found == empty


@pytest.mark.parametrize("golden", sorted(GOLDENS.glob("*.json")), ids=lambda path: path.stem)
def test_the_schema_describes_every_document(golden: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(golden.read_text()))


def test_the_schema_knows_every_word() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    effect = SCHEMA["properties"]["effects"]["items"]["properties"]
    assert effect["fate"]["enum"] == list(Fate)
    assert effect["differences"]["items"]["properties"]["aspect"]["enum"] == list(Aspect)
