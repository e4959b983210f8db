"""Policies for connections as a list of conditions that Envoy goes through, in ztunnel's order: what one denies, then
what one allows, then everything else (assert_rbac in src/state.rs, and src/rbac.rs of istio/ztunnel).

The same list stands where tunnels end, whose target and identity a CONNECT brings, and before plain connections, which
have no identity: what is asked of one is decided there beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_interface
from typing import TypeAlias

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Action
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import (
    DestinationIPInput,
    DestinationPortInput,
    DirectSourceIPInput,
)
from envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from ambientlab.mesh.ir import NONE_ALLOWED, Authorization, Condition, Conditions, PolicyAction, denied_by
from ambientlab.mesh.xds.messages import packed

Predicate: TypeAlias = Matcher.MatcherList.Predicate
Test: TypeAlias = Predicate | bool
"""Known beforehand, or to be found out for each connection."""

Step: TypeAlias = tuple[Predicate, str]
"""What to ask, and why a connection is refused that it is true of: "" for one to let pass."""

_LONGEST = 1000
"""Characters that may be in an identity at most: Envoy refuses expressions of some 700,000, too many for RE2's memory,
and with one of them all that a pod's policies say."""

_IDENTITY = ("source.principal", "source.namespace", "source.serviceAccount")


def steps(policies: Sequence[Authorization], *, plain: bool) -> tuple[list[Step], str]:
    """In turn, and what becomes of a connection that none is true of."""
    found: list[Step] = []
    allowing = [policy for policy in policies if policy.action is PolicyAction.ALLOW]
    for policy in (*(p for p in policies if p.action is PolicyAction.DENY), *allowing):
        test = _matched(policy, plain)
        reason = denied_by(policy.key) if policy.action is PolicyAction.DENY else ""
        if test is True:
            return found, reason
        if test is not False:
            found.append((test, reason))
    return found, NONE_ALLOWED if allowing else ""


def of_tunnels(policies: Sequence[Authorization]) -> RBACPerRoute:
    """For the filter that a CONNECT passes; what it has decided is in its metadata, by the name of the action."""
    return RBACPerRoute(rbac=HttpRbac(matcher=_matcher(steps(policies, plain=False), _verdict)))


def of_plain_connections(policies: Sequence[Authorization], passing: str) -> tuple[Matcher.OnMatch, list[str]]:
    """By which a filter chain is chosen: `passing`, or one that is named for a reason to refuse; and these reasons."""
    tests, otherwise = steps(policies, plain=True)
    reasons = list(dict.fromkeys(filter(None, [*(reason for _, reason in tests), otherwise])))
    matcher = _matcher((tests if reasons else [], otherwise), lambda reason: StringValue(value=reason or passing))
    return Matcher.OnMatch(matcher=matcher) if matcher.HasField("matcher_list") else matcher.on_no_match, reasons


def _matcher(found: tuple[list[Step], str], action: Callable[[str], Action | StringValue]) -> Matcher:
    """`action` is for a reason to refuse, or for none."""
    tests, otherwise = found
    result = Matcher()
    for predicate, reason in tests:
        entry = result.matcher_list.matchers.add(predicate=predicate)
        _act(entry.on_match, action(reason))
    _act(result.on_no_match, action(otherwise))
    return result


def _act(on_match: Matcher.OnMatch, action: Action | StringValue) -> None:
    on_match.action.name = action.value if isinstance(action, StringValue) else action.name
    on_match.action.typed_config.CopyFrom(packed(action))


def _verdict(reason: str) -> Action:
    return Action(name=reason or "allowed", action=RBAC.DENY if reason else RBAC.ALLOW)


@lru_cache(maxsize=10_000)
def _matched(policy: Authorization, plain: bool) -> Test:
    """Once for all pods that a policy is for."""
    return _any(_all(_any(_match(m, plain) for m in clause) for clause in rule) for rule in policy.rules)


def _match(conditions: Conditions, plain: bool) -> Test:
    return _all(_condition(condition, plain) for condition in conditions) if conditions else False


