"""Plans as they are written and as JSON, compared with what is on file: 80 columns, no colour.

AMBIENTLAB_REFRESH_GOLDENS=1 writes them anew, to be read before they are committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ambientlab import labs
from ambientlab.api import objects
from ambientlab.cli.layout import WIDTH
from ambientlab.cli.output import json_text
from ambientlab.cli.plan.document import document
from ambientlab.cli.plan.drawing import draw
from ambientlab.cli.plan.report import Report
from ambientlab.mesh.foreseen import Change
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Connection, plan
from support.decisions import KINDS, case, indexed, objects_in, world
from support.explanations import cluster
from support.manifests import WAYPOINT
from support.plans import planned
from support.typed_lab import after

HERE = Path(__file__).parent / "plan"
CASES = HERE.parent / "cases"
REFRESH = bool(os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"))
LAB = labs.load("traffic-management")
CURL_TO_HELLO = Connection(Key("test", "curl"), "helloworld.hello.svc.cluster.local", 5000, 12)
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get-only, namespace: hello}
spec:
  targetRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{to: [{operation: {methods: [GET], paths: ["/hello*"]}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken, namespace: hello}
spec: {hosts: [helloworld], http: [{route: [{destination: {host: helloworld}, weight: -5}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualServise
metadata: {name: typo, namespace: hello}
"""
MORE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello-world-vs, namespace: hello}
spec:
  hosts: [helloworld]
  http:
  - match: [{uri: {prefix: /api}, headers: {x-beta: {exact: "1"}}}]
    rewrite: {uri: /v2}
    headers: {request: {set: {x-from: beta}}, response: {add: {x-beta: seen}}}
    mirror: {host: helloworld, subset: v1}
    mirrorPercentage: {value: 10}
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: 5xx}
    corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [GET]}
    route: [{destination: {host: helloworld, subset: v2}}]
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /hello, redirectCode: 301}
  - route:
    - {destination: {host: helloworld, subset: v1}, weight: 95}
    - {destination: {host: helloworld, subset: v2}, weight: 5}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello-world-dr, namespace: hello}
spec:
  host: helloworld
  trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 10}}, outlierDetection: {consecutive5xxErrors: 3}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
OWN_MEANING = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ours, namespace: test}
spec:
  hosts: [helloworld.hello.svc.cluster.local]
  addresses: [192.0.2.30]
  ports: [{number: 5000, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.31}]
