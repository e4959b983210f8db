"""What authorization policies say of a request, or of a connection that nobody looks into.

The same reading of policies as `mesh.xds.rbac` gives Envoy: CUSTOM before DENY before ALLOW, and with ALLOW policies
whatever none of them matches is refused. On a connection an ALLOW rule that asks about requests is left out, and others
do without what they ask. What an external provider says is not foreseen: it is taken to agree, and the verdict says
that it is asked. Where it cannot be, what the policy matches is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

from ambientlab import re2
from ambientlab.mesh.decide.conditions import holds, like, within
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.ir import (
    NONE_ALLOWED,
    AuthorizationPolicy,
    Conditions,
    Guard,
    PolicyAction,
    PolicyRule,
    Provider,
    allowed_by,
    denied_by,
)

REFUSAL = "RBAC: access denied"

_SEGMENT = "[a-zA-Z0-9._~%!$&'()+,;:@=-]"
_TEMPLATE = {"{*}": f"{_SEGMENT}+", "{**}": f"(?:{_SEGMENT}|/)*"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What policies are about. A connection has no `request`; `identity` is empty where the client has shown none, and
    `client_ip` where it is not known. `claims` are those of the request's token, if it has one. `server_name` is what
    TLS asks for, where anybody looks."""

    request: Request | None
    identity: str
    client_ip: str
    target_ip: str
    port: int
    claims: Mapping[str, Any] | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy held against an attempt, with the index of the first of its rules that matches."""

    policy: AuthorizationPolicy
    rule: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`judged` is every policy in the order given, dry runs among them; `asks` is who else is asked."""

    allowed: bool
    judged: tuple[Judged, ...] = ()
    asks: Provider | None = None

    @property
    def decisive(self) -> Judged | None:
        """The policy that denied or allowed; None if there was none, or if none allowed."""
        refusing = (PolicyAction.DENY,) if self.asks is not None else (PolicyAction.CUSTOM, PolicyAction.DENY)
        for action in (PolicyAction.ALLOW,) if self.allowed else refusing:
            for one in self.judged:
                if one.rule is not None and one.policy.action is action and not one.policy.dry_run:
                    return one
        return None

    def __str__(self) -> str:
        """In the words of ztunnel (src/rbac.rs, RbacError)."""
        found = self.decisive
        if found is None:
            return "no policy" if self.allowed else NONE_ALLOWED
        return allowed_by(found.policy.key) if self.allowed else denied_by(found.policy.key)


NONE = Verdict(True)
"""Of no policies."""


def verdict(guard: Guard | None, attempt: Attempt) -> Verdict:
    if guard is None:
        return NONE
    judged = tuple(Judged(policy, _matching(policy, attempt)) for policy in guard.policies)

    def of(action: PolicyAction) -> list[bool]:
        """Whether each policy that is enforced matches."""
        return [j.rule is not None for j in judged if j.policy.action is action and not j.policy.dry_run]

    asked, allows = any(of(PolicyAction.CUSTOM)), of(PolicyAction.ALLOW)
    refused = (asked and guard.provider is None) or any(of(PolicyAction.DENY)) or (bool(allows) and not any(allows))
    return Verdict(not refused, judged, guard.provider if asked else None)


def _matching(policy: AuthorizationPolicy, attempt: Attempt) -> int | None:
    allowing = policy.action is PolicyAction.ALLOW
    return next((n for n, rule in enumerate(policy.rules) if _matches(rule, attempt, allowing)), None)


def _matches(rule: PolicyRule, attempt: Attempt, allowing: bool) -> bool:
    if attempt.request is None and allowing and any(map(_asks_about_requests, rule.sources + rule.operations)):
        return False
    return any(_all(conditions, attempt) for conditions in rule.sources) and any(
        _all(conditions, attempt) for conditions in rule.operations
    )


def _asks_about_requests(conditions: Conditions) -> bool:
    return any(condition.attribute.startswith("request.") for condition in conditions)


def _all(conditions: Conditions, attempt: Attempt) -> bool:
    return all(
        holds(condition, partial(has, attempt))
        for condition in conditions
        if attempt.request is not None or not condition.attribute.startswith("request.")
    )


