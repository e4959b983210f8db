"""What routes and policies ask of a request, one part of it at a time, and what a request can have there.

Conditions are each about one part: the path, the method, a header. So what tells requests apart is known part by part:
of all that a request can have in one, a few options stand for everything that the conditions there tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from itertools import combinations
from typing import Literal, NamedTuple

from ambientlab import re2
from ambientlab.mesh.decide import Request, matching, paths, policy
from ambientlab.mesh.decide.conditions import holds
from ambientlab.mesh.ir import AuthorizationPolicy, Condition, Guard, Match, StringMatch
from ambientlab.mesh.plan import expressions

OTHER_PATHS = ("/", "/other", "/other/x", "/x.other")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PURGE")
_MOST_PAIRED = 8


class Part(NamedTuple):
    """`name` is of a header, in lower case, or of a parameter of the query."""

    kind: Literal["path", "method", "authority", "header", "query"]
    name: str = ""


Option = tuple[str, ...]
"""The values that a request has in a part: none at all, one, or as a header several."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One condition about one part: a route's, `inverted` where it asks for the opposite, or a policy's."""

    part: Part
    asked: StringMatch | Condition
    inverted: bool = False

    def holds(self, request: Request) -> bool:
        if self.part.kind == "path" and isinstance(self.asked, StringMatch):
            return _path_holds(self.asked, request)
        if isinstance(self.asked, Condition):
            attempt = policy.Attempt(request, "", "", "", request.port)
            return _judged(self.asked, attempt)
        return all(check.holds for check in matching.checks(self._match, request))

    @property
    def _match(self) -> Match:
        assert isinstance(self.asked, StringMatch)
        named = ((self.part.name, self.asked),)
        match self.part.kind:
            case "method":
                return Match(method=self.asked)
            case "authority":
                return Match(authority=self.asked)
            case "query":
                return Match(query=named)
        return Match(without_headers=named) if self.inverted else Match(headers=named)


def _path_holds(asked: StringMatch, request: Request) -> bool:
    try:
        return matching.holds(asked, paths.split(request.path)[0])
    except re2.ExpressionError:
        return False


def _judged(condition: Condition, attempt: policy.Attempt) -> bool:
    try:
        return holds(condition, partial(policy.has, attempt))
    except re2.ExpressionError:
        return False


def of_match(match: Match) -> Iterator[Atom]:
    """A scheme is none of them: what a waypoint routes is http."""
    if match.path is not None:
        yield Atom(Part("path"), match.path)
    if match.method is not None:
        yield Atom(Part("method"), match.method)
    if match.authority is not None:
        yield Atom(Part("authority"), match.authority)
    for name, asked in match.headers:
        yield Atom(Part("header", name.lower()), asked)
    for name, asked in match.without_headers:
        yield Atom(Part("header", name.lower()), asked, True)
    for name, asked in match.query:
        yield Atom(Part("query", name), asked)


def of_policies(policies: Iterable[AuthorizationPolicy]) -> Iterator[Atom]:
    """What is asked of the request, and not of who sends it."""
    for each in policies:
        for rule in each.rules:
            for conditions in (*rule.sources, *rule.operations):
                for condition in conditions:
                    if (part := _part_of(condition.attribute)) is not None:
                        yield Atom(part, condition)


def of_guard(guard: Guard | None) -> Iterator[Atom]:
    if guard is not None:
        yield from of_policies(guard.policies)


def _part_of(attribute: str) -> Part | None:
    match attribute:
        case "request.path":
            return Part("path")
        case "request.method":
            return Part("method")
        case "request.host":
            return Part("authority")
        case "remote.ip":
            return Part("header", "x-forwarded-for")
    if attribute.startswith(("request.headers[", "request.experimental.inline.headers[")):
        return Part("header", attribute.partition("[")[2].removesuffix("]").lower())
    return None


