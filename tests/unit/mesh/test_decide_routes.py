"""What routes do to a request at a waypoint, as both APIs write them: matches, shares, faults, rewrites, answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from ambientlab.mesh.decide import Answered, Delivered, Reason, by_answer, by_label
from support.decisions import HELLO, arrival, ask, ends, versions

F = Fraction


def http_route(rules: str) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: helloworld, namespace: hello, creationTimestamp: "2026-01-01T00:00:00Z"}}
spec:
  parentRefs: [{{group: "", kind: Service, name: helloworld}}]
  rules:
{rules}
"""


def virtual_service(http: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: helloworld, namespace: hello}}
spec:
  host: helloworld
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: v3, labels: {{version: v3}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: helloworld, namespace: hello, creationTimestamp: "2026-01-01T00:00:00Z"}}
spec:
  hosts: [helloworld]
  http:
{http}
"""


def backends(**weights: int) -> str:
    return "[" + ", ".join(f"{{name: helloworld-{n}, port: 5000, weight: {w}}}" for n, w in weights.items()) + "]"


def subsets(**weights: int) -> str:
    parts = (f"{{destination: {{host: helloworld, subset: {n}}}, weight: {w}}}" for n, w in weights.items())
    return f"[{', '.join(parts)}]"


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"v1": 95, "v2": 5}, {"v1": F(19, 20), "v2": F(1, 20)}),
        ({"v1": 1, "v2": 3}, {"v2": F(3, 4), "v1": F(1, 4)}),
        ({"v1": 1, "v2": 0}, {"v1": F(1)}),
        ({"v1": 95, "v9": 5}, {"v1": F(19, 20), "500": F(1, 20)}),
        ({"v8": 95, "v9": 5}, {"500": F(1)}),
        ({"v1": 0, "v2": 0}, {"500": F(1)}),
        ({"v1": 1, "v2": 1, "v9": 1}, {"500": F(1, 3), "v1": F(1, 3), "v2": F(1, 3)}),
    ],
)
def test_backends_share_by_weight_and_the_missing_keep_theirs(weights: dict[str, int], shares: dict[str, F]) -> None:
    assert versions(ask(http_route(f"  - backendRefs: {backends(**weights)}"))) == shares


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"v1": 95, "v2": 5}, {"v1": F(19, 20), "v2": F(1, 20)}),
        ({"v1": 0}, {"v1": F(1)}),  # the weight of an only destination says nothing
        ({"v1": 50, "v3": 50}, {"503": F(1, 2), "v1": F(1, 2)}),  # a subset without pods
        ({"v1": 50, "v4": 50}, {"503": F(1, 2), "v1": F(1, 2)}),  # a subset nobody named
    ],
)
def test_subsets_share_by_weight(weights: dict[str, int], shares: dict[str, F]) -> None:
    assert versions(ask(virtual_service(f"  - route: {subsets(**weights)}"))) == shares


def test_why_a_share_is_not_served() -> None:
    [answer] = ends(ask(virtual_service(f"  - route: {subsets(v3=1)}")))
    assert (answer.reason, answer.body) == (Reason.NO_ENDPOINT, "no healthy upstream")
    [answer] = ends(ask(virtual_service(f"  - route: {subsets(v4=1)}")))
    assert (answer.reason, answer.destination.subset) == (Reason.NO_CLUSTER, "v4")


@pytest.mark.parametrize(
    ("fault", "outcomes"),
    [
        ("abort: {httpStatus: 503, percentage: {value: 30}}", {(0, "503"): F(3, 10), (0, "v1"): F(7, 10)}),
        ("delay: {fixedDelay: 2s, percentage: {value: 50}}", {(2000, "v1"): F(1, 2), (0, "v1"): F(1, 2)}),
        (
            "delay: {fixedDelay: 1s, percentage: {value: 50}}, abort: {httpStatus: 418, percentage: {value: 10}}",
            {(1000, "418"): F(1, 20), (0, "418"): F(1, 20), (1000, "v1"): F(9, 20), (0, "v1"): F(9, 20)},
        ),
        ("abort: {httpStatus: 500, percentage: {value: 0.01}}", {(0, "500"): F(1, 10**4), (0, "v1"): 1 - F(1, 10**4)}),
        ("abort: {httpStatus: 500}", {(0, "v1"): F(1)}),
        ("abort: {httpStatus: 500, percentage: {value: 100}}", {(0, "500"): F(1)}),
        ("abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}", {(0, "200"): F(1)}),
    ],
)
def test_faults_are_drawn_for_each_request_and_independently(fault: str, outcomes: dict[Any, F]) -> None:
    decision = ask(virtual_service(f"  - fault: {{{fault}}}\n    route: {subsets(v1=1)}"))
    name = by_label("version")
    assert {(o.delay_ms, name(o.result)): o.probability for o in decision.outcomes} == outcomes


def test_an_abort_names_itself() -> None:
    text = virtual_service(
        f"  - fault: {{abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}\n    route: {subsets(v1=1)}"
    )
    [answer] = ends(ask(text))
    assert answer == Answered(503, Reason.FAULT, "fault filter abort")
    [answer] = ends(ask(text, headers={"content-type": "application/grpc"}))
    assert (answer.status, answer.grpc_status) == (200, 14)


MATCHES = http_route(f"""
  - name: exact
    matches: [{{path: {{type: Exact, value: /exact}}}}]
    backendRefs: {backends(v1=1)}
  - name: prefix
    matches: [{{path: {{type: PathPrefix, value: /prefix/}}}}]
    backendRefs: {backends(v1=1)}
  - name: regex
    matches: [{{path: {{type: RegularExpression, value: "/r[0-9]+"}}}}]
    backendRefs: {backends(v1=1)}
  - name: post
    matches: [{{path: {{type: Exact, value: /method}}, method: POST}}]
    backendRefs: {backends(v1=1)}
  - name: header
    matches: [{{path: {{type: Exact, value: /header}}, headers: [{{name: X-User, value: jason}}]}}]
    backendRefs: {backends(v1=1)}
  - name: query
    matches: [{{path: {{type: Exact, value: /query}}, queryParams: [{{name: q, value: a%20b}}]}}]
    backendRefs: {backends(v1=1)}