def has(attempt: Attempt, attribute: str, value: str) -> bool:
    match attribute:
        case "destination.ip":
            return within(attempt.target_ip, value)
        case "destination.port":
            return attempt.port == int(value)
        case "connection.sni":
            return attempt.server_name != "" and like(attempt.server_name, value)
        case "source.ip":
            # the peer of the listener that requests come to is the tunnel's end in the same proxy, which has no address
            # (istio/istio#46982; Envoy restores the client's as remote.ip alone)
            return False
        case "remote.ip":
            return within(_remote_ip(attempt), value)
        case "source.principal":
            return _identity_like(attempt.identity, value)
        case "source.trustDomain":
            scheme, _, domain = attempt.identity.partition("://")
            return scheme == "spiffe" and (value == "*" or like(domain.partition("/")[0], value))
        case "source.namespace":
            namespaces = ".*".join(map(re.escape, value.split("*")))
            return re2.fullmatch(f".*/ns/{namespaces}/.*", attempt.identity)
        case "source.serviceAccount":
            namespace, _, name = value.partition("/")
            account = f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(name)}(/.+)?"
            return re2.fullmatch(account, attempt.identity)
    if attempt.request is None:
        return False
    if attribute.startswith("request.auth."):
        return _token_has(attribute.removeprefix("request.auth."), value, attempt.claims or {})
    return _request_has(attribute, value, attempt.request)


def _request_has(attribute: str, value: str, request: Request) -> bool:
    """What is left is about the metadata of filters, which no request has by itself."""
    match attribute:
        case "request.host":
            return value == "*" or like(request.authority.lower(), value.lower())
        case "request.method":
            return value == "*" or like(request.method, value)
        case "request.path":
            return _path_like(request.path.partition("?")[0], value)
    name = attribute.partition("[")[2].removesuffix("]").lower()
    if attribute.startswith("request.experimental.inline.headers["):
        return any(value == "*" or _listed(found, value) for found in request.values(name))
    if attribute.startswith("request.headers["):
        return any(value == "*" or like(found, value) for found in request.values(name))
    return False


def _token_has(attribute: str, value: str, claims: Mapping[str, Any]) -> bool:
    if attribute == "principal":
        return _principal_like(claims.get("iss"), claims.get("sub"), value)
    path = {"audiences": ("aud",), "presenter": ("azp",)}.get(attribute) or _path(attribute.removeprefix("claims"))
    found: Any = claims
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return any(isinstance(item, str) and like(item, value) for item in (found if isinstance(found, list) else [found]))


def _principal_like(issuer: Any, subject: Any, value: str) -> bool:
    """`issuer/subject`, of which a star may begin the one or end the other: what is on its side of the last slash, or
    without a slash the whole value, is about that one alone."""
    if not isinstance(issuer, str) or not isinstance(subject, str):
        return False
    if value == "*":
        return bool(issuer and subject)
    first, slash, last = value.rpartition("/")
    if slash:
        return like(issuer, first) and like(subject, last)
    if value.startswith("*"):
        return issuer != "" and like(subject, value)
    return like(issuer, value) and (subject != "" if value.endswith("*") else subject == "")


def _path(brackets: str) -> tuple[str, ...]:
    """The names in `[a][b]`; what is in the outermost brackets if they are not one after the other."""
    if re.fullmatch(r"(\[[^\[\]]*\])+", brackets):
        return tuple(re.findall(r"\[([^\[\]]*)\]", brackets))
    return (brackets.removeprefix("[").removesuffix("]"),)


def _identity_like(found: str, value: str) -> bool:
    """Values are written without the scheme."""
    prefix = "spiffe://"
    if value == "*":
        return found != ""
    if value.startswith("*"):
        return found.startswith(prefix) and found.endswith(value[1:])
    return like(found, prefix + value)


def _path_like(found: str, value: str) -> bool:
    if "{*}" not in value and "{**}" not in value:
        return like(found, value)
    parts = re.split(r"(\{\*\*?\})", value)
    return re2.fullmatch("".join(_TEMPLATE.get(part) or re.escape(part) for part in parts), found)


def _listed(found: str, value: str) -> bool:
    return any(like(item, value) for item in found.split(","))


def _remote_ip(attempt: Attempt) -> str:
    """The last address that proxies before this one have noted, which Envoy believes (source/common/http/utility.cc,
    getLastAddressFromXFF)."""
    noted = ",".join(attempt.request.values("x-forwarded-for")) if attempt.request is not None else ""
    last = noted.rpartition(",")[2].strip()
    try:
        return str(ip_address(last))
    except ValueError:
        return attempt.client_ip
