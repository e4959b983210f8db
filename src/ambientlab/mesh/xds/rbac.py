"""Authorization policies as Envoy's RBAC (pilot/pkg/security/authz/builder and model).

A rule is an Envoy policy, named for access logs to say which one decided. Attributes that only requests have cannot be
evaluated on a connection: there, an ALLOW rule that has one is left out, and any other rule does without them, so that
less is allowed than was written, never more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from ambientlab.mesh.ir import AuthorizationPolicy, Condition, Conditions, PolicyAction, PolicyRule
from ambientlab.mesh.xds.jwt import PAYLOAD
from ambientlab.mesh.xds.messages import PEER_PRINCIPAL, extension

JWT_FILTER = "envoy.filters.http.jwt_authn"
"""Where the JWT filter puts the claims of a valid token."""

_ACTIONS = {PolicyAction.ALLOW: RBAC.ALLOW, PolicyAction.AUDIT: RBAC.LOG}
_DRY_RUN_PREFIX = {RBAC.ALLOW: "istio_dry_run_allow_", RBAC.DENY: "istio_dry_run_deny_", RBAC.LOG: ""}
_SPIFFE = "spiffe://"
_METADATA = "experimental.envoy.filters."


class _HttpOnlyError(Exception):
    """Of an attribute that connections do not have."""


def http(policies: Sequence[AuthorizationPolicy]) -> HttpRbac:
    """`policies` are of one action."""
    enforced, dry = _split(policies, tcp=False)
    result = HttpRbac(rules=enforced, shadow_rules=dry)
    if dry is not None:
        result.shadow_rules_stat_prefix = _DRY_RUN_PREFIX[dry.action]
    return result


def network(policies: Sequence[AuthorizationPolicy]) -> NetworkRbac:
    enforced, dry = _split(policies, tcp=True)
    result = NetworkRbac(rules=enforced, shadow_rules=dry, stat_prefix="tcp.")
    if dry is not None:
        result.shadow_rules_stat_prefix = _DRY_RUN_PREFIX[dry.action]
    return result


def _split(policies: Sequence[AuthorizationPolicy], *, tcp: bool) -> tuple[RBAC | None, RBAC | None]:
    enforced = [policy for policy in policies if not policy.dry_run]
    dry = [policy for policy in policies if policy.dry_run]
    return (rules(enforced, tcp=tcp) if enforced else None), (rules(dry, tcp=tcp) if dry else None)


def rules(policies: Sequence[AuthorizationPolicy], *, tcp: bool, prefix: str = "") -> RBAC:
    """`prefix` goes before the names of the rules."""
    action = policies[0].action
    result = RBAC(action=_ACTIONS.get(action, RBAC.DENY))
    for policy in policies:
        name = f"{prefix}ns[{policy.key.namespace}]-policy[{policy.key.name}]-rule"
        for number, rule in enumerate(policy.rules):
            if (made := _rule(rule, action, tcp)) is not None:
                result.policies[f"{name}[{number}]"].CopyFrom(made)
        if not policy.rules:
            result.policies[f"{name}[0]"].CopyFrom(_never())
    return result


def _never() -> Policy:
    result = Policy()
    result.permissions.add().not_rule.any = True
    result.principals.add().not_id.any = True
    return result


def _rule(rule: PolicyRule, action: PolicyAction, tcp: bool) -> Policy | None:
    try:
        return Policy(
            permissions=[_permissions(conditions, action, tcp) for conditions in rule.operations],
            principals=[_principals(conditions, action, tcp) for conditions in rule.sources],
        )
    except _HttpOnlyError:
        return None


def _permissions(conditions: Conditions, action: PolicyAction, tcp: bool) -> Permission:
    result = Permission()
    every = result.and_rules.rules
    for condition in _possible(conditions, action, tcp):
        one = _metadata_permission if condition.attribute.startswith(_METADATA) else _permission
        if condition.values:
            every.add().or_rules.rules.extend(one(condition.attribute, value) for value in condition.values)
        if condition.not_values:
            unwanted = every.add().not_rule.or_rules.rules
            unwanted.extend(one(condition.attribute, value) for value in condition.not_values)
    if not every:
        every.add().any = True
    return result


def _principals(conditions: Conditions, action: PolicyAction, tcp: bool) -> Principal:
    result = Principal()
    every = result.and_ids.ids
    for condition in _possible(conditions, action, tcp):
        if condition.values:
            every.append(_any_principal(condition.attribute, condition.values))
        if condition.not_values:
            every.add().not_id.CopyFrom(_any_principal(condition.attribute, condition.not_values))
    if not every:
        every.add().any = True
    return result


def _possible(conditions: Conditions, action: PolicyAction, tcp: bool) -> Iterable[Condition]:
    """Raises _HttpOnlyError where one that cannot be evaluated would widen what is allowed."""
    for condition in conditions:
        if not tcp or not condition.attribute.startswith("request."):
            yield condition
        elif action is PolicyAction.ALLOW:
            raise _HttpOnlyError


def _permission(attribute: str, value: str) -> Permission:
    match attribute:
        case "request.host":
            return Permission(header=_header(":authority", value, ignore_case=True))
        case "request.method":
            return Permission(header=_header(":method", value))
        case "request.path" if "{*}" in value or "{**}" in value:
            template = UriTemplateMatchConfig(path_template=value.replace("{*}", "*").replace("{**}", "**"))
            return Permission(uri_template=extension("uri-template", template))
        case "request.path":
            result = Permission()
            result.url_path.path.CopyFrom(_string(value))
            return result
        case "destination.ip":
            return Permission(destination_ip=_range(value))
        case "destination.port":
            return Permission(destination_port=int(value))
        case "connection.sni":
            return Permission(requested_server_name=_string(value))
    raise ValueError(f"no attribute of an operation: {attribute}")


def _metadata_permission(attribute: str, value: str) -> Permission:
    """`experimental.envoy.filters.a.b[c]` is entry c of the metadata of a filter; `[v]` is a list that contains v."""
    filter_name, _, key = attribute.removeprefix("experimental.").removesuffix("]").partition("[")
    in_list = value.startswith("[") and value.endswith("]")
    text = ValueMatcher(string_match=_string(value.strip("[]") if in_list else value))
    if in_list:
        inside = ValueMatcher()
        inside.list_match.one_of.CopyFrom(text)
        text = inside
    return Permission(metadata=_metadata(filter_name, (key,), text))


def _any_principal(attribute: str, values: Sequence[str]) -> Principal:
    if attribute == "request.auth.audiences":
        return _claim(("aud",), values)
    if attribute == "request.auth.presenter":
        return _claim(("azp",), values)
    if attribute.startswith("request.auth.claims"):
        return _claim(_path(attribute.removeprefix("request.auth.claims")), values)
    result = Principal()
    result.or_ids.ids.extend(_principal(attribute, value) for value in values)
    if attribute == "request.auth.principal" and len(values) == 1:
        return result.or_ids.ids[0]
    return result


def _principal(attribute: str, value: str) -> Principal:
    match attribute:
        case "source.ip":
            return Principal(direct_remote_ip=_range(value))
        case "remote.ip":
            return Principal(remote_ip=_range(value))
        case "source.principal":
            return _peer(_string(value, _SPIFFE))
        case "source.trustDomain" if "*" not in value:
            return _peer(StringMatcher(prefix=f"{_SPIFFE}{value}/"))
        case "source.trustDomain":
            before, _, after = map(re.escape, value.partition("*"))
            return _peer(StringMatcher(prefix=_SPIFFE) if value == "*" else _regex(f"{_SPIFFE}{before}[^/]*{after}/.*"))
        case "source.namespace":
            return _peer(_regex(f".*/ns/{'.*'.join(map(re.escape, value.split('*')))}/.*"))
        case "source.serviceAccount":
            namespace, _, name = value.partition("/")
            return _peer(_regex(f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(name)}(/.+)?"))
        case "request.auth.principal":
            return _request_principal(value)
    inside = attribute.partition("[")[2].removesuffix("]")
    if attribute.startswith("request.experimental.inline.headers"):
        return Principal(header=_inline_header(inside, value))
    return Principal(header=_header(inside, value))


def _peer(text: StringMatcher) -> Principal:
    """The client's identity, which the listener that ends the tunnel hands on."""
    result = Principal()
    result.filter_state.key = PEER_PRINCIPAL
    result.filter_state.string_match.CopyFrom(text)
    return result


