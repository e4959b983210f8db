"""Which routes match a request, and by which of their conditions those that do not.

Every condition is Envoy's, as `mesh.xds.routes` asks for it: strings compare byte by byte, regular expressions are RE2
and match the whole value, one of several headers of a name is enough (`envoy.reloadable_features.
match_headers_individually`), the first of several query parameters counts, and nothing is decoded
(source/common/http/header_utility.cc, source/common/router/config_utility.cc).
"""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab import re2
from ambientlab.mesh.decide import paths
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.ir import Match, Route, RouteTable, StringMatch

_VERBS = {
    "exact": ("is", "is not"),
    "prefix": ("starts with", "does not start with"),
    "path-prefix": ("is below", "is not below"),
    "regex": ("matches", "does not match"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a route, held against a request.

    `subject` is what it is about ("path", "header end-user", "query parameter q"), `found` what the request has of it,
    None if nothing; several headers are joined by commas. An `inverted` one asks for the opposite. `error` is why it
    cannot be told.
    """

    subject: str
    wanted: StringMatch
    found: str | None
    inverted: bool
    holds: bool
    error: str = ""

    def __str__(self) -> str:
        """How it came out, in words: `path /b is not below /a`."""
        if self.error:
            return f"{self.subject}: {self.error}"
        if self.found is None or self.wanted.kind == "present":
            return f"there is {'no ' if self.found is None else ''}{self.subject}"
        verbs = _VERBS[self.wanted.kind]
        verb = verbs[not (self.holds ^ self.inverted)]
        return f"{self.subject} {self.found} {verb} {self.wanted.value or 'empty'}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route of a table at its place, held against a request. A route without conditions matches everything."""

    index: int
    route: Route
    checks: tuple[Check, ...]

    @property
    def matches(self) -> bool:
        return all(check.holds for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.holds)


def candidates(table: RouteTable, request: Request) -> tuple[Candidate, ...]:
    """All routes of a table, in the order they are tried: the first that matches decides."""
    return tuple(Candidate(i, route, checks(route.match, request)) for i, route in enumerate(table.routes))


def checks(match: Match, request: Request) -> tuple[Check, ...]:
    result = []
    if match.path is not None and not (match.path.kind in ("prefix", "path-prefix") and match.path.value in ("", "/")):
        result.append(_check("path", match.path, paths.split(request.path)[:1]))
    for subject, wanted in (("method", match.method), ("authority", match.authority), ("scheme", match.scheme)):
        if wanted is not None:
            result.append(_check(subject, wanted, request.values(f":{subject}")))
    result += [_check(f"header {name}", wanted, request.values(name)) for name, wanted in match.headers]
    result += [_check(f"header {name}", value, request.values(name), True) for name, value in match.without_headers]
    parameters = query_parameters(request.path)
    for name, wanted in match.query:
        found = (parameters[name],) if name in parameters else ()
        result.append(_check(f"query parameter {name}", wanted, found))
    return tuple(result)


def query_parameters(path: str) -> dict[str, str]:
    """The first value of each, as it is written."""
    result: dict[str, str] = {}
    for part in paths.split(path)[1][1:].split("&"):
        name, _, value = part.partition("=")
        result.setdefault(name, value)
    return result


def _check(subject: str, wanted: StringMatch, values: tuple[str, ...], inverted: bool = False) -> Check:
    """An unwanted header that is missing counts as an empty one, unless any value at all is unwanted."""
    compared = values if values or not inverted or wanted.kind == "present" else ("",)
    result, error = False, ""
    try:
        result = any(holds(wanted, value) for value in compared) != inverted
    except re2.ExpressionError as why:
        error = str(why)
    return Check(subject, wanted, ",".join(values) if values else None, inverted, result, error)


def holds(wanted: StringMatch, found: str) -> bool:
    """Raises `re2.ExpressionError`. The case of a regular expression's letters counts always."""
    if wanted.kind == "present":
        return True
    if wanted.kind == "regex":
        return re2.fullmatch(wanted.value, found)
    value = wanted.value
    if wanted.ignore_case:
        value, found = value.lower(), found.lower()
    if wanted.kind == "exact":
        return found == value
    if wanted.kind == "prefix":
        return found.startswith(value)
    return value == "/" or found == value or found.startswith(value + "/")
