"""What an analysis comes to, before it is written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.mesh.analysis import Finding, Severity
from ambientlab.mesh.explain import Unseen


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a file; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Refused:
    """What of the files is no object that the API would take."""

    location: Location
    what: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, and where it is written if in a file of those given."""

    finding: Finding
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """`objects` is how many were looked at."""

    found: tuple[Found, ...]
    objects: int
    refused: tuple[Refused, ...] = ()
    unseen: tuple[Unseen, ...] = ()

    @property
    def counts(self) -> dict[Severity, int]:
        """Of every severity, the gravest first."""
        counted = Counter(found.finding.code.severity for found in self.found)
        return {severity: counted[severity] for severity in sorted(Severity, key=lambda s: -s.rank)}

    def reaches(self, threshold: Severity | None) -> bool:
        return threshold is not None and any(f.finding.code.severity.rank >= threshold.rank for f in self.found)


def plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def summary(counts: dict[Severity, int]) -> str:
    names: Sequence[tuple[Severity, str]] = (
        (Severity.ERROR, "error"),
        (Severity.WARNING, "warning"),
        (Severity.INFO, "note"),
    )
    said = [plural(counts[severity], name) for severity, name in names if counts[severity]]
    return ", ".join(said) or "nothing found"
