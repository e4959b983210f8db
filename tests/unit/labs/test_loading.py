from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ambientlab import labs
from ambientlab.labs import loading
from ambientlab.labs.loading import LabError
from ambientlab.labs.model import Traffic

WEB = {"kind": "traffic", "url": "http://web/", "from": "test/curl", "outcomes": [{"name": "ok", "status": 200}]}


def a_definition(**changes: Any) -> dict[str, Any]:
    return {"title": "T", "summary": "S", "steps": [{"title": "one", "text": "do it"}], **changes}


def with_check(**changes: Any) -> dict[str, Any]:
    return a_definition(steps=[{"title": "one", "text": "t", "checks": [{**WEB, **changes}]}])


def parsed(document: Any) -> Any:
    return loading.parse(yaml.safe_dump(document), "toy/lab.yaml")


def test_a_small_lab() -> None:
    definition = parsed(with_check(headers={"a": "b"}))
    check = definition.steps[0].checks[0]
    assert isinstance(check, Traffic)
    assert (check.source, check.requests, check.parallel) == ("test/curl", 200, 1)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "toy/lab.yaml: the document: Expected `object`"),
        ({"title": "T", "summary": "S"}, "the document: Object missing required field `steps`"),
        (a_definition(steps=[]), "steps: a lab has at least one step"),
        (a_definition(extra=1), "the document: Object contains unknown field `extra`"),
        (a_definition(steps=[{"title": 1, "text": ""}]), "steps[0].title: Expected `str`, got `int`"),
        (a_definition(steps=[{"title": "", "text": "", "fails_before": True}]), "steps[0].fails_before: there are no"),
        (with_check(kind="magic"), "steps[0].checks[0].kind: Invalid value 'magic'"),
        (with_check(requests="many"), "steps[0].checks[0].requests: Expected `int`, got `str`"),
        (with_check(requests=0), "steps[0].checks[0].requests: requests and parallel are at least 1"),
        (with_check(url="http://web/[1-9]"), "steps[0].checks[0].url:"),
        (with_check(url="file:///etc/passwd"), "steps[0].checks[0].url:"),
        (with_check(**{"from": "curl"}), "steps[0].checks[0].from: wants NAMESPACE/POD"),
        (with_check(**{"from": "test/--all"}), "steps[0].checks[0].from: wants NAMESPACE/POD"),
        (with_check(outcomes=[]), "steps[0].checks[0].outcomes: at least one"),
        (with_check(outcomes=[{"name": "a", "share": 95}]), "steps[0].checks[0].outcomes: shares"),
        (with_check(outcomes=[{"name": "a", "share": 100}, {"name": "b"}]), "steps[0].checks[0].outcomes: shares"),
        (with_check(outcomes=[{"name": "a"}, {"name": "a"}]), "steps[0].checks[0].outcomes: names"),
        (with_check(outcomes=[{"name": "a", "body": "("}]), "steps[0].checks[0].outcomes[0].body: not a regular"),
        (with_check(parallel=2, outcomes=[{"name": "a", "body": "x"}]), "steps[0].checks[0].outcomes[0].body: bodies"),
        (with_check(requests=900, outcomes=[{"name": n} for n in "abcd"]), "steps[0].checks[0].requests: too many"),
        (
            a_definition(
                steps=[
                    {
                        "title": "",
                        "text": "",
                        "checks": [{"kind": "kubectl", "resource": "a", "expected": "b", "for": "love"}],
                    }
                ]
            ),
            "steps[0].checks[0].for: wants condition=NAME",
        ),
    ],
)
def test_mistakes_name_their_field(document: Any, message: str) -> None:
    with pytest.raises(LabError) as caught:
        parsed(document)
    assert message in str(caught.value)


def test_not_yaml() -> None:
    with pytest.raises(LabError, match=r"toy/lab\.yaml: not YAML:"):
        loading.parse("a: [", "toy/lab.yaml")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "a/b", ".."])
def test_assets_stay_in_their_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(a_definition(assets=[name])))
    with pytest.raises(LabError, match=r"assets\[0\]"):
        loading.load_directory("toy", tmp_path)


def test_a_missing_asset(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(a_definition(assets=["web.yaml"])))
    with pytest.raises(LabError, match=r"toy/web\.yaml"):
        loading.load_directory("toy", tmp_path)


def test_an_unknown_lab() -> None:
    with pytest.raises(LabError, match="traffic-management"):
        labs.load("nope")
