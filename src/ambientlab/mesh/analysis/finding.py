"""What an analysis finds: a code that keeps its meaning, the object, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from ambientlab.mesh.explain import Remedy
from ambientlab.mesh.index import MeshIndex, ObjectRef


class Severity(StrEnum):
    """In ascending order of `rank`."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding. `id` and what it stands for never change, so that programs can rely on it; `why` is what a
    person has to know to understand any finding of it, and `documentation` where there is more."""

    id: str
    name: str
    severity: Severity
    title: str
    why: str
    documentation: str


class Registry:
    """The codes of one origin, in the order in which they are added. `documented` tells where the page of an id is."""

    def __init__(self, prefix: str, documented: Callable[[str], str]) -> None:
        self._prefix, self._documented = prefix, documented
        self.codes: dict[str, Code] = {}

    def add(self, number: int, name: str, severity: Severity, title: str, why: str) -> Code:
        id_ = f"{self._prefix}{number:04}"
        assert id_ not in self.codes, f"{id_} is taken"
        self.codes[id_] = code = Code(id_, name, severity, title, why, self._documented(id_))
        return code


@dataclass(frozen=True, slots=True)
class Finding:
    """`field` is the path of what it is about, "" for the whole object; `remedies` are commands to paste."""

    code: Code
    object: ObjectRef
    message: str
    field: str = ""
    remedies: tuple[Remedy, ...] = ()


Analyser = Callable[[MeshIndex], Iterable[Finding]]
"""Looks at a settled index and changes nothing of it."""


def analyse(index: MeshIndex, analysers: Iterable[Analyser]) -> tuple[Finding, ...]:
    """All there is to find, each once: the gravest first, then by object."""
    found = dict.fromkeys(finding for analyser in analysers for finding in analyser(index))
    return tuple(sorted(found, key=lambda f: (-f.code.severity.rank, f.object, f.code.id, f.field, f.message)))
