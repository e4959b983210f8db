"""A report as JSON. docs/analyze.md describes it."""

from __future__ import annotations

from typing import Any

from ambientlab.cli.analyze.report import Found, Location, Report
from ambientlab.cli.explain.document import object_of, remedy_of, unseen_of

Json = dict[str, Any]

API_VERSION = "analysis.ambientlab.io/v1"
KIND = "Findings"


def document(report: Report) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "findings": [finding_of(found) for found in report.found],
        "summary": {
            "objects": report.objects,
            **{str(severity): count for severity, count in report.counts.items()},
        },
        "refused": [
            {"location": _location(one.location), "what": one.what, "message": one.message} for one in report.refused
        ],
        "unseen": [unseen_of(one) for one in report.unseen],
    }


def finding_of(found: Found) -> Json:
    finding, code = found.finding, found.finding.code
    return {
        "code": code.id,
        "name": code.name,
        "severity": str(code.severity),
        "title": code.title,
        "object": object_of(finding.object),
        "field": finding.field,
        "location": None if found.location is None else _location(found.location),
        "message": finding.message,
        "why": code.why,
        "remedies": [remedy_of(remedy) for remedy in finding.remedies],
        "documentation": code.documentation,
    }


def _location(location: Location) -> Json:
    return {"file": location.file, "line": location.line}