""")


@pytest.mark.parametrize(
    ("path", "method", "headers", "chosen"),
    [
        ("/exact", "GET", {}, "exact"),
        ("/exact?x=1", "GET", {}, "exact"),
        ("/Exact", "GET", {}, None),
        ("/exact/", "GET", {}, None),
        ("/a/../exact", "GET", {}, "exact"),
        ("/prefix", "GET", {}, "prefix"),
        ("/prefix/a", "GET", {}, "prefix"),
        ("/prefixed", "GET", {}, None),
        ("/r12", "GET", {}, "regex"),
        ("/r12a", "GET", {}, None),
        ("/method", "POST", {}, "post"),
        ("/method", "GET", {}, None),
        ("/header", "GET", {"x-user": "jason"}, "header"),
        ("/header", "GET", {"x-user": "Jason"}, None),
        ("/header", "GET", {}, None),
        ("/query?q=a%20b&q=c", "GET", {}, "query"),
        ("/query?q=c&q=a%20b", "GET", {}, None),
        ("/query?Q=a%20b", "GET", {}, None),
    ],
)
def test_what_matches(path: str, method: str, headers: dict[str, str], chosen: str | None) -> None:
    decision = ask(MATCHES, HELLO + path, method=method, headers=headers)
    assert decision.routing is not None
    assert (decision.routing.chosen.route.name if decision.routing.chosen else None) == chosen
    if chosen is None:
        assert ends(decision) == [Answered(404, Reason.NO_ROUTE)]


def test_what_came_close_says_by_what_it_fell_short() -> None:
    decision = ask(MATCHES, f"{HELLO}/header", headers={"x-user": "Jason"})
    assert decision.routing is not None
    close = {c.route.name: [str(check) for check in c.failed] for c in decision.routing.came_close}
    assert close["header"] == ["header x-user Jason is not jason"]
    assert close["prefix"] == ["path /header is not below /prefix"]
    assert close["regex"] == ["path /header does not match /r[0-9]+"]
    [missing] = [c for c in ask(MATCHES, f"{HELLO}/header").routing.candidates if c.route.name == "header"]  # type: ignore[union-attr]  # it has a waypoint
    assert [str(check) for check in missing.failed] == ["there is no header x-user"]


def test_a_route_behind_one_that_matches_everything_is_shadowed() -> None:
    text = virtual_service(f"""
  - name: all
    route: {subsets(v1=1)}
  - name: never
    match: [{{uri: {{prefix: /late}}}}]
    route: {subsets(v2=1)}
