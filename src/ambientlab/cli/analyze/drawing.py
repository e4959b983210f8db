"""Findings written for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ambientlab.cli.analyze.report import Found, Report, plural, summary
from ambientlab.cli.layout import INDENT, NOT_SEEN, located, not_seen, page, sides, to_paste, wrapped
from ambientlab.mesh.analysis import Code, Finding, Severity
from ambientlab.mesh.explain import Remedy

_MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "i"}


def draw(report: Report) -> str:
    """Why is said once for each code, below the first finding of it, and what to type once for all whom it helps."""
    parts = []
    explained: set[Code] = set()
    offered: set[Remedy] = set()
    for found in report.found:
        parts.append([*_finding(found, why=found.finding.code not in explained), *_remedies(found.finding, offered)])
        explained.add(found.finding.code)
        offered |= set(found.finding.remedies)
    if report.unseen:
        parts.append([NOT_SEEN, *not_seen(report.unseen)])
    refused = f"; {len(report.refused)} of the files could not be read as objects" if report.refused else ""
    parts.append([f"{summary(report.counts)} in {plural(report.objects, 'object')}{refused}"])
    return page(parts)


def _finding(found: Found, *, why: bool) -> Iterator[str]:
    finding, code = found.finding, found.finding.code
    yield from sides(f"{_MARKS[code.severity]} ", str(finding.object), f"{code.severity} {code.id} {code.name}")
    if found.location is not None:
        yield f"{INDENT}{found.location}"
    yield from wrapped(located(finding.field, finding.message), INDENT)
    if why:
        yield from wrapped(code.why, f"{INDENT}│ ")
        yield f"{INDENT}│ {code.documentation}"


def _remedies(finding: Finding, offered: Collection[Remedy]) -> Iterator[str]:
    for remedy in finding.remedies:
        if remedy in offered:
            yield from wrapped(f"# {remedy.purpose}: as above", INDENT)
        else:
            yield from to_paste(remedy)