"""
SCALE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: helloworld-v1, namespace: hello}
spec:
  replicas: 3
  selector: {matchLabels: {app: helloworld, version: v1}}
  template:
    metadata: {labels: {app: helloworld, version: v1}}
    spec: {containers: [{name: helloworld, image: docker.io/istio/examples-helloworld-v1:1.0}]}
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: hello}
spec:
  targetRefs: [{group: "", kind: Service, name: helloworld}]
  jwtRules: [{issuer: "https://id.example", jwks: '{"keys": []}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: known-only, namespace: hello}
spec:
  targetRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{from: [{source: {requestPrincipals: ["https://id.example/*"]}}]}]
"""
DETAILS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: hello}}
spec:
  targetRefs: [{{group: "", kind: Service, name: helloworld}}]
  jwtRules: [{{issuer: "https://id.example", jwks: '{{"keys": []}}', audiences: {audiences}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: hello-world-vs, namespace: hello}}
spec:
  hosts: [helloworld]
  http:
  - {{match: [{{uri: {{exact: /body}}}}], directResponse: {{status: 200, body: {{string: {body}}}}}}}
  - corsPolicy: {{allowOrigins: [{{{origin}: "https://a.example"}}]}}
    retries: {{attempts: 3, retryOn: 5xx, backoff: {backoff}}}
    route: [{{destination: {{host: helloworld, subset: v1}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: helloworld, namespace: hello, labels: {{app: helloworld, service: helloworld}}}}
spec: {{selector: {{app: helloworld}}, ports: [{{name: {port}, port: 5000}}]}}
"""
"""What words leave out, and is another all the same."""


def typed_in(step: str, name: str) -> str:
    """A file that somebody writes in a step."""
    return after(step).files[name]


def in_details() -> Report:
    made = after("Add a waypoint")
    made.apply(DETAILS.format(audiences="[a]", body="one", origin="exact", backoff="1s", port="http"))
    there = {"audiences": "[a, b]", "body": "another", "origin": "prefix", "backoff": "2s", "port": "http2"}
    return planned(made, DETAILS.format(**there))


PLANS: dict[str, Callable[[], Report]] = {
    "details": in_details,
    "in_vain": lambda: planned(
        after("Deploy two versions of one service"),
        typed_in("Ask for a 95/5 split", "hello-dr.yaml")
        + "\n---\n"
        + typed_in("Ask for a 95/5 split", "hellovs.yaml"),
    ),
    "waypoint": lambda: planned(after("Ambient mode alone"), WAYPOINT),
    "into_the_mesh": lambda: planned(after("Look at what really happens"), WAYPOINT),
    "fault": lambda: planned(
        after("Put httpbin behind a waypoint"), typed_in("Faults for some users only", "httpbin-user.yaml")
    ),
    "policies": lambda: planned(after("Add a waypoint"), POLICIES, seen=[CURL_TO_HELLO], file="policies.yaml"),
    "deleted": lambda: planned(after("Add a waypoint"), deleted=[("Gateway", "hello", "waypoint")]),
    "routes": lambda: planned(after("Add a waypoint"), MORE),
    "strict": lambda: planned(after("Add a waypoint"), STRICT),
    "own_meaning": lambda: planned(cluster(), OWN_MEANING),
    "scale": lambda: planned(cluster(), SCALE),
    "tokens": lambda: planned(cluster(), TOKENS),
    "new_service": lambda: planned(after("One of the two Services"), typed_in("Both Services", "hello-v2.yaml")),
    "namespace": lambda: planned(after("Add a waypoint"), deleted=[("Namespace", "", "hello")]),
    "nothing": lambda: planned(after("Add a waypoint"), after("Add a waypoint").files["hellovs.yaml"]),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans(name: str) -> None:
    report = PLANS[name]()
    text = draw(report) + "\n"
    for suffix, content in (("txt", text), ("json", json_text(document(report)) + "\n")):
        path = HERE / f"{name}.{suffix}"
        if REFRESH:
            path.write_text(content)
        assert content == path.read_text()
    assert "\033" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH and " " in line.strip()] == []


def test_exit_codes() -> None:
    codes = {name: PLANS[name]().exit_code for name in ("in_vain", "waypoint", "policies", "nothing")}
    assert codes == {"in_vain": 0, "waypoint": 2, "policies": 1, "nothing": 0}


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".in.yaml") for path in CASES.glob("*.in.yaml")))
def test_whatever_there_is_can_be_planned(name: str) -> None:
    """The objects of every golden case, as they come and as they go."""
    found = [obj for obj in objects_in(case(name)) if (obj["apiVersion"], obj["kind"]) in KINDS]
    places = [(KINDS[(o["apiVersion"], o["kind"])], Key(objects.namespace(o), objects.name(o)), o) for o in found]
    coming = plan(indexed(*world()), [Change(resource, key, None, obj) for resource, key, obj in places])
    going = plan(indexed(*world(), *found), [Change(resource, key, obj, None) for resource, key, obj in places])
    for made, index in ((coming, indexed(*world(), *found)), (going, indexed(*world()))):
        report = Report(made, (), (), index)
        assert [line for line in draw(report).splitlines() if len(line) > WIDTH and " " in line.strip()] == []
        told = json.loads(json_text(document(report)))
        assert told["summary"]["changes"] is bool(told["effects"])
        assert all(effect["differences"] and effect["clients"] and effect["examples"] for effect in told["effects"])
