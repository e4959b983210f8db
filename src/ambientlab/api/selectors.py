"""Label and field selectors: parsing, and matching objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ambientlab.api.errors import StatusError
from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.validation import meta

Operator = Literal["in", "notin", "exists", "!"]


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "in":
                return labels.get(self.key) in self.values if self.key in labels else False
            case "notin":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
        return self.key not in labels


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; without any, everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """(path, wanted value, negated) terms; without any, everything matches."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, obj: Object) -> bool:
        return all((_field(obj, path) == wanted) is not negated for path, wanted, negated in self.terms)

    def exact(self, path: str) -> str | None:
        """The value `path` must equal, if the selector says so (watch by metadata.name)."""
        return next((wanted for name, wanted, negated in self.terms if name == path and not negated), None)


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|[^\s=!,()<>]+|[<>])\s*")


def _bad(message: str) -> StatusError:
    return StatusError(400, "BadRequest", f"unable to parse requirement: {message}")


class _LabelParser:
    """The grammar of labels.Parse: a comma-separated list of requirements."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self._at < len(self._tokens):
            found.append(self._requirement())
            if self._at < len(self._tokens):
                if self._peek() != ",":
                    raise _bad(f"found '{self._peek()}', expected: ',' or 'end of string'")
                self._next()
                if not self._peek():
                    raise _bad("found '', expected: identifier after ','")
        return tuple(found)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._next()
        if not key or key in "=!,()<>" or key in ("==", "!="):
            raise _bad(f"found '{key}', expected: !, identifier, or 'end of string'")
        _valid(key, meta.qualified_name(key), "key")
        if absent:
            return Requirement(key, "!")
        match self._peek():
            case "" | ",":
                return Requirement(key, "exists")
            case "=" | "==":
                self._next()
                return Requirement(key, "in", frozenset({self._value(key)}))
            case "!=":
                self._next()
                return Requirement(key, "notin", frozenset({self._value(key)}))
            case "in" | "notin" as operator:
                self._next()
                return Requirement(key, "in" if operator == "in" else "notin", self._values(key))
            case other:
                raise _bad(f"found '{other}', expected: in, notin, =, ==, !=, gt, lt")

    def _value(self, key: str) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._next()
        if value in ("(", ")", "=", "==", "!=", "!", "<", ">"):
            raise _bad(f"found '{value}', expected: identifier")
        _valid(value, meta.label_value(value), f"values[0][{key}]")
        return value

    def _values(self, key: str) -> frozenset[str]:
        if (token := self._next()) != "(":
            raise _bad(f"found '{token}' expected: '('")
        values: set[str] = set()
        while (token := self._next()) != ")":
            if token == "":
                raise _bad("found '', expected: ',' or ')'")
            if token == ",":
                values.add("") if self._peek() in (",", ")") else None
                continue
            _valid(token, meta.label_value(token), f"values[0][{key}]")
            values.add(token)
        return frozenset(values or {""})


def _valid(text: str, problems: list[str], field: str) -> None:
    if problems:
        raise _bad(f"{field}: Invalid value: {quote(text)}: {'; '.join(problems)}")


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises 400 BadRequest with Kubernetes' parse message."""
    return LabelSelector(_LabelParser(text).parse())


_COMMON_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "events": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    "namespaces": frozenset({"status.phase"}),
    "nodes": frozenset({"spec.unschedulable"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "replicasets.apps": frozenset({"status.replicas"}),
}
_TERM = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)


def parse_fields(resource: Resource, text: str) -> FieldSelector:
    """`metadata.name=x,status.phase!=Running`. Raises 400 for a field `resource` does not select by."""
    terms: list[tuple[str, str, bool]] = []
    known = _COMMON_FIELDS | _FIELDS.get(resource.group_resource, frozenset())
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise StatusError(400, "BadRequest", f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = match[1].strip(), match[2], match[3]
        if path not in known:
            target = quote(f"{resource.group}/{resource.version}, Resource={resource.plural}")
            raise StatusError(
                400,
                "BadRequest",
                f"Unable to find {target} that match "
                f"label selector {quote('')}, field selector {quote(text)}: field label not supported: {path}",
            )
        terms.append((path, re.sub(r"\\(.)", r"\1", value), operator == "!="))
    return FieldSelector(tuple(terms))


_OPERATORS: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    """A metav1.LabelSelector (matchLabels, matchExpressions). None selects nothing; empty selects everything.

    Raises 400 for an unknown operator.
    """
    if selector is None:
        return None
    labels = selector.get("matchLabels") or {}
    found = [Requirement(key, "in", frozenset({labels[key]})) for key in sorted(labels)]
    for one in selector.get("matchExpressions") or ():
        operator = _OPERATORS.get(one.get("operator", ""))
        if operator is None:
            raise StatusError(
                400, "BadRequest", f"{quote(one.get('operator', ''))} is not a valid label selector operator"
            )
        found.append(Requirement(one.get("key", ""), operator, frozenset(one.get("values") or ())))
    return LabelSelector(tuple(found))
