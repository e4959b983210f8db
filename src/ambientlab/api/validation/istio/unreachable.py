"""Rules of a VirtualService that no request reaches, as Istio's webhook and analysers tell of them.

Of HTTP, TCP and TLS rules alike: a rule behind one that matches everything, a match that a former rule has already,
and, of HTTP alone, a path prefix that a former rule's prefix covers (analyzeUnreachableHTTPRules and its likes in
istio/istio pkg/config/validation/validation.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object


@dataclass(frozen=True, slots=True)
class UnreachableRule:
    """`rule` is its quoted name, or `#` and its index."""

    rule: str
    reason: str

    def __str__(self) -> str:
        return f"virtualService rule {self.rule} not used ({self.reason})"


@dataclass(frozen=True, slots=True)
class IneffectiveMatch:
    """`former` is the rule that has requests of this match already."""

    rule: str
    match: str
    former: str

    def __str__(self) -> str:
        overlap = f"duplicate/overlapping match in rule {self.former}"
        return f"virtualService rule {self.rule} match {self.match} is not used ({overlap})"


Unused = UnreachableRule | IneffectiveMatch


def unused(spec: Object) -> Iterator[Unused]:
    """Of the spec of a VirtualService."""
    for kind in ("http", "tcp", "tls"):
        yield from _unused(spec.get(kind) or [])


def _unused(rules: list[Object]) -> Iterator[Unused]:
    former: dict[bytes, str] = {}
    prefixes: list[_Prefix] = []
    everything = False
    for index, rule in enumerate(rules):
        name, matches = _name(rule, index), rule.get("match") or []
        if not matches and everything:
            yield UnreachableRule(name, "only the last rule can have no matches")
        repeated = 0
        for number, match in enumerate(matches):
            if everything:
                yield UnreachableRule(name, "route without matches defined before")
                continue
            content = _content(match)
            if content in former:
                yield IneffectiveMatch(name, _name(match, number), former[content])
                repeated += 1
                continue
            former[content] = name
            if (match.get("uri") or {}).get("prefix"):
                prefixes.append(_Prefix(name, _name(match, number), match))
        if matches and repeated == len(matches):
            yield UnreachableRule(name, "all matches used by prior rules")
        everything = everything or not matches
    for position, first in enumerate(prefixes):
        yield from (first.shadow(later) for later in prefixes[position + 1 :] if first.covers(later))


def _name(named: Object, index: int) -> str:
    return quote(named["name"]) if named.get("name") else f"#{index}"


def _content(match: Object) -> bytes:
    """The same bytes for matches that are the same but for their names."""
    return orjson.dumps({key: value for key, value in match.items() if key != "name"}, option=orjson.OPT_SORT_KEYS)


class _Prefix:
    """A match by a prefix of the path, with what else it asks for."""

    def __init__(self, rule: str, name: str, match: Object) -> None:
        self.rule = rule
        self.name = name
        self.prefix: str = match["uri"]["prefix"]
        self._port = match.get("port", 0)
        self._texts = {
            "method": _text(match.get("method")) or "exact:GET",
            "authority": _text(match.get("authority")),
        }
        for field in ("headers", "queryParams", "withoutHeaders"):
            self._texts |= {f"{field}/{key}": _text(value) for key, value in (match.get(field) or {}).items()}

    def covers(self, later: _Prefix) -> bool:
        """Whether requests of `later` are had by this one. Equal prefixes are not compared, nor expressions."""
        return (
            later.prefix != self.prefix
            and later.prefix.startswith(self.prefix)
            and later._port == self._port
            and later._texts.keys() == self._texts.keys()
            and all(text.startswith(later._texts[key]) for key, text in self._texts.items())
        )

    def shadow(self, later: _Prefix) -> IneffectiveMatch:
        former = f"{self.name} of prefix {self.prefix} on {self.rule}"
        return IneffectiveMatch(later.rule, f"{later.name} of prefix {later.prefix}", former)


def _text(match: Any) -> str:
    given = match or {}
    return next((f"{way}:{given[way]}" for way in ("exact", "prefix") if given.get(way)), "")
