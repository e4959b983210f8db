"""AuthorizationPolicies as istiod tells ztunnel of them (pilot/pkg/serviceregistry/ambient/authorization.go).

ztunnel sees connections: of a rule that asks about requests it is told the rest. That is nothing in an ALLOW policy,
where the whole rule is left out, and in a DENY policy often what never matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from ambientlab.api.numbers import whole
from ambientlab.api.objects import Object, annotations_of
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.selectors import Selector, selector_of
from ambientlab.mesh.index.targets import targets
from ambientlab.mesh.index.values import is_true
from ambientlab.mesh.ir import Authorization, Clause, Clauses, Condition, Conditions, Key, PolicyAction, Scope

DRY_RUN = "istio.io/dry-run"
_UNSUPPORTED = "UnsupportedValue"
_HTTP = (
    "ztunnel does not support HTTP attributes (found: {}). In ambient mode you must use a waypoint proxy to enforce "
    "HTTP rules. {} This will be more restrictive than requested."
)
_HTTP_CONSEQUENCES = {
    PolicyAction.DENY: "DENY policy with HTTP attributes is enforced without the HTTP rules.",
    PolicyAction.ALLOW: "Within an ALLOW policy, rules matching HTTP attributes are omitted.",
}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What Istio says of a policy as ztunnel's."""

    accepted: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ZtunnelReading:
    """`policy` is None where ztunnel is not told of it, and `acceptance` where Istio says nothing about that."""

    policy: Authorization | None
    selector: Selector
    acceptance: Acceptance | None
    diagnostics: tuple[Diagnostic, ...] = ()


def read(key: Key, obj: Object, root: str) -> ZtunnelReading:
    """`root` is the root namespace."""
    spec = obj.get("spec") or {}
    selector = selector_of(spec)
    action = PolicyAction(spec.get("action") or PolicyAction.ALLOW)
    if is_true(annotations_of(obj).get(DRY_RUN, "")):
        message = (
            f'found policy "{key}" using dry-run annotation, but support for ambient dry-run authorizationPolicies '
            "isn't enabled"
        )
        return ZtunnelReading(None, selector, Acceptance(False, _UNSUPPORTED, message))
    if targets(obj):
        return ZtunnelReading(None, selector, None)
    if action not in _HTTP_CONSEQUENCES:
        message = f"ztunnel does not support the {action} action"
        return ZtunnelReading(None, selector, Acceptance(False, _UNSUPPORTED, message))
    rules, http, notes = [], set[str](), []
    for number, rule in enumerate(spec.get("rules") or ()):
        clauses, found = _clauses(rule, key.namespace)
        http |= found
        if found and action is PolicyAction.ALLOW:
            continue
        rules.append(clauses)
        if not all(map(_possible, clauses)):
            why = "no connection matches this rule: without what ztunnel does not know it has nothing left to compare"
            notes.append(ignored(ObjectRef("AuthorizationPolicy", *key), f"spec.rules[{number}]", why))
    message = _HTTP.format(", ".join(sorted(http)), _HTTP_CONSEQUENCES[action]) if http else "attached to ztunnel"
    return ZtunnelReading(
        Authorization(key, action, _scope(key, spec, root), tuple(rules)),
        selector,
        Acceptance(True, _UNSUPPORTED if http else "Accepted", message),
        tuple(notes),
    )


def _scope(key: Key, spec: Object, root: str) -> Scope:
    if spec.get("selector") is not None:
        return Scope.WORKLOAD_SELECTOR
    return Scope.GLOBAL if key.namespace == root else Scope.NAMESPACE


def _possible(clause: Clause) -> bool:
    return any(clause)


def _clauses(rule: Object, namespace: str) -> tuple[Clauses, set[str]]:
    """The second are the attributes that only requests have (handleRule)."""
    operations = [item.get("operation") or {} for item in rule.get("to") or ()]
    sources = [item.get("source") or {} for item in rule.get("from") or ()]
    clauses: list[Clause] = []
    if operations:
        clauses.append(tuple(_match(operation, _OPERATION, namespace) for operation in operations))
    if sources:
        clauses.append(tuple(_match(source, _SOURCE, namespace) for source in sources))
    http = {name for some in operations for name in _set(some, _HTTP_OPERATION)}
    http |= {name for some in sources for name in _set(some, _HTTP_SOURCE)}
    for when in rule.get("when") or ():
        values, but = when.get("values") or (), when.get("notValues") or ()
        match: Conditions = ()
        if when["key"] in _WHEN:
            match = tuple(_condition(when["key"], values, but, namespace))
        else:
            http.add(when["key"])
        clauses.append((match,))
    return tuple(clauses), http


def _match(fields: Object, attributes: Iterable[tuple[str, str]], namespace: str) -> Conditions:
    found: list[Condition] = []
    for name, attribute in attributes:
        values, but = fields.get(name) or (), fields.get(_negated(name)) or ()
        found += _condition(attribute, values, but, namespace)
    return tuple(found)


def _condition(attribute: str, values: Iterable[str], but: Iterable[str], namespace: str) -> Iterator[Condition]:
    """None without a value that ztunnel could compare."""
    known = _KNOWN[attribute]
    wanted, unwanted = (tuple(t for value in some if (t := known(value, namespace))) for some in (values, but))
    if wanted or unwanted:
        yield Condition(attribute, wanted, unwanted)


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


def _set(fields: Object, names: Iterable[str]) -> Iterator[str]:
    return (name for plain in names for name in (plain, _negated(plain)) if fields.get(name))


def _text(value: str, _: str) -> str:
    return value


def _account(value: str, namespace: str) -> str:
    """One without a namespace is of the policy's."""
    return value if "/" in value else f"{namespace}/{value}"


def _port(value: str, _: str) -> str:
    number = whole(value, 65535)
    return "" if number is None else str(number)


def _address(value: str, _: str) -> str:
    try:
        return str(ip_interface(_ZONE.sub("", value))) if value else ""
    except ValueError:
        return ""


_ZONE = re.compile("%[^/]*")
"""Of an address, which istiod leaves away."""

_KNOWN: dict[str, Callable[[str, str], str]] = {
    "source.ip": _address,
    "source.namespace": _text,
    "source.serviceAccount": _account,
    "source.principal": _text,
    "destination.ip": _address,
    "destination.port": _port,
}
"""Attribute -> a value as it is compared, "" for one that means nothing; of a name alone in the namespace."""

_SOURCE = (
    ("ipBlocks", "source.ip"),
    ("namespaces", "source.namespace"),
    ("serviceAccounts", "source.serviceAccount"),
    ("principals", "source.principal"),
)
_OPERATION = (("ports", "destination.port"),)
_HTTP_SOURCE = ("remoteIpBlocks", "requestPrincipals")
_HTTP_OPERATION = ("hosts", "methods", "paths")
_WHEN = _KNOWN.keys() - {"source.serviceAccount"}
"""What `when` may ask of a connection (l4WhenAttributes)."""
