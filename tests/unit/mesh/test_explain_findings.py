"""Every reason for which an object has no effect on a request: where it holds, where it does not, and that the commands
that are offered do away with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ambientlab.mesh.explain import Cause, remedies
from ambientlab.mesh.index import ObjectRef
from support.decisions import indexed, objects_in
from support.decisions import world as decided_world
from support.explanations import CLIENT, HELLO, causes, cluster, explained
from support.hello_rules import SPLIT


def route(name: str = "split", namespace: str = "hello", parent: str = "name: helloworld", rules: str = "") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, {parent}}}]
  rules: [{rules or "{backendRefs: [{name: helloworld, port: 5000}]}"}]
"""


WAYPOINT_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
"""


def virtual_service(hosts: str = "[helloworld]", namespace: str = "hello", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: split, namespace: {namespace}}}
spec:
  hosts: {hosts}
  {more}
  http: [{{route: [{{destination: {{host: helloworld.hello.svc.cluster.local}}}}]}}]
"""


def rule(host: str = "helloworld", namespace: str = "hello", more: str = "", name: str = "rule") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{host: {host}, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}} {more}}}
"""


def policy(spec: str, namespace: str = "hello") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: policy, namespace: {namespace}}}
spec: {spec}
"""


GET_ALONE = "action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]"
ON_SERVICE = "targetRefs: [{group: '', kind: Service, name: helloworld}]"
BY_SELECTOR = "selector: {matchLabels: {app: helloworld}}"
CURL_ALONE = "action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/test/sa/default]}}]}]"
TOKENS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: hello}}
spec: {{{ON_SERVICE}, jwtRules: [{{issuer: me, jwks: '{{"keys": []}}'}}]}}
"""
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: sidecar, namespace: test}
spec: {egress: [{hosts: ["./*"]}]}
"""
ENVOY_FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter, namespace: hello}
spec: {configPatches: []}
"""
NOT_READY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
ELSEWHERE = (
    "kubectl label ns test istio.io/use-waypoint-",
    "istioctl waypoint apply -n test --name shared",
    "kubectl label ns hello istio.io/use-waypoint=shared istio.io/use-waypoint-namespace=test",
)
FOR_WORKLOADS = ("kubectl label gateway waypoint -n hello istio.io/waypoint-for=workload",)
FOR_ALL = ("kubectl label gateway waypoint -n hello istio.io/waypoint-for=all",)
OUT = ("kubectl label pod curl -n test istio.io/dataplane-mode=none",)
SECOND_PORT = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{name: http, port: 5000}, {name: http-2, port: 5001, targetPort: 5000}]}
"""
TO_V1 = "{matches: [{path: {value: /other}}], backendRefs: [{name: helloworld, port: 5000}]}"
NAMED = "{backendRefs: [{name: helloworld-v1, port: 5000}]}"
NOBODY = """
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: hello}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
"""
V3 = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: subsets, namespace: hello}
spec: {host: helloworld, subsets: [{name: v3, labels: {version: v3}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: hello}
spec: {hosts: [helloworld], http: [{route: [{destination: {host: helloworld, subset: v3}}]}]}
"""


@dataclass(frozen=True)
class Case:
    """`holds` are objects with which an object has no effect for `cause`, and `else_` ones with which it has none.
    Whether there is a waypoint is the first thing in `waypoints`."""

    id: str
    object: str
    cause: Cause
    holds: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    waypoint: bool = True
    commands: tuple[str, ...] = ()
    other_waypoint: bool = True
    other_commands: tuple[str, ...] = ()
    cured: bool = True
    url: str = field(default=HELLO)


CASES = [
    Case("no waypoint, VirtualService", "VirtualService hello/split", Cause.NO_WAYPOINT, (SPLIT,), (SPLIT,), False),
    Case("no waypoint, DestinationRule", "DestinationRule hello/subsets", Cause.NO_WAYPOINT, (SPLIT,), (SPLIT,), False),
    Case("no waypoint, HTTPRoute", "HTTPRoute hello/split", Cause.NO_WAYPOINT, (route(),), (route(),), False),
    Case(
        "no waypoint, policy",
        "AuthorizationPolicy hello/policy",
        Cause.NO_WAYPOINT,
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}"),),
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}"),),
        False,
    ),
    Case("no waypoint, tokens", "RequestAuthentication hello/tokens", Cause.NO_WAYPOINT, (TOKENS,), (TOKENS,), False),
    Case(
        "the service opts out",
        "HTTPRoute hello/split",
        Cause.NO_WAYPOINT,
        (route(),),
        (route(),),
        commands=("kubectl label service helloworld -n hello istio.io/use-waypoint=none",),
    ),
    Case(
        "the waypoint is missing",
        "HTTPRoute hello/split",
        Cause.WAYPOINT_NOT_READY,
        (route(),),
        (route(),),
        False,
        ("kubectl label ns hello istio.io/use-waypoint=waypoint",),
    ),
    Case(
        "the waypoint has no address",
        "VirtualService hello/split",
        Cause.WAYPOINT_NOT_READY,
        (SPLIT, NOT_READY),
        (SPLIT,),
        cured=False,
    ),
    Case(
        "a waypoint of another namespace",
        "HTTPRoute hello/split",
        Cause.WAYPOINT_REFUSES,
        (route(),),
        (route(),),
        commands=ELSEWHERE,
    ),
    Case(
        "a waypoint for workloads",
        "HTTPRoute hello/split",
        Cause.WAYPOINT_REFUSES,
        (route(),),
        (route(),),
        commands=FOR_WORKLOADS,
        other_commands=FOR_ALL,
    ),
    Case("the client's waypoint", "Namespace test", Cause.CLIENT_SIDE, waypoint=False),
    Case(
        "a waypoint nobody names",
        "Gateway hello/waypoint",
        Cause.UNUSED_WAYPOINT,
        commands=("kubectl label ns hello istio.io/use-waypoint-",),
    ),
    Case("a client outside, route", "HTTPRoute hello/split", Cause.NOT_CAPTURED, (route(),), (route(),), commands=OUT),
    Case(
        "a client outside, rule", "DestinationRule hello/rule", Cause.NOT_CAPTURED, (rule(),), (rule(),), commands=OUT
    ),
    Case(
        "a client outside, policy",
        "AuthorizationPolicy hello/policy",
        Cause.NOT_CAPTURED,
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}"),),
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}"),),
        commands=OUT,
    ),
    Case(
        "a route of the client's namespace",
        "HTTPRoute test/split",
        Cause.WRONG_NAMESPACE,
        (route(namespace="test", parent="name: helloworld, namespace: hello"),),
        (route(),),
    ),
    Case(
        "a VirtualService of the client's namespace",
        "VirtualService test/split",
        Cause.WRONG_NAMESPACE,
        (virtual_service("[helloworld.hello.svc.cluster.local]", "test"),),
        (virtual_service(),),
    ),
    Case(
        "a rule of the client's namespace",
        "DestinationRule test/rule",
        Cause.WRONG_NAMESPACE,
        (rule("helloworld.hello.svc.cluster.local", "test"),),
        (rule(),),
    ),
    Case(
        "a policy beside another namespace's service",
        "AuthorizationPolicy test/policy",
        Cause.WRONG_NAMESPACE,
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}", "test"),),
        (policy(f"{{{ON_SERVICE}, {GET_ALONE}}}"),),
    ),
    Case(
        "a VirtualService that is not exported",
        "VirtualService hello/split",
        Cause.NOT_EXPORTED,
        (virtual_service(more="exportTo: [test]"),),
        (virtual_service(more="exportTo: [hello]"),),
    ),
    Case(
        "a rule that is not exported",
        "DestinationRule hello/rule",
        Cause.NOT_EXPORTED,
        (rule(more=", exportTo: [test]"),),
        (rule(more=", exportTo: ['*']"),),
    ),
    Case(
        "an HTTPRoute before a VirtualService",
        "VirtualService hello/split",
        Cause.SHADOWED,
        (SPLIT, route("first")),
        (SPLIT, route("first", rules=TO_V1)),
    ),
    Case(
        "a rule behind one of the waypoint's namespace",
        "DestinationRule istio-system/rule",
        Cause.SHADOWED,
        (rule("helloworld.hello.svc.cluster.local", "istio-system"), rule(name="nearer")),
        (rule("helloworld.hello.svc.cluster.local", "istio-system"),),
        commands=(
            "cat > ns.yaml <<'EOF'\n{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}\nEOF\n"
            "kubectl apply -f ns.yaml",
        ),
        cured=False,
    ),
    Case(
        "a more specific route",
        "HTTPRoute hello/wide",
        Cause.SHADOWED,
        (route("wide", rules=NAMED), route("narrow", rules=TO_V1.replace("/other", "/hello"))),
        (route("wide", rules=NAMED), route("narrow", rules=TO_V1)),
    ),
    Case(
        "a parentRef of another port",
        "HTTPRoute hello/split",
        Cause.OTHER_PORT,
        (SECOND_PORT, route(parent="name: helloworld, port: 5001")),
        (SECOND_PORT, route(parent="name: helloworld, port: 5000")),
    ),
    Case(
        "a parentRef of a port that is not there",
        "HTTPRoute hello/split",
        Cause.OTHER_PORT,
        (route(parent="name: helloworld, port: 81"),),
        (route(parent="name: helloworld"),),
    ),
    Case(
        "a short name in another namespace",
        "VirtualService test/split",
        Cause.OTHER_HOST,
        (virtual_service(namespace="test"),),
        (virtual_service(),),
    ),
    Case(
        "half of a name",
        "VirtualService hello/split",
        Cause.OTHER_HOST,
        (virtual_service("[helloworld.hello]"),),
        (virtual_service("[helloworld.hello.svc.cluster.local]"),),
    ),
    Case(
        "a rule for half of a name",
        "DestinationRule hello/rule",
        Cause.OTHER_HOST,
        (rule("helloworld.hello"),),
        (rule("helloworld.hello.svc.cluster.local"),),
    ),
    Case(
        "a parent that is looked for in the route's namespace",
        "HTTPRoute test/split",
        Cause.OTHER_HOST,
        (route(namespace="test"),),
        (route(),),
    ),
    Case(
        "a VirtualService for gateways",
        "VirtualService hello/split",
        Cause.NOT_FOR_MESH,
        (virtual_service(more="gateways: [edge]"),),
        (virtual_service(more="gateways: [edge, mesh]"),),
    ),
    Case(
        "a route for the waypoint as a whole",
        "HTTPRoute hello/split",
        Cause.NOT_FOR_MESH,
        (WAYPOINT_CLASS, route().replace('{group: "", kind: Service, name: helloworld}', "{name: waypoint}")),
        (WAYPOINT_CLASS, route()),
    ),
    Case(
        "a match that does not hold",
        "HTTPRoute hello/split",
        Cause.NO_MATCH,
        (route(rules=TO_V1),),
        (route(rules=TO_V1.replace("/other", "/hello")),),
        cured=False,
    ),
    Case(
        "a match on the client's labels",
        "VirtualService hello/split",
        Cause.NEVER_MATCHES,
        (virtual_service().replace("http: [{", "http: [{match: [{sourceLabels: {app: curl}}], "),),
        (virtual_service(),),
        cured=False,
    ),
    Case(
        "an expression that nothing reads",
        "HTTPRoute hello/split",
        Cause.NEVER_MATCHES,
        (route(rules='{matches: [{path: {type: RegularExpression, value: "/(a"}}]}'),),
        (route(rules='{matches: [{path: {type: RegularExpression, value: "/(a)"}}]}'),),
        cured=False,
    ),
    Case(
        "a backend without a port",
        "HTTPRoute hello/split",
        Cause.INVALID,
        (route(rules="{backendRefs: [{name: helloworld}]}"),),
        (route(), route("other", parent="name: helloworld-v1", rules="{backendRefs: [{name: helloworld}]}")),
        cured=False,
    ),
    Case(
        "requests in a policy with a selector",
        "AuthorizationPolicy hello/policy",
        Cause.NEEDS_WAYPOINT,
        (policy(f"{{selector: {{matchLabels: {{app: helloworld}}}}, {GET_ALONE}}}"),),
        (policy("{selector: {matchLabels: {app: other}}, rules: [{to: [{operation: {methods: [GET]}}]}]}"),),
    ),
    Case(
        "a policy for pods outside the mesh",
        "AuthorizationPolicy hello/policy",
        Cause.POD_NOT_CAPTURED,
        (policy(f"{{{BY_SELECTOR}, {CURL_ALONE}}}"),),
        (policy(f"{{{BY_SELECTOR}, {CURL_ALONE}}}"),),
        waypoint=False,
        commands=("kubectl label ns hello istio.io/dataplane-mode-",),
        other_waypoint=False,
    ),
    Case(
        "a policy that asks for the client behind a waypoint",
        "AuthorizationPolicy hello/policy",
        Cause.WAYPOINT_IDENTITY,
        (policy(f"{{{BY_SELECTOR}, {CURL_ALONE}}}"),),
        (policy(f"{{{BY_SELECTOR}, {CURL_ALONE}}}"),),
        other_waypoint=False,
    ),
    Case("a Sidecar", "Sidecar test/sidecar", Cause.AMBIENT, (SIDECAR,), (), cured=False),
    Case("an EnvoyFilter", "EnvoyFilter hello/filter", Cause.NOT_BUILT, (ENVOY_FILTER,), (), cured=False),
    Case(
        "a backend that is not there",
        "HTTPRoute hello/split",
        Cause.MISSING_BACKEND,
        (route(rules=NAMED),),
        (route(),),
    ),
    Case(
        "a Service without pods",
        "Service hello/nobody",
        Cause.NO_ENDPOINT,
        (NOBODY, route(rules="{backendRefs: [{name: nobody, port: 80}]}")),
        (NOBODY, route()),
        cured=False,
    ),
    Case(
        "a subset without pods",
        "DestinationRule hello/subsets",
        Cause.EMPTY_SUBSET,
        (V3,),
        (SPLIT,),
        cured=False,
    ),
]


def world(texts: tuple[str, ...], waypoint: bool, commands: tuple[str, ...]):
    made = cluster(*commands, waypoint=waypoint)
    for text in texts:
        made.apply(text)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_reason_is_given_where_it_holds_and_nowhere_else(case: Case) -> None:
    held = world(case.holds, case.waypoint, case.commands)
    found = explained(held, case.url)
    assert (case.object, case.cause) in causes(found)
    of_it = [f for f in (*found.ignored, *found.problems) if (str(f.object), f.cause) == (case.object, case.cause)]
    assert all(finding.message for finding in of_it)
    other = world(case.otherwise, case.other_waypoint, case.other_commands)
    assert (case.object, case.cause) not in causes(explained(other, case.url))
    if not case.cured:
        return
    remedies = [remedy for finding in of_it for remedy in finding.remedies]
    assert remedies
    for remedy in remedies:
        for command in remedy.commands:
            held.command(command)
    assert (case.object, case.cause) not in causes(explained(held, case.url)), remedies


@pytest.mark.parametrize(
    ("kind", "name", "where"), [("service", "helloworld", "it"), ("namespace", "hello", "its namespace")]
)
def test_who_declines_a_waypoint_is_named(kind: str, name: str, where: str) -> None:
    made = cluster(f"kubectl label {kind} {name} -n hello istio.io/use-waypoint=none --overwrite")
    made.apply(route())
    [finding] = [finding for finding in explained(made).ignored if finding.object.name == "split"]
    assert f"(label istio.io/use-waypoint=none on {where})" in finding.message


@pytest.mark.parametrize(("hosts", "reasons"), [('["*.hello.svc.cluster.local"]', []), ("[waypoint]", ["NoWaypoint"])])
def test_whoever_writes_a_wildcard_does_not_mean_the_waypoint_itself(hosts: str, reasons: list[str]) -> None:
    index = indexed(*decided_world(), *objects_in(virtual_service(hosts=hosts)))
    assert [one.reason for one in index.diagnostics()] == reasons


def test_every_cause_has_a_case() -> None:
    apart = {Cause.INVALID, Cause.NO_EFFECT, Cause.OUT_OF_REACH}  # the last is in a golden: it takes a node
    assert {case.cause for case in CASES} | apart == set(Cause)


def test_a_cluster_without_rules_has_nothing_that_is_ignored() -> None:
    found = explained(cluster())
    assert (found.ignored, found.problems, found.remedies) == ((), (), ())
    assert (str(found.client.key), found.client.chosen) == (CLIENT, "")


def aged(text: str, created: str) -> str:
    return text.replace("namespace: hello}", f"namespace: hello, creationTimestamp: {created}}}", 1)


OLD, NEW = "'2026-01-01T00:00:00Z'", "'2026-02-01T00:00:00Z'"
HELLO_ALONE = TO_V1.replace("/other", "/hello")


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (route("first", rules=HELLO_ALONE), route("second", rules=NAMED), "its match is more specific"),
        (aged(route("z", rules=HELLO_ALONE), OLD), aged(route("a", rules=HELLO_ALONE), NEW), "the older"),
        (
            aged(virtual_service().replace("{route", "{match: [{uri: {prefix: /h}}], route"), OLD),
            aged(virtual_service().replace("name: split", "name: later"), NEW),
            "it is the older",
        ),
        (
            route("first", rules=HELLO_ALONE),
            aged(virtual_service(), OLD),
            "routes of the Gateway API in the waypoint's namespace are asked before others",
        ),
    ],
)
def test_what_comes_first_is_said_with_the_reason(first: str, second: str, why: str) -> None:
    found = explained(world((first, second), True, ()))
    [shadowed] = [finding for finding in found.ignored if finding.cause is Cause.SHADOWED]
    assert why in shadowed.message


def test_commands_can_be_aimed_at_another_cluster() -> None:
    moved = remedies.move(ObjectRef("HTTPRoute", "test", "split"), "hello")
    first, sed, last = remedies.aimed(moved, "--context", "my cluster").split(" | ")
    assert first.startswith("kubectl --context 'my cluster' get httproute split -n test")
    assert sed.startswith("sed ")
    aim = "--context 'my cluster'"
    assert last == f"kubectl {aim} apply -f - && kubectl {aim} delete httproute split -n test"
    assert remedies.aimed(moved) == moved