def _condition(condition: Condition, plain: bool) -> Test:
    def one_of(values: Sequence[str]) -> Test:
        if condition.attribute in ("source.ip", "destination.ip"):
            return _within(condition.attribute, values)
        if plain and condition.attribute in _IDENTITY:
            return False
        if condition.attribute == "source.principal" and "*" in values:
            return True  # nobody gets a tunnel who has not shown one
        return _any(_has(condition.attribute, value, plain) for value in values if len(value) <= _LONGEST)

    wanted = one_of(condition.values) if condition.values else True
    unwanted = one_of(condition.not_values) if condition.not_values else False
    return _all((wanted, _not(unwanted)))


def _has(attribute: str, value: str, plain: bool) -> Predicate:
    match attribute:
        case "destination.port" if plain:
            return _text(DestinationPortInput(), StringMatcher(exact=value))
        case "destination.port":
            return _text(HttpRequestHeaderMatchInput(header_name=":authority"), StringMatcher(suffix=f":{value}"))
        case "source.principal":
            return _text(UriSanInput(), _principal(value))
        case "source.namespace" if "*" not in (value[0], value[-1]):
            return _text(UriSanInput(), StringMatcher(contains=f"/ns/{value}/sa/"))
        case "source.namespace":
            return _text(UriSanInput(), _regex(f"spiffe://[^/]*/ns/{_pattern(value)}/sa/[^/]*"))
        case "source.serviceAccount":
            namespace, _, name = value.partition("/")
            return _text(UriSanInput(), StringMatcher(suffix=f"/ns/{namespace}/sa/{name}"))
    raise ValueError(f"no attribute of a connection: {attribute}")


def _principal(value: str) -> StringMatcher:
    prefix = "spiffe://"
    if value.startswith("*"):
        return _regex(f"{prefix}.*{re.escape(value[1:])}")
    if value.endswith("*"):
        return StringMatcher(prefix=prefix + value[:-1])
    return StringMatcher(exact=prefix + value)


def _pattern(value: str) -> str:
    """Of one element of an identity."""
    if value == "*":
        return "[^/]+"
    return f"[^/]*{re.escape(value[1:])}" if value.startswith("*") else f"{re.escape(value[:-1])}[^/]*"


def _regex(expression: str) -> StringMatcher:
    result = StringMatcher()
    result.safe_regex.google_re2.SetInParent()
    result.safe_regex.regex = expression
    return result


def _within(attribute: str, blocks: Sequence[str]) -> Predicate:
    """The address of the connection itself: what a header of the CONNECT says of another is its sender's word."""
    source = DirectSourceIPInput() if attribute == "source.ip" else DestinationIPInput()
    ranges = Ip(cidr_ranges=map(_range, blocks), stat_prefix="policies")
    result = Predicate()
    result.single_predicate.input.CopyFrom(_input(source))
    result.single_predicate.custom_match.CopyFrom(
        TypedExtensionConfig(name="envoy.matching.matchers.ip", typed_config=packed(ranges))
    )
    return result


def _range(block: str) -> CidrRange:
    interface = ip_interface(block)
    result = CidrRange(address_prefix=str(interface.ip))
    result.prefix_len.value = interface.network.prefixlen
    return result


def _text(source: Message, value: StringMatcher) -> Predicate:
    result = Predicate()
    result.single_predicate.input.CopyFrom(_input(source))
    result.single_predicate.value_match.CopyFrom(value)
    return result


def _input(source: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name="input", typed_config=packed(source))


def _any(tests: Iterable[Test]) -> Test:
    return _joined(tests, decisive=True)


def _all(tests: Iterable[Test]) -> Test:
    return _joined(tests, decisive=False)


def _joined(tests: Iterable[Test], *, decisive: bool) -> Test:
    """One of the tests decides for all if it is known to come out as `decisive`: true for `_any`, false for `_all`."""
    found: list[Predicate] = []
    for test in tests:
        if test is decisive:
            return decisive
        if not isinstance(test, bool):
            found.append(test)
    if len(found) < 2:
        return found[0] if found else not decisive
    result = Predicate()
    (result.or_matcher if decisive else result.and_matcher).predicate.extend(found)
    return result


def _not(test: Test) -> Test:
    if isinstance(test, bool):
        return not test
    return Predicate(not_matcher=test)
