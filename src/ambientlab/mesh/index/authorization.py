"""AuthorizationPolicies as waypoints read them (pilot/pkg/security/authz/model/model.go)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ambientlab import re2
from ambientlab.api.objects import Object, annotations_of
from ambientlab.mesh.index import trustdomains
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.targets import Target, targets
from ambientlab.mesh.index.values import is_true
from ambientlab.mesh.index.ztunnelpolicies import DRY_RUN
from ambientlab.mesh.ir import AuthorizationPolicy, Condition, Conditions, Key, PolicyAction, PolicyRule, TrustDomains

_SOURCE = {
    "Principals": "source.principal",
    "RequestPrincipals": "request.auth.principal",
    "ServiceAccounts": "source.serviceAccount",
    "TrustDomains": "source.trustDomain",
    "Namespaces": "source.namespace",
    "RemoteIpBlocks": "remote.ip",
    "IpBlocks": "source.ip",
}
_OPERATION = {
    "Hosts": "request.host",
    "Methods": "request.method",
    "Paths": "request.path",
    "Ports": "destination.port",
}
_OF_OPERATION = ("destination.ip", "destination.port", "connection.sni", "experimental.envoy.filters.")
_USUAL = TrustDomains()
_PLAIN = re.compile(r"[\w/:.-]*")
_NEVER = Condition("source.namespace", ("*",), ("*",))


@dataclass(frozen=True, slots=True)
class PolicyReading:
    policy: AuthorizationPolicy
    targets: tuple[Target, ...]
    diagnostics: tuple[Diagnostic, ...]


def read(key: Key, obj: Object, trust: TrustDomains = _USUAL) -> PolicyReading:
    spec = obj.get("spec") or {}
    policy = AuthorizationPolicy(
        key,
        PolicyAction(spec.get("action") or PolicyAction.ALLOW),
        tuple(_rule(rule, key.namespace) for rule in spec.get("rules") or ()),
        is_true(annotations_of(obj).get(DRY_RUN, "")),
        (spec.get("provider") or {}).get("name", ""),
    )
    named = targets(obj)
    usable, odd = _usable(trustdomains.migrated(policy, trust))
    strangers = trustdomains.strangers(policy, trust, at_waypoints=bool(named))
    return PolicyReading(usable, named, (*((*_untried(policy), *_unseen(policy), *odd) if named else ()), *strangers))


def _usable(policy: AuthorizationPolicy) -> tuple[AuthorizationPolicy, tuple[Diagnostic, ...]]:
    """Without what Envoy would refuse, and with it every policy of the same service: what nothing can match is left out
    of the values. Istio's validation lets it pass, and its waypoint refuses the listener."""
    problems: dict[str, None] = {}

    def conditions(found: Conditions) -> Conditions:
        return tuple(one for condition in found for one in _matchable(condition, problems))

    rules = tuple(
        PolicyRule(tuple(map(conditions, rule.sources)), tuple(map(conditions, rule.operations)))
        for rule in policy.rules
    )
    if not problems:
        return policy, ()
    ref = ObjectRef("AuthorizationPolicy", *policy.key)
    text = "{}; Istio's waypoint would refuse all that its listeners are to do"
    return replace(policy, rules=rules), tuple(
        Diagnostic(ref, "NeverMatches", text.format(problem), field="spec.rules") for problem in problems
    )


def _matchable(condition: Condition, problems: dict[str, None]) -> Iterator[Condition]:
    attribute = condition.attribute
    if attribute.startswith(("request.headers[", "request.experimental.inline.headers[")):
        name = attribute.partition("[")[2].removesuffix("]")
        if name and not re.search(r"[\0\r\n]", name):
            yield condition
            return
        problems[f"no request has a header named {name!r}"] = None
        if condition.values:
            yield _NEVER
        return
    values = tuple(value for value in condition.values if _expresses(attribute, value, problems))
    not_values = tuple(value for value in condition.not_values if _expresses(attribute, value, problems))
    if condition.values and not values:
        yield _NEVER
    elif values or not_values:
        yield replace(condition, values=values, not_values=not_values)


def _expresses(attribute: str, value: str, problems: dict[str, None]) -> bool:
    """Whether Envoy can compare the value: it knows no zones of addresses, and identities are compared to expressions
    (model/generator.go)."""
    if attribute.endswith(".ip") and "%" in value:
        problems[f"{attribute} {value!r} matches nobody: a proxy knows no zones of addresses"] = None
        return False
    if attribute == "source.namespace":
        expression = value.replace("*", ".*")
    elif attribute == "source.serviceAccount" or (attribute == "source.principal" and value.startswith("*")):
        expression = value if attribute == "source.serviceAccount" else f".*{value[1:]}"
    else:
        return True
    if _PLAIN.fullmatch(expression.replace(".*", "")):
        return True
    try:
        re2.check(expression)
    except re2.ExpressionError as error:
        problems[f"{attribute} {value!r} matches nobody: {error}"] = None
        return False
    return True


def _untried(policy: AuthorizationPolicy) -> tuple[Diagnostic, ...]:
    if not policy.dry_run or policy.action is not PolicyAction.CUSTOM:
        return ()
    ref = ObjectRef("AuthorizationPolicy", *policy.key)
    return (ignored(ref, "metadata.annotations", "there is no dry run of action CUSTOM: the policy is not in force"),)


def _unseen(policy: AuthorizationPolicy) -> Iterator[Diagnostic]:
    """Istio makes of `ipBlocks` Envoy's direct_remote_ip (model/principal.go), and the peer of the listener that
    requests come to is the tunnel's end in the same proxy: what Envoy restores of the client is the remote address
    alone (istio/istio#46982)."""
    asked = [c for rule in policy.rules for source in rule.sources for c in source if c.attribute == "source.ip"]
    if asked:
        positive = any(condition.values for condition in asked)
        effect = "no address is in ipBlocks" if positive else "every address is outside of notIpBlocks"
        message = f"a waypoint does not see the client's address as source.ip: {effect}; ask for remoteIpBlocks"
        yield Diagnostic(ObjectRef("AuthorizationPolicy", *policy.key), "NeverMatches", message, field="spec.rules")


def _rule(rule: Object, namespace: str) -> PolicyRule:
    when = [
        Condition(c["key"], tuple(c.get("values") or ()), tuple(c.get("notValues") or ()))
        for c in rule.get("when") or ()
    ]
    of_operation = tuple(c for c in when if c.attribute.startswith(_OF_OPERATION))
    of_source = tuple(_qualified(c, namespace) for c in when if c not in of_operation)
    sources = [item.get("source") or {} for item in rule.get("from") or ()] or [{}]
    operations = [item.get("operation") or {} for item in rule.get("to") or ()] or [{}]
    return PolicyRule(
        tuple(tuple(_qualified(c, namespace) for c in _conditions(s, _SOURCE.items())) + of_source for s in sources),
        tuple(_conditions(o, _OPERATION.items()) + of_operation for o in operations),
    )


def _conditions(fields: Object, attributes: Iterable[tuple[str, str]]) -> Conditions:
    found = []
    for name, attribute in attributes:
        values, not_values = fields.get(name[0].lower() + name[1:]), fields.get(f"not{name}")
        if values or not_values:
            found.append(Condition(attribute, tuple(values or ()), tuple(not_values or ())))
    return tuple(found)


def _qualified(condition: Condition, namespace: str) -> Condition:
    """A service account without a namespace is one of the policy's."""
    if condition.attribute != "source.serviceAccount":
        return condition

    def full(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if "/" in name else f"{namespace}/{name}" for name in names)

    return Condition(condition.attribute, full(condition.values), full(condition.not_values))
