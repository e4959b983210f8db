"""AuthorizationPolicies (ValidateAuthorizationPolicy)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import attributes
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.targets import targets

_SOURCES = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
    "notPrincipals",
    "notRequestPrincipals",
    "notNamespaces",
    "notServiceAccounts",
    "notTrustDomains",
    "notIpBlocks",
    "notRemoteIpBlocks",
)
_OPERATIONS = ("ports", "methods", "paths", "hosts", "notPorts", "notMethods", "notPaths", "notHosts")
_NOT_CUSTOM = (
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
)
"""What Istio does not let a provider's rules be about, and next the same of the keys of `when`."""
_KEYS_NOT_CUSTOM = ("source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal")


_CHECKS: Mapping[str, Callable[[str, Sequence[str]], Messages]] = {
    "serviceAccounts": attributes.accounts,
    "notServiceAccounts": attributes.accounts,
    "trustDomains": attributes.trust_domains,
    "notTrustDomains": attributes.trust_domains,
}


def validate(spec: Object, metadata: Object) -> Messages:
    action = spec.get("action") or "ALLOW"
    rules = spec.get("rules") or []
    problems = targets(spec)
    if action == "CUSTOM":
        problems += _custom(spec, rules)
    elif "provider" in spec:
        problems.append(f"`provider` must not be with non CUSTOM action, found {action}")
    if action == "DENY" and not rules:
        problems.append(_without_rules(action))
    for index, rule in enumerate(rules):
        for item in rule.get("from") or ():
            problems += _source(item.get("source"), index)
        for item in rule.get("to") or ():
            problems += _operation(item.get("operation"), index)
        for condition in rule.get("when") or ():
            problems += _condition(condition)
    prefix = f"invalid policy {metadata.get('name', '')}.{metadata.get('namespace', '')}:"
    return [f"{prefix} {problem}" for problem in problems]


def _without_rules(action: str) -> str:
    return (
        f"{action} action without `rules` is meaningless as it will never be triggered, "
        "add an empty rule `{}` if you want it be triggered for every request"
    )


def _custom(spec: Object, rules: Iterable[Object]) -> Messages:
    problems: Messages = []
    if not rules:
        problems.append(_without_rules("CUSTOM"))
    elif not (spec.get("provider") or {}).get("name"):
        problems.append("`provider.name` must not be empty")
    for rule in rules:
        sources = [item.get("source") or {} for item in rule.get("from") or ()]
        found = [f"From.{name[0].upper()}{name[1:]}" for source in sources for name in _NOT_CUSTOM if source.get(name)]
        keys = [condition["key"] for condition in rule.get("when") or ()]
        found += [key for key in keys if key in _KEYS_NOT_CUSTOM or key.startswith("request.auth.")]
        problems += [f"{name} is currently not supported with CUSTOM action" for name in found]
    return problems


def _source(source: Object | None, index: int) -> Messages:
    if source is None:
        return [f"`from.source` must not be nil, found at rule {index}"]
    problems: Messages = []
    if not any(source.get(name) for name in _SOURCES):
        problems.append(f"`from.source` must not be empty, found at rule {index}")
    for name in ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"):
        problems += attributes.addresses(source.get(name) or ())
    for name in _SOURCES:
        check = _CHECKS.get(name, attributes.filled)
        problems += check(_title(name), source.get(name) or ())
    return problems


def _operation(operation: Object | None, index: int) -> Messages:
    if operation is None:
        return [f"`to.operation` must not be nil, found at rule {index}"]
    problems: Messages = []
    if not any(operation.get(name) for name in _OPERATIONS):
        problems.append(f"`to.operation` must not be empty, found at rule {index}")
    for name in ("ports", "notPorts"):
        problems += attributes.ports(operation.get(name) or ())
    for name in _OPERATIONS:
        problems += attributes.filled(_title(name), operation.get(name) or ())
    for name in ("paths", "notPaths"):
        problems += attributes.path_templates(_title(name), operation.get(name) or ())
    return problems


def _condition(condition: Object) -> Messages:
    key, values, not_values = (condition.get(name) for name in ("key", "values", "notValues"))
    if not key:
        return ["`key` must not be empty"]
    if not values and not not_values:
        return [f"at least one of `values` or `notValues` must be set for key {key}"]
    return [
        f"invalid `{name}` for `key` {key}: {one}"
        for name, some in (("value", values), ("notValue", not_values))
        for one in attributes.attribute(key, some or ())
    ]


def _title(name: str) -> str:
    """A field's name as in Istio's Go."""
    return name[0].upper() + name[1:]
