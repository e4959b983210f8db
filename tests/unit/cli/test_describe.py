"""What `istioctl x describe` says of routes and rules, line by line."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ambientlab.cli.istio import facts
from ambientlab.cli.tabwriter import columns


def read(text: str) -> Any:
    return yaml.safe_load(text)


@pytest.mark.parametrize(
    ("matches", "said"),
    [
        ("[{path: {type: PathPrefix, value: /a}, method: GET}]", "Match: GET /a*"),
        ("[{path: {type: RegularExpression, value: a}}, {path: {type: Exact, value: b}}]", "Match: regex:a, Match: b"),
        ("[{headers: [{name: x, value: y}, {name: z, value: q}]}]", "Match: when headers are x=y; z=q"),
        ("[{method: {service: pkg.Echo, method: Ping}}]", "Match: pkg.Echo/Ping"),
        ("[{method: {service: pkg.Echo}}]", "Match: pkg.Echo/*"),
    ],
)
def test_conditions_of_routes_are_told(matches: str, said: str) -> None:
    rule = f"backendRefs: [{{name: a, port: 80, weight: 3}}, {{name: b, port: 80}}]\nmatches: {matches}"
    shares = [f'Route to Service "{name}" port 80 with {share}%' for name, share in (("a", 75), ("b", 25))]
    assert list(facts.route({"rules": [read(rule)]})) == [*shares, said]


def test_conditions_of_virtual_services_are_told() -> None:
    http = """
    - match: [{uri: {prefix: /a}, headers: {x: {exact: y}, z: {regex: q+}}}]
      fault: {delay: {fixedDelay: 1s}, abort: {httpStatus: 500}}
      route: [{destination: {host: a, subset: v1}, weight: 90}, {destination: {host: a, subset: v9}, weight: 10}]
    - route: [{destination: {host: b}}]
    """
    assert list(facts.virtual_service({"http": read(http), "tcp": [{}]}, {"v1": True})) == [
        'Route to host "a" subset "v1" with weight 90%',
        "WARNING: Route to subset v9 but NO DESTINATION RULE defining subsets!",
        "Fault injection abort, delay, Match: /a* when headers are x=y; z=regex:q+",
        'Route to host "b" with weight 100%',
        "1 TCP route(s)",
    ]


def test_settings_of_rules_are_told() -> None:
    policy = """
    tls: {mode: SIMPLE}
    outlierDetection: {consecutive5xxErrors: 3}
    portLevelSettings: [{port: {number: 80}, tls: {}, loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {}}}]
    """
    assert list(facts.traffic_policy(read(policy))) == [
        "Traffic Policy TLS Mode: SIMPLE",
        "Policies: outlier detection",
        "Port Level Settings:",
        "   80:",
        "      Policies: load balancer/connection pool",
    ]
    assert list(facts.traffic_policy(None)) == ["No Traffic Policy"]
    assert list(facts.subsets({"v1": True, "v2": False})) == ["Matching subsets: v1", "   (Non-matching subsets v2)"]
    assert list(facts.subsets({})) == []


def test_a_terminal_is_shown_what_tables_hold_and_does_not_obey_it(capsys: pytest.CaptureFixture[str]) -> None:
    columns([["a", "b"], ["\x1b]0;title\x07", "c"]])
    assert capsys.readouterr().out.splitlines()[1].startswith("\\x1b]0;title\\x07")
