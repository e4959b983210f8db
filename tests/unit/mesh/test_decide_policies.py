"""What authorization policies make of a request: the verdict, and which rule of which policy it comes from."""

from __future__ import annotations

import pytest

from ambientlab.mesh.decide import Answered, Decision, Reason, Verdict, by_answer
from ambientlab.mesh.ir import Key
from support import jwt
from support.decisions import HELLO, arrival, ask, case, ends, versions

TCP = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{name: http, port: 5000, appProtocol: tcp}]}
---
"""


def policy(name: str, spec: str, kind: str = "Service", target: str = "helloworld", group: str = '""') -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: hello}}
spec:
  targetRefs: [{{group: {group}, kind: {kind}, name: {target}}}]
  {spec}
---
"""


GETS = policy("gets", "rules: [{to: [{operation: {methods: [GET]}}]}]")
CURL_ONLY = policy("curl-only", "rules: [{from: [{source: {principals: [cluster.local/ns/test/sa/curl]}}]}]")
NO_ADMIN = policy("no-admin", 'action: DENY\n  rules: [{to: [{operation: {paths: ["/admin*"]}}]}]')
NOBODY = policy("nobody", "action: ALLOW")


def verdict(decision: Decision) -> Verdict:
    [passage] = decision.passages
    return passage.verdict


@pytest.mark.parametrize(
    ("policies", "path", "method", "allowed", "words"),
    [
        ("", "/", "GET", True, "no policy"),
        (GETS, "/", "GET", True, "allowed by: hello/gets"),
        (GETS, "/", "POST", False, "allow policies exist, but none allowed"),
        (GETS + CURL_ONLY, "/", "POST", True, "allowed by: hello/curl-only"),
        (NO_ADMIN, "/", "GET", True, "no policy"),
        (NO_ADMIN + CURL_ONLY, "/admin/x", "GET", False, "explicitly denied by: hello/no-admin"),
        (NO_ADMIN, "/a/../admin", "GET", False, "explicitly denied by: hello/no-admin"),
        (NOBODY, "/", "GET", False, "allow policies exist, but none allowed"),
    ],
)
def test_deny_goes_before_allow_and_what_none_allows_is_refused(
    policies: str, path: str, method: str, allowed: bool, words: str
) -> None:
    decision = ask(policies, HELLO + path, method=method)
    assert (verdict(decision).allowed, str(verdict(decision))) == (allowed, words)
    assert decision.distribution(by_answer) == {"delivered" if allowed else "403": 1}
    if not allowed:
        assert ends(decision) == [Answered(403, Reason.DENIED, "RBAC: access denied")]


def test_which_rule_decided() -> None:
    text = policy("two", 'rules: [{to: [{operation: {paths: ["/a"]}}]}, {to: [{operation: {paths: ["/b"]}}]}]')
    decisive = verdict(ask(text, f"{HELLO}/b")).decisive
    assert decisive is not None
    assert (decisive.policy.key, decisive.rule) == (Key("hello", "two"), 1)


def test_a_policy_of_the_waypoint_is_for_all_its_services() -> None:
    text = policy("deny", "action: DENY\n  rules: [{}]", "Gateway", "waypoint", "gateway.networking.k8s.io")
    assert not verdict(ask(text)).allowed
    assert ask(text, "http://httpbin.httpbin:8000").passages == ()


def test_who_passes_the_waypoint_by_meets_no_policy() -> None:
    decision = ask(NOBODY, "http://helloworld.hello.svc.cluster.local:5000", client=None)
    assert decision.passages == ()
    assert decision.distribution(by_answer) == {"delivered": 1}


def test_a_dry_run_decides_nothing_and_is_told() -> None:
    text = NOBODY.replace("namespace: hello}", 'namespace: hello, annotations: {istio.io/dry-run: "true"}}')
    found = verdict(ask(text))
    assert found.allowed
    assert [(judged.policy.key.name, judged.policy.dry_run, judged.rule) for judged in found.judged] == [
        ("nobody", True, None)
    ]


@pytest.mark.parametrize(
    ("protocol", "url", "allowed"),
    [
        ("https", "https://helloworld.hello:5000", True),
        ("tls", "https://helloworld.hello:5000", True),
        ("https", "https://helloworld.hello.svc.cluster.local:5000", False),
        ("https", "https://10.96.0.20:5000", False),
        ("https", "http://helloworld.hello:5000", False),
        ("tcp", "https://helloworld.hello:5000", False),
    ],
)
def test_the_name_that_tls_asks_for_is_known_where_tls_is_declared(protocol: str, url: str, allowed: bool) -> None:
    only = policy("named", "rules: [{when: [{key: connection.sni, values: [helloworld.hello]}]}]")
    assert verdict(ask(TCP.replace("tcp", protocol) + only, url)).allowed is allowed


def test_a_connection_has_no_methods() -> None:
    """So an ALLOW rule about them allows nothing there, and a DENY rule denies everything."""
    assert versions(ask(TCP + GETS)) == {"000": 1}
    assert versions(ask(TCP + GETS + CURL_ONLY)).keys() == {"v1", "v2"}
    assert versions(ask(TCP + NO_ADMIN)) == {"000": 1}


TOKENS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: hello}}
spec:
  targetRefs: [{{group: "", kind: Service, name: helloworld}}]
  jwtRules:
  - issuer: me
    jwks: '{jwt.keys(b"secret")}'
    audiences: [web]
    outputClaimToHeaders: [{{header: x-user, claim: sub}}]
---
"""
ADA = policy("ada", "rules: [{from: [{source: {requestPrincipals: [me/ada]}}]}]")


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("", 403, "RBAC: access denied"),
        ("nonsense", 401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        (jwt.token(b"secret", iss="you", aud="web"), 401, "Jwt issuer is not configured"),
        (jwt.token(b"secret", aud="other"), 403, "Audiences in Jwt are not allowed"),
        (jwt.token(b"secret", aud="web", sub="bob"), 403, "RBAC: access denied"),
    ],
)
def test_whoever_has_no_token_or_another_is_refused(token: str, status: int, words: str) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    [answer] = ends(ask(TOKENS + ADA, headers=headers))
    assert (answer.status, answer.body) == (status, words)


def test_a_token_opens_the_way_and_only_its_claims_go_on() -> None:
    token = jwt.token(b"secret", aud=["x", "web"])
    decision = ask(TOKENS + ADA, headers={"authorization": f"Bearer {token}", "x-user": "root"})
    assert str(verdict(decision)) == "allowed by: hello/ada"
    assert arrival(decision).headers == (("x-user", "ada"),)
    assert arrival(ask(TOKENS, headers={"x-user": "root"})).headers == ()


def test_whether_a_provider_is_asked() -> None:
    """What it says is not foreseen; that there is none to ask is."""
    text = case("custom")
    asked, passed = (verdict(ask(text, f"{HELLO}/admin", method=method)) for method in ("POST", "GET"))
    assert (asked.allowed, asked.asks.name if asked.asks else None) == (True, "by-http")
    assert (passed.allowed, passed.asks) == (True, None)
    rules = "rules: [{to: [{operation: {methods: [PUT]}}]}]"
    nobody = policy("ask", f"action: CUSTOM\n  provider: {{name: nobody}}\n  {rules}")
    assert str(verdict(ask(nobody, method="PUT"))) == "explicitly denied by: hello/ask"
    assert verdict(ask(nobody)).allowed