def changed(request: Request, part: Part, option: Option) -> Request:
    """The request with that in the part, in which it has had nothing of its own."""
    match part.kind:
        case "path":
            return replace(request, path=option[0] + paths.split(request.path)[1])
        case "method":
            return replace(request, method=option[0])
        case "authority":
            return replace(request, authority=option[0])
        case "header":
            return replace(request, headers=(*request.headers, *((part.name, value) for value in option)))
    joint = "&" if "?" in request.path else "?"
    return replace(request, path=request.path + "".join(f"{joint}{part.name}={value}" for value in option))


def options(part: Part, atoms: Sequence[Atom], request: Request) -> list[Option]:
    """What stands for everything that the atoms, which are about the part, tell apart: what `request` has first."""
    told = _told_apart(part, atoms, request, candidates(part, atoms, request))
    if part.kind == "header" and 1 < len(told) <= _MOST_PAIRED:
        single = [option for option in told if len(option) == 1]
        told = _told_apart(part, atoms, request, [*told, *((*a, *b) for a, b in combinations(single, 2))])
    return told


def candidates(part: Part, atoms: Sequence[Atom], request: Request) -> list[Option]:
    """All that may make a difference to the atoms, and what `request` has first."""
    found = dict.fromkeys(_usual(part, request))
    for atom in atoms:
        found.update(dict.fromkeys((text,) for text in _texts(atom)))
    if any(_ignores_case(atom) for atom in atoms):
        found.update(dict.fromkeys(tuple(text.swapcase() for text in option) for option in list(found)))
    return [option for option in found if part.kind != "path" or option[0].startswith("/")]


def _ignores_case(atom: Atom) -> bool:
    asked = atom.asked
    return isinstance(asked, StringMatch) and (asked.ignore_case or (asked.kind == "regex" and "(?" in asked.value))


def _told_apart(part: Part, atoms: Sequence[Atom], request: Request, found: Iterable[Option]) -> list[Option]:
    seen: dict[tuple[bool, ...], Option] = {}
    for option in found:
        tried = changed(request, part, option)
        seen.setdefault(tuple(atom.holds(tried) for atom in atoms), option)
    return list(seen.values())


def _usual(part: Part, request: Request) -> Iterator[Option]:
    match part.kind:
        case "path":
            yield (paths.split(request.path)[0],)
            yield from ((path,) for path in OTHER_PATHS)
        case "method":
            yield from ((method,) for method in _METHODS)
        case "authority":
            host = request.authority.partition(":")[0]
            yield from ((text,) for text in (request.authority, request.host, host, host.partition(".")[0]))
            yield from ((f"{text}:{request.port}",) for text in (request.host, host))
            yield ("other.example",)
        case _:
            yield from ((), ("other",), ("",))


def _texts(atom: Atom) -> Iterator[str]:
    """What the atom may hold for, and what is close to it."""
    if isinstance(atom.asked, StringMatch):
        yield from _near(atom.asked)
        return
    for value in (*atom.asked.values, *atom.asked.not_values):
        for text in _near_value(atom, value):
            yield text
            if atom.part.kind in ("path", "header"):
                yield f"{text}x"


def _near(asked: StringMatch) -> Iterator[str]:
    match asked.kind:
        case "regex":
            yield from expressions.texts(asked.value)
        case "exact":
            yield asked.value
            yield f"{asked.value}x"
        case "prefix" | "path-prefix":
            yield asked.value
            base = asked.value.removesuffix("/")
            yield from (f"{asked.value}x", f"{base}/x", f"{base}/x/y")


def _near_value(atom: Atom, value: str) -> Iterator[str]:
    """Values of policies: a star begins or ends them, or is anything; a path may be a template, an address a block."""
    if atom.part.name == "x-forwarded-for":
        try:
            yield str(ip_network(value, strict=False).network_address)
        except ValueError:
            return
    elif atom.part.kind == "path" and "{" in value:
        for one in ("x", "x/y", ""):
            yield value.replace("{**}", one).replace("{*}", "x")
    elif value.startswith("*"):
        yield ("/x" if atom.part.kind == "path" and not value.startswith("*/") else "") + value[1:]
        yield f"{'/x' if atom.part.kind == 'path' else 'x'}{value[1:]}"
    elif value.endswith("*"):
        yield value[:-1]
        yield f"{value[:-1]}x"
    else:
        yield value
