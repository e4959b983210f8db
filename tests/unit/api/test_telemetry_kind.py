"""Telemetry at the API: what is refused, in whose words."""

from __future__ import annotations

import pytest

from ambientlab.api import attributes, kinds
from ambientlab.api.objects import Object
from support.api_samples import spoiled

TELEMETRY: Object = {
    "apiVersion": "telemetry.istio.io/v1",
    "kind": "Telemetry",
    "metadata": {"name": "logs", "namespace": "hello"},
    "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "helloworld"}],
        "accessLogging": [{"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}],
        "metrics": [
            {
                "overrides": [
                    {"match": {"metric": "REQUEST_COUNT"}, "tagOverrides": {"a": {"value": "request.host"}}},
                    {"tagOverrides": {"source_app": {"operation": "REMOVE"}}},
                ]
            }
        ],
    },
}
OVERRIDE = "spec.metrics.0.overrides.0"
CASES = [
    ("spec.selector", {"matchLabels": {"app": "x"}}, "only one of targetRefs or selector can be set"),
    ("spec.targetRefs.0.kind", "Pod", "targetRef must be to one of"),
    ("spec.targetRefs.0.namespace", "other", "cross namespace referencing is not currently supported"),
    ("spec.accessLogging.0.filter.expression", "response.code >=", "must be a valid CEL expression, "),
    ("spec.accessLogging.0.providers.0.name", "", "should be at least 1 chars long"),
    ("spec.accessLogging.0.match", {"mode": "BOTH"}, "supported values"),
    (f"{OVERRIDE}.tagOverrides.a", {}, "tagOverrides.value must be set when operation is UPSERT"),
    (f"{OVERRIDE}.tagOverrides.a.operation", "REMOVE", "value must not be set when operation is REMOVE"),
    (f"{OVERRIDE}.match", {"metric": "REQUEST_COUNT", "customMetric": "x"}, "must validate one and only one schema"),
    (f"{OVERRIDE}.match.metric", "REQUESTS", "supported values"),
    ("spec.metrics.0.reportingInterval", "0s", "must be a valid duration greater than 1ms"),
    ("spec.tracing", [{"randomSamplingPercentage": 101}], "should be less than or equal to 100"),
    ("spec.tracing", [{"customTags": {"a": {"literal": {}}}}], "Required value"),
]


@pytest.mark.parametrize(("path", "value", "text"), CASES, ids=[case[2][:50] for case in CASES])
def test_a_telemetry_is_refused(refusal, admitted, path, value, text) -> None:
    admitted(kinds.TELEMETRY, TELEMETRY)
    assert text in refusal(kinds.TELEMETRY, spoiled(TELEMETRY, path, value)).message


@pytest.mark.parametrize(
    ("expression", "trouble"),
    [
        ("request.path.startsWith('/a') && 'x' in request.headers", ""),
        ("upstream_peer.name", "undeclared reference to 'upstream_peer.name'"),
        ("request.path.split('/')[0] == 'a'", "undeclared reference to 'split'"),
        ("a b", "Syntax error"),
        ("request.path.matches('/a+') && request.headers['x'].matches(request.method)", ""),
        ("{'a': [request.path == '' || request.path.matches('[')]}['a'][0]", "missing closing ]: `[`"),
        ("matches(request.headers['x'], '(')", "missing closing ): `(`"),
        ("size([1, 2].filter(n, n > 1)) == 1", "Comprehension support is disabled"),
    ],
)
def test_what_envoy_would_not_evaluate_is_known_before(expression: str, trouble: str) -> None:
    found = attributes.trouble(expression)
    assert (trouble in found) if trouble else not found
    assert attributes.trouble("upstream_peer.name", istios=True) == ""