def _request_principal(value: str) -> Principal:
    """`issuer/subject`, of which the issuer may have slashes too; a star may begin the one or end the other."""
    issuer, slash, subject = value.rpartition("/") if "/" in value else (value, "", "")
    anything = _regex(".+")
    if value == "*":
        matched = anything, anything
    elif value.startswith("*"):
        if slash:
            matched = (anything if issuer == "*" else StringMatcher(suffix=issuer[1:])), StringMatcher(exact=subject)
        else:
            matched = anything, StringMatcher(suffix=value[1:])
    elif value.endswith("*"):
        if slash:
            whole = StringMatcher(exact=issuer)
            matched = whole, (anything if subject == "*" else StringMatcher(prefix=subject[:-1]))
        else:
            matched = StringMatcher(prefix=value[:-1]), anything
    else:
        matched = StringMatcher(exact=issuer), StringMatcher(exact=subject)
    result = Principal()
    for claim, text in zip(("iss", "sub"), matched, strict=True):
        metadata = _metadata(JWT_FILTER, (PAYLOAD, claim), ValueMatcher(string_match=text))
        result.and_ids.ids.add(metadata=metadata)
    return result


def _claim(path: Sequence[str], values: Sequence[str]) -> Principal:
    """A claim is one of the values, or a list with one of them in it."""
    each = [ValueMatcher(string_match=_string(value)) for value in values]
    wanted = each[0]
    if len(each) > 1:
        wanted = ValueMatcher()
        wanted.or_match.value_matchers.extend(each)
    result = ValueMatcher()
    result.or_match.value_matchers.add().list_match.one_of.CopyFrom(wanted)
    result.or_match.value_matchers.append(wanted)
    return Principal(metadata=_metadata(JWT_FILTER, (PAYLOAD, *path), result))


