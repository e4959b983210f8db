"""A report as SARIF 2.1.0 (OASIS), which code review takes up: its lines, and levels error, warning and note."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from ambientlab import __version__
from ambientlab.cli.analyze.report import Found, Location, Report
from ambientlab.mesh.analysis import Code, Severity

Json = dict[str, Any]

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def document(report: Report) -> Json:
    rules = list(dict.fromkeys(found.finding.code for found in report.found))
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {"name": "ambientlab", "version": __version__, "rules": [_rule(code) for code in rules]}
                },
                "invocations": [
                    {"executionSuccessful": not report.refused, "toolExecutionNotifications": _notifications(report)}
                ],
                "results": [_result(found, rules.index(found.finding.code)) for found in report.found],
            }
        ],
    }


def _rule(code: Code) -> Json:
    rule: Json = {
        "id": code.id,
        "name": code.name,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.why},
        "help": {"text": f"{code.why} See {code.documentation}."},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }
    # it must be absolute
    return rule | ({"helpUri": code.documentation} if "://" in code.documentation else {})


def _result(found: Found, rule: int) -> Json:
    finding = found.finding
    ref = finding.object
    location: Json = {"logicalLocations": [{"name": ref.name, "fullyQualifiedName": str(ref), "kind": "resource"}]}
    if found.location is not None:
        location["physicalLocation"] = _physical(found.location)
    lines = [f"{ref}: {finding.message}"]
    for remedy in finding.remedies:
        lines += ["", f"# {remedy.purpose}", *remedy.commands]
    return {
        "ruleId": finding.code.id,
        "ruleIndex": rule,
        "level": _LEVELS[finding.code.severity],
        "message": {"text": "\n".join(lines)},
        "locations": [location],
        # the same finding, whichever line it moves to
        "partialFingerprints": {"finding/v1": f"{finding.code.id} {ref} {finding.field}"},
    }


def _notifications(report: Report) -> list[Json]:
    refused: list[Json] = [
        {
            "level": "error",
            "message": {"text": f"{one.what}: {one.message}" if one.what else one.message},
            "locations": [{"physicalLocation": _physical(one.location)}],
        }
        for one in report.refused
    ]
    unseen = [{"level": "note", "message": {"text": f"{one.what}: {one.why}"}} for one in report.unseen]
    return [*refused, *unseen]


def _physical(location: Location) -> Json:
    path = Path(location.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {"artifactLocation": {"uri": uri}, "region": {"startLine": location.line}}
