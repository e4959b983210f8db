"""`istioctl x authz check` over dumps: of Istio's own proxies, whose filters stand in listeners, and of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from ambientlab.cli import istioctl

HTTP = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"


def check(*filters: dict[str, Any], nested: bool = True) -> list[list[str]]:
    configs: Any = [{"ecds_filter": {"name": "http|a", "typed_config": one}} for one in filters]
    if nested:
        http = [{"name": "envoy.filters.http.rbac", "typed_config": one} for one in filters]
        manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": {"http_filters": http}}
        listener = {"name": "virtualInbound", "filter_chains": [{"filters": [manager]}]}
        configs = [{"dynamic_listeners": [{"active_state": {"listener": listener}}]}]
    done = CliRunner().invoke(istioctl.cli, ["x", "authz", "check", "-f", "-"], input=json.dumps({"configs": configs}))
    assert done.exit_code == 0, done.output
    head, *lines = done.output.splitlines()
    assert head.split() == ["ACTION", "AuthorizationPolicy", "RULES"]
    return [line.split() for line in lines]


def rbac(kind: str, action: str, *names: str) -> dict[str, Any]:
    return {"@type": kind, "rules": {"action": action, "policies": {name: {} for name in names}}}


def test_rules_are_counted_by_policy_and_deny_comes_first() -> None:
    allow = rbac(HTTP, "ALLOW", "ns[a]-policy[get]-rule[0]", "ns[a]-policy[get]-rule[1]", "ns[a]-policy[b]-rule[0]")
    deny = {**rbac(NETWORK, "DENY", "ns[istio-system]-policy[no]-rule[0]")}
    expected = [["DENY", "no.istio-system", "1"], ["ALLOW", "b.a", "1"], ["ALLOW", "get.a", "2"]]
    assert check(allow, deny) == expected
    assert check(allow, deny, nested=False) == expected
    assert check(allow, allow, deny) == expected, "each listener has them once more"


def test_policies_of_providers_and_of_nobody() -> None:
    shadow = {
        "@type": HTTP,
        "shadow_rules": {"action": "DENY", "policies": {"istio-ext-authz-ns[a]-policy[ask]-rule[0]": {}}},
    }
    nobody = {"@type": HTTP, "rules": {}}
    assert check(shadow, nobody) == [["ALLOW", "_anonymous_match_nothing_", "1"], ["CUSTOM", "ask.a", "1"]]


def test_a_dry_run_is_not_enforced() -> None:
    dry = {"@type": HTTP, "shadow_rules": {"action": "DENY", "policies": {"ns[a]-policy[later]-rule[0]": {}}}}
    assert check(dry) == []


@pytest.mark.parametrize("odd", [5, "x", [1], {"policies": 5}, {"policies": [1]}, {"policies": {"x": 1}}])
def test_what_is_no_policy_is_none(odd: Any) -> None:
    assert check({"@type": HTTP, "shadow_rules": odd}) == []
    nobody = [] if odd == {"policies": {"x": 1}} else [["ALLOW", "_anonymous_match_nothing_", "1"]]
    assert check({"@type": HTTP, "rules": odd}) == nobody


def test_what_is_no_dump_is_told() -> None:
    for text in ("", "[" * 100_000):
        done = CliRunner().invoke(istioctl.cli, ["x", "authz", "check", "-f", "-"], input=text)
        assert "failed to get config dump from file -: failed to unmarshal proxy config: " in done.output
