"""What SARIF 2.1.0 requires of the parts of a log that are used here (OASIS, sections named)."""

from __future__ import annotations

import importlib
from typing import Any

jsonschema: Any = importlib.import_module("jsonschema")  # it comes without types


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties, "additionalProperties": False}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT = {"type": "string", "minLength": 1}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}  # 3.27.10
_MESSAGE = _object("text", text=_TEXT)  # 3.11.8, 3.12
_LOCATION = _object(  # 3.28
    "",
    physicalLocation=_object(  # 3.29
        "artifactLocation",
        artifactLocation=_object("uri", uri={"type": "string", "format": "uri-reference", "pattern": "^[^ ]+$"}),
        region=_object("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations=_list(_object("", name=_TEXT, fullyQualifiedName=_TEXT, kind=_TEXT)),  # 3.33
)
_RULE = _object(  # 3.49
    "id",
    id=_TEXT,
    name=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_MESSAGE,
    helpUri={"type": "string", "pattern": "^https?://"},
    defaultConfiguration=_object("", level=_LEVEL),
)
_RESULT = _object(  # 3.27
    "message",
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=_LEVEL,
    message=_MESSAGE,
    locations=_list(_LOCATION),
    partialFingerprints={"type": "object", "additionalProperties": {"type": "string"}},
)
_NOTIFICATION = _object("message", message=_MESSAGE, level=_LEVEL, locations=_list(_LOCATION))  # 3.58
_RUN = _object(  # 3.14
    "tool",
    tool=_object("driver", driver=_object("name", name=_TEXT, version=_TEXT, rules=_list(_RULE))),  # 3.18, 3.19
    invocations=_list(  # 3.20
        _object(
            "executionSuccessful",
            executionSuccessful={"type": "boolean"},
            toolExecutionNotifications=_list(_NOTIFICATION),
        )
    ),
    results=_list(_RESULT),
)
_LOG = _object(  # 3.13
    "version runs",
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs=_list(_RUN),
)


def check(log: Any) -> None:
    """Raises what is wrong with it."""
    jsonschema.Draft202012Validator(_LOG).validate(log)
    for run in log["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)  # 3.19.23: unique
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]  # 3.27.6