""")
    decision = ask(text, f"{HELLO}/late")
    assert decision.routing is not None
    assert [c.route.name for c in decision.routing.candidates if c.matches] == ["all", "never"]
    assert decision.routing.chosen is decision.routing.candidates[0]
    assert versions(decision) == {"v1": 1}


@pytest.mark.parametrize(
    ("match", "headers", "path", "holds"),
    [
        ("uri: {prefix: /a}, ignoreUriCase: true", {}, "/ABC", True),
        ("uri: {prefix: /a}", {}, "/ABC", False),
        ("uri: {regex: /a}, ignoreUriCase: true", {}, "/A", False),
        ("headers: {x: {exact: 'a,b'}}", {"x": "a,b"}, "/", True),
        ("headers: {x: {}}", {"x": "anything"}, "/", True),
        ("headers: {x: {}}", {}, "/", False),
        ("headers: {x: {prefix: ab}}", {"x": "abc"}, "/", True),
        ("withoutHeaders: {x: {}}", {"x": "1"}, "/", False),
        ("withoutHeaders: {x: {}}", {}, "/", True),
        ("withoutHeaders: {x: {exact: '1'}}", {"x": "1"}, "/", False),
        ("withoutHeaders: {x: {exact: '1'}}", {"x": "2"}, "/", True),
        ("withoutHeaders: {x: {exact: '1'}}", {}, "/", True),
        ("authority: {prefix: helloworld.hello}", {}, "/", True),
        ("authority: {exact: other}", {"Host": "other"}, "/", True),
        ("scheme: {exact: http}", {}, "/", True),
        ("method: {regex: 'GET|HEAD'}", {}, "/", True),
        ("queryParams: {q: {regex: '[0-9]+'}}", {}, "/?q=12", True),
        ("queryParams: {q: {exact: ''}}", {}, "/?q", True),
    ],
)
def test_what_a_virtual_service_matches(match: str, headers: dict[str, str], path: str, holds: bool) -> None:
    text = virtual_service(f"""
  - match: [{{{match}}}]
    route: {subsets(v2=1)}
  - route: {subsets(v1=1)}
""")
    assert versions(ask(text, HELLO + path, headers=headers)) == {"v2" if holds else "v1": 1}


@pytest.mark.parametrize(
    ("rewrite", "path", "seen"),
    [
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}", "/old/a?q=1", "/a?q=1"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}", "/old", "/"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}", "/old/a", "/new/a"),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /whole}}", "/old/a?q=1", "/whole?q=1"),
        ("{hostname: other}", "/old/a", "/old/a"),
    ],
)
def test_rewrites(rewrite: str, path: str, seen: str) -> None:
    decision = ask(
        http_route(f"""
  - matches: [{{path: {{value: /old}}}}]
    filters: [{{type: URLRewrite, urlRewrite: {rewrite}}}]
    backendRefs: {backends(v1=1)}
"""),
        HELLO + path,
    )
    assert arrival(decision).path == seen
    assert arrival(decision).authority == ("other" if "hostname" in rewrite else "helloworld.hello:5000")


def test_headers_change_on_the_way_out_and_back() -> None:
    text = http_route(f"""
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        {{set: [{{name: X-Set, value: new}}], add: [{{name: x-add, value: "2"}}], remove: [x-gone]}}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{remove: [server]}}
    backendRefs: {backends(v1=1)}
""")
    decision = ask(text, headers={"x-set": "old", "x-add": "1", "x-gone": "x", "x-kept": "k"})
    assert sorted(arrival(decision).headers) == [("x-add", "1"), ("x-add", "2"), ("x-kept", "k"), ("x-set", "new")]
    [change] = {result.changes for result in decision.delivered()}
    assert [c.remove for c in change] == [("server",)]


@pytest.mark.parametrize(
    ("redirect", "location"),
    [
        ("{scheme: https}", "https://helloworld.hello:5000/old/a?q=1"),
        ("{hostname: example.com}", "http://example.com:5000/old/a?q=1"),
        ("{hostname: example.com, port: 80}", "http://example.com/old/a?q=1"),
        ("{port: 8443, scheme: https}", "https://helloworld.hello:8443/old/a?q=1"),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", "http://helloworld.hello:5000/x?q=1"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}", "http://helloworld.hello:5000/new/a?q=1"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}", "http://helloworld.hello:5000//a?q=1"),
    ],
)
def test_redirects(redirect: str, location: str) -> None:
    text = http_route(f"""
  - matches: [{{path: {{value: /old}}}}]
    filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]
