"""docs/explain.md says what the command says. AMBIENTLAB_REFRESH_GOLDENS=1 writes the drawings in it anew."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ambientlab.cli.explain.command import EXIT_UNKNOWN, EXIT_USAGE, explain
from ambientlab.cli.output import EXIT_FAILURE
from ambientlab.mesh.decide import Why
from ambientlab.mesh.explain import Cause, Place
from support import pages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explain.md"
GOLDENS = ROOT / "tests/golden/explain"
SHOWN = ("fifty_fifty", "split", "backends_missing", "came_close")
TYPES = {
    frozenset({"kind", "namespace", "name"}): "object",
    frozenset({"number", "name", "protocol"}): "port",
    frozenset({"fraction", "percent"}): "share",
    frozenset({"protocol", "address", "sourceIdentity", "targetIdentity"}): "hop",
    frozenset({"host", "port", "subset"}): "destination",
    frozenset({"object", "cause", "field", "message", "remedies"}): "finding",
    frozenset({"purpose", "commands"}): "remedy",
}
WHOLE = ("outcomes[].labels",)


def test_the_drawings_are_the_commands() -> None:
    pages.shows(PAGE, GOLDENS, SHOWN)


def test_every_cause_is_explained() -> None:
    told = pages.rows(PAGE, "Why something has no effect")
    assert {name for row in told for name in re.findall(r"^\| `(\w+)` ", row)} == set(Cause)


def test_every_option_and_exit_code_is_explained() -> None:
    table = "\n".join(pages.rows(PAGE, "Options"))
    for parameter in explain.params:
        assert any(re.search(rf"`{name}\b", table) for name in (*parameter.opts, parameter.name.upper())), (
            parameter.name
        )
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == [
        "0",
        *map(str, (EXIT_FAILURE, EXIT_USAGE, EXIT_UNKNOWN)),
    ]


def test_every_field_of_the_json_is_explained() -> None:
    goldens = [json.loads(golden.read_text()) for golden in GOLDENS.glob("*.json")]
    maybe_null = {"passages[].routing"}  # which the page says of it
    assert pages.fields(goldens, TYPES, WHOLE) | maybe_null == pages.told(PAGE)


SCHEMA = json.loads((ROOT / "docs/explain.schema.json").read_text())
jsonschema: Any = importlib.import_module("jsonschema")  # it comes without types


@pytest.mark.parametrize("golden", sorted(GOLDENS.glob("*.json")), ids=lambda path: path.stem)
def test_the_schema_describes_every_document(golden: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(golden.read_text()))


def test_the_schema_knows_every_word() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["properties"]
    assert SCHEMA["$defs"]["finding"]["properties"]["cause"]["enum"] == list(Cause)
    assert properties["applied"]["items"]["properties"]["place"]["enum"] == list(Place)
    assert properties["waypoint"]["properties"]["reason"]["enum"] == [why.name for why in Why]
