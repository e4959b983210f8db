"""Trust domains in what AuthorizationPolicies say of clients (pilot/pkg/security/trustdomain/bundle.go).

For waypoints, an identity of one of the mesh's trust domains stands for that of each of them, and cluster.local always
means the mesh's. ztunnel is told what is written (pilot/pkg/serviceregistry/ambient/authorization.go), and takes
clients of the mesh's own trust domain alone (ztunnel, src/tls/workload.rs, TrustDomainVerifier).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ambientlab.cluster import TRUST_DOMAIN
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.ir import AuthorizationPolicy, Condition, Conditions, PolicyRule, TrustDomains

_PRINCIPAL, _TRUST_DOMAIN = "source.principal", "source.trustDomain"


def migrated(policy: AuthorizationPolicy, trust: TrustDomains) -> AuthorizationPolicy:
    """With every identity in all of its trust domains."""

    def conditions(found: Conditions) -> Conditions:
        return tuple(_condition(one, trust) for one in found)

    rules = tuple(PolicyRule(tuple(map(conditions, rule.sources)), rule.operations) for rule in policy.rules)
    return replace(policy, rules=rules)


def strangers(policy: AuthorizationPolicy, trust: TrustDomains, *, at_waypoints: bool) -> Iterator[Diagnostic]:
    """What names clients that there are none of, and what ztunnel does not look at: Istio leaves it out of what ztunnel
    is told, and says so only where `when` asks for it."""
    ref = ObjectRef("AuthorizationPolicy", *policy.key)
    if not at_waypoints and any(one.attribute == _TRUST_DOMAIN for one in _conditions(policy)):
        yield ignored(ref, "spec.rules", "ztunnel does not compare trust domains")
    for principal in dict.fromkeys(_principals(policy)):
        domain = _domain(principal)
        if domain is None:
            continue
        if at_waypoints:
            why = f"trust domain {domain} of principal {principal} is neither the mesh's nor one of its aliases"
            known = _is_ours(domain, trust)
        else:
            why = f"ztunnel takes principal {principal} as it is written, and clients of trust domain {trust.own} alone"
            known = _alike(domain, trust.own)
        if not known:
            yield Diagnostic(ref, "OtherTrustDomain", why, field="spec.rules")


def _condition(condition: Condition, trust: TrustDomains) -> Condition:
    if condition.attribute not in (_PRINCIPAL, _TRUST_DOMAIN):
        return condition
    every = _in_every_domain if condition.attribute == _PRINCIPAL else _every_domain
    values, not_values = (
        tuple(dict.fromkeys(one for value in found for one in every(value, trust)))
        for found in (condition.values, condition.not_values)
    )
    return replace(condition, values=values, not_values=not_values)


def _every_domain(domain: str, trust: TrustDomains) -> tuple[str, ...]:
    return trust.all if domain in trust.all else (domain,)


def _in_every_domain(principal: str, trust: TrustDomains) -> tuple[str, ...]:
    domain = _domain(principal)
    if domain is None or not _is_ours(domain, trust):
        return (principal,)
    rest = principal.partition("/")[2]
    written = domain.startswith("*")
    return tuple(
        dict.fromkeys(principal if written and one.endswith(domain[1:]) else f"{one}/{rest}" for one in trust.all)
    )


def _domain(principal: str) -> str | None:
    """The trust domain that a principal asks for, if it does."""
    domain, *rest = principal.split("/")
    return domain if len(rest) == 4 and domain != "*" else None


def _is_ours(domain: str, trust: TrustDomains) -> bool:
    return domain == TRUST_DOMAIN or any(_alike(domain, one) for one in trust.all)


def _alike(pattern: str, domain: str) -> bool:
    """Whether one is the other. A star may begin or end a policy's."""
    if pattern.startswith("*"):
        return domain.endswith(pattern[1:])
    return domain.startswith(pattern[:-1]) if pattern.endswith("*") else domain == pattern


def _principals(policy: AuthorizationPolicy) -> Iterator[str]:
    for condition in _conditions(policy):
        if condition.attribute == _PRINCIPAL:
            yield from (*condition.values, *condition.not_values)


def _conditions(policy: AuthorizationPolicy) -> Iterator[Condition]:
    return (condition for rule in policy.rules for conditions in rule.sources for condition in conditions)
