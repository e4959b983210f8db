"""What several Telemetries come to, as Istio merges them (pilot/pkg/model/telemetry.go and its tests)."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.mesh.index.telemetry import combined, read
from ambientlab.mesh.ir import EVERYTHING, Key, MetricChange, Telemetry
from support.decisions import indexed
from support.route_worlds import world

ENVOY = [{"name": "envoy"}]
PROMETHEUS = [{"name": "prometheus"}]
REQUESTS = "istio_requests_total"
OFF = Telemetry(log=False)


def of(*specs: dict[str, Any]) -> Telemetry:
    """From the widest scope to the narrowest."""
    return combined(read(Key("n", str(i)), {"metadata": {}, "spec": spec}) for i, spec in enumerate(specs))


def logs(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"accessLogging": list(rules)}


def metrics(*overrides: dict[str, Any], **rule: Any) -> dict[str, Any]:
    return {"metrics": [{"overrides": list(overrides), **rule}]}


def only(expression: str) -> dict[str, Any]:
    return {"providers": ENVOY, "filter": {"expression": expression}}


@pytest.mark.parametrize(
    ("specs", "result"),
    [
        ([], EVERYTHING),
        ([logs({"providers": ENVOY})], EVERYTHING),
        ([logs({"providers": ENVOY, "disabled": True})], OFF),
        ([logs({"disabled": True})], EVERYTHING),  # no provider, and no default one: nothing is meant
        ([logs({"providers": [{"name": "otel"}], "disabled": True})], EVERYTHING),
        ([logs({"providers": ENVOY, "disabled": True, "match": {"mode": "CLIENT"}})], EVERYTHING),
        ([logs({"providers": ENVOY, "disabled": True, "match": {"mode": "SERVER"}})], OFF),
        ([logs({"providers": ENVOY}), logs({"disabled": True})], OFF),  # the wider scope's provider
        ([logs({"providers": ENVOY, "disabled": True}), logs({"providers": ENVOY})], EVERYTHING),
        ([logs(only("response.code > 1"))], Telemetry(log_filter="response.code > 1")),
        ([logs(only("request.size > 1")), logs(only("request.size > 2"))], Telemetry(log_filter="request.size > 2")),
        ([logs(only("request.size > 1")), logs({"providers": ENVOY})], EVERYTHING),  # a filter is not inherited
        ([logs(only("no.such"))], OFF),
        ([logs({"providers": ENVOY, "disabled": True}, {"providers": ENVOY})], EVERYTHING),
    ],
)
def test_logs(specs: list[dict[str, Any]], result: Telemetry) -> None:
    assert of(*specs) == result


def removed(name: str) -> dict[str, Any]:
    return {"tagOverrides": {name: {"operation": "REMOVE"}}}


NO_METRICS = Telemetry(metrics=False)
COUNT = {"match": {"metric": "REQUEST_COUNT"}}


@pytest.mark.parametrize(
    ("specs", "result"),
    [
        ([metrics({"disabled": True})], NO_METRICS),
        ([metrics({"match": {"metric": "ALL_METRICS"}, "disabled": True})], NO_METRICS),
        ([metrics({"match": {"mode": "CLIENT"}, "disabled": True})], EVERYTHING),
        ([metrics(providers=[{"name": "otel"}])], NO_METRICS),  # not to Prometheus
        ([metrics(providers=[{"name": "otel"}]), metrics(providers=PROMETHEUS)], EVERYTHING),
        ([metrics({"disabled": True}), metrics({**COUNT, "disabled": False})], EVERYTHING),  # any other takes it back
        ([metrics({**COUNT, "disabled": True})], Telemetry(changes=(MetricChange(REQUESTS, disabled=True),))),
        ([metrics({**COUNT, "disabled": True}), metrics({**COUNT, "disabled": False})], EVERYTHING),
        (
            [
                metrics({**COUNT, **removed("source_app")}),
                metrics({**COUNT, "tagOverrides": {"x-y": {"value": "'1'"}}}),
            ],
            Telemetry(changes=(MetricChange(REQUESTS, labels=(("source_app", None), ("x_y", "'1'"))),)),
        ),
        (
            [metrics({**COUNT, **removed("a")}), metrics({**COUNT, "tagOverrides": {"a": {"value": "'1'"}}})],
            Telemetry(changes=(MetricChange(REQUESTS, labels=(("a", "'1'"),)),)),
        ),
        ([metrics({"match": {"customMetric": "mine"}, "disabled": True})], EVERYTHING),
    ],
)
def test_metrics(specs: list[dict[str, Any]], result: Telemetry) -> None:
    assert of(*specs) == result


def test_an_override_without_a_metric_is_for_all_of_them() -> None:
    changes = of(metrics(removed("source_principal"))).changes
    assert len(changes) == 10
    assert {change.labels for change in changes} == {(("source_principal", None),)}


@pytest.mark.parametrize("value", ["'100%'", "upstream_peer.name", "nothing.there", "'a\nb'"])
def test_a_label_without_a_value_is_unknown_and_said(value: str) -> None:
    reading = read(Key("n", "x"), {"metadata": {}, "spec": metrics({**COUNT, "tagOverrides": {"a": {"value": value}}})})
    assert combined([reading]).changes == (MetricChange(REQUESTS, labels=(("a", ""),)),)
    [said] = reading.diagnostics
    assert "the label is `unknown`" in said.message


WAYPOINT, HOST = Key("hello", "waypoint"), "app.hello.svc.cluster.local"
ASKS_FOR_LOGS = {
    "apiVersion": "telemetry.istio.io/v1",
    "kind": "Telemetry",
    "metadata": {"name": "logs", "namespace": "hello"},
    "spec": {"targetRefs": [{"kind": "Service", "group": "", "name": "app"}], "accessLogging": [{"providers": ENVOY}]},
}


def configured(mesh: str) -> dict[str, Any]:
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}}
    return {**head, "data": {"mesh": mesh}}


@pytest.mark.parametrize("mesh", ["", "accessLogFile: ''", "no: [mapping", "text"])
def test_the_meshs_configuration_says_whether_there_are_logs(mesh: str) -> None:
    """In Istio none are kept unless accessLogFile or a Telemetry says so."""
    found = indexed(*world("10.0.0"), configured(mesh), ASKS_FOR_LOGS).mesh.telemetry
    assert found[WAYPOINT, ""] == OFF
    assert found[WAYPOINT, "one.hello.svc.cluster.local"] == OFF
    assert (WAYPOINT, HOST) not in found
    assert not indexed(*world("10.0.0"), configured("accessLogFile: /dev/stdout")).mesh.telemetry


def test_what_the_meshs_configuration_cannot_have_is_said() -> None:
    config = configured("{accessLogFile: /var/log/x, accessLogEncoding: JSON, accessLogFormat: '%PROTOCOL%'}")
    said = [one.message for one in indexed(*world("10.0.0"), config).diagnostics() if one.object.kind == "ConfigMap"]
    assert len(said) == 3


LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
"""A few lines that come to 43 million values."""


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ("no: [mapping", "data.mesh is invalid, and the mesh goes on with what it said before: "),
        ("text", "it is a str, not a mapping"),
        ("[" * 40_000 + "]" * 40_000, "yaml: exceeded max depth of 1000"),
        ("a: &a [*a]", "yaml: anchor contains itself"),
        (f"a: &a0 [1]\n{LAUGHS}", "yaml: document contains excessive aliasing"),
        ("{[a]: b}", "yaml: a key must be a scalar"),
        ("since: 2026-99-99", "mesh.since is not supported by ambientlab"),
        ("a: \ud800", "surrogates not allowed"),
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", "mesh.outboundTrafficPolicy is not supported by ambientlab"),
        ("trustDomain: other_example", 'trustDomain: trust domain name "other_example" invalid'),
        ("trustDomain: ''", "trustDomain: empty domain name not allowed"),
        ("trustDomainAliases: [a.b, '*']", 'trustDomainAliases[1], domain `*` : trust domain name "*" invalid'),
        ("trustDomainAliases: a.b", "trustDomain is a string, trustDomainAliases a list of strings"),
        ("{trustDomain: other.example, trustDomainAliases: [old.example]}", ""),
        ("rootNamespace: istio-system", ""),
        ("", ""),
    ],
)
def test_a_configuration_that_does_not_hold_is_said(mesh: str, said: str) -> None:
    found = [
        one.text for one in indexed(*world("10.0.0"), configured(mesh)).diagnostics() if one.object.kind == "ConfigMap"
    ]
    assert len(found) == bool(said)
    assert all(said in text for text in found)