def _path(brackets: str) -> tuple[str, ...]:
    """The names in `[a][b]`; what is in the outermost brackets if they are not one after the other."""
    if re.fullmatch(r"(\[[^\[\]]*\])+", brackets):
        return tuple(re.findall(r"\[([^\[\]]*)\]", brackets))
    return (brackets.removeprefix("[").removesuffix("]"),)


def _metadata(filter_name: str, path: Sequence[str], value: ValueMatcher) -> MetadataMatcher:
    result = MetadataMatcher(filter=filter_name, value=value)
    for key in path:
        result.path.add(key=key)
    return result


def _header(name: str, value: str, *, ignore_case: bool = False) -> HeaderMatcher:
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    text = _string(value)
    text.ignore_case = ignore_case
    return HeaderMatcher(name=name, string_match=text)


def _inline_header(name: str, value: str) -> HeaderMatcher:
    """A header whose values are separated by commas (HeaderMatcherWithRegex)."""
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    if value.startswith("*"):
        one = f".*{re.escape(value[1:])}"
    elif value.endswith("*"):
        one = f"{re.escape(value[:-1])}.*"
    else:
        one = re.escape(value)
    return HeaderMatcher(name=name, string_match=_regex(f"^{one}$|^{one},.*|.*,{one},.*|.*,{one}$"))


def _string(value: str, prefix: str = "") -> StringMatcher:
    """`prefix` is before the value in what is matched, unless any value will do."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return _regex(f"{prefix}.*{re.escape(value[1:])}") if prefix else StringMatcher(suffix=value[1:])
    if value.endswith("*"):
        return StringMatcher(prefix=prefix + value[:-1])
    return StringMatcher(exact=prefix + value)


def _regex(expression: str) -> StringMatcher:
    result = StringMatcher()
    result.safe_regex.regex = expression
    return result


def _range(value: str) -> CidrRange:
    interface = ip_interface(value)
    result = CidrRange(address_prefix=str(interface.ip))
    result.prefix_len.value = interface.network.prefixlen
    return result