""")
    [answer] = ends(ask(text, f"{HELLO}/old/a?q=1"))
    assert (answer.status, answer.reason, answer.headers) == (302, Reason.REDIRECT, (("location", location),))


def test_a_direct_response() -> None:
    text = virtual_service("  - directResponse: {status: 418, body: {string: short and stout}}")
    assert ends(ask(text)) == [Answered(418, Reason.DIRECT_RESPONSE, "short and stout")]


def test_what_holds_for_the_request_as_a_whole() -> None:
    text = virtual_service(f"""
  - timeout: 5s
    retries: {{attempts: 3, retryOn: "5xx"}}
    mirror: {{host: helloworld-v2}}
    mirrorPercentage: {{value: 10}}
    route: {subsets(v1=1)}
""")
    routing = ask(text).routing
    assert routing is not None
    assert routing.timeout_ms == 5000
    assert routing.retries is not None
    assert (routing.retries.attempts, routing.retries.retry_on) == (3, "5xx")
    [mirror] = routing.mirrors
    assert (mirror.destination.host, mirror.parts_per_million) == ("helloworld-v2.hello.svc.cluster.local", 100_000)
    plain = ask(virtual_service(f"  - route: {subsets(v1=1)}")).routing
    assert plain is not None
    assert plain.retries is not None
    assert plain.retries.attempts == 2
    never = ask(virtual_service(f"  - retries: {{attempts: 0}}\n    route: {subsets(v1=1)}")).routing
    assert never is not None
    assert never.retries is None


def test_probabilities_are_exact_and_one_together() -> None:
    decision = ask(http_route(f"  - backendRefs: {backends(v1=1, v2=1, v9=1)}"))
    assert sum(outcome.probability for outcome in decision.outcomes) == 1
    assert decision.distribution(by_answer) == {"delivered": F(2, 3), "500": F(1, 3)}
    assert decision.delays() == {0: 1}
    assert all(isinstance(outcome.result, Delivered | Answered) for outcome in decision.outcomes)


CORS = virtual_service(f"""
  - corsPolicy:
      allowOrigins: [{{exact: https://a.example}}, {{regex: "https://.*[.]b[.]example"}}]
      allowMethods: [GET, PUT]
      maxAge: 10s
    route: {subsets(v1=1)}
""")
PREFLIGHT = {"access-control-request-method": "PUT"}


def test_a_preflight_is_answered_by_the_waypoint() -> None:
    [answer] = ends(ask(CORS, method="OPTIONS", headers={"origin": "https://a.example", **PREFLIGHT}))
    assert (answer.status, answer.reason) == (200, Reason.PREFLIGHT)
    assert dict(answer.headers) == {
        "access-control-allow-origin": "https://a.example",
        "access-control-allow-methods": "GET,PUT",
        "access-control-max-age": "10",
    }


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"origin": "https://other.example", **PREFLIGHT}),
        ("OPTIONS", {"origin": "https://a.example"}),
        ("OPTIONS", PREFLIGHT),
        ("PUT", {"origin": "https://a.example", **PREFLIGHT}),
    ],
)
def test_what_is_no_preflight_or_of_another_origin_goes_on(method: str, headers: dict[str, str]) -> None:
    assert versions(ask(CORS, method=method, headers=headers)) == {"v1": 1}


@pytest.mark.parametrize(
    ("origin", "told"), [("https://www.b.example", True), ("https://b.example", False), ("", False)]
)
def test_responses_name_an_origin_that_may_read_them(origin: str, told: bool) -> None:
    [result] = ask(CORS, headers={"origin": origin} if origin else {}).delivered()
    added = [change.set for change in result.changes]
    assert added == ([(("access-control-allow-origin", origin),)] if told else [])
