"""`mesh.decide` and a real waypoint agree: on every route set and every request that anybody thought of, or nobody.

Route sets of both APIs and requests are drawn at random. The objects go through admission, the index, `mesh.xds` and an
ADS session to a real Envoy; the requests go through Envoy to servers that say what they saw. What comes out must be one
of the outcomes that `decide` gives a probability, to the last header. Splits are judged by the exact test.

AMBIENTLAB_CASES=2000 draws that many cases, from a seed that is printed (AMBIENTLAB_SEED chooses it); otherwise the
cases are always the same few.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ambientlab.api import admit, crds
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.mesh.decide import Answered, Decision, Delivered, Outcome, Request, changed, decide
from ambientlab.mesh.ir import Key
from support import jwt, route_worlds
from support.real_waypoint import ANSWER, KINDS, RealWaypoint, Seen, loopback_network
from support.splits import fits

CASES = int(os.environ.get("AMBIENTLAB_CASES", "0"))
SEED = int(os.environ.get("AMBIENTLAB_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
CURL = Key("test", "curl")
AUTOMATIC = {
    "x-forwarded-proto", "x-request-id", "date", "server", "content-length", "content-type", "connection",
    "grpc-timeout",
}  # fmt: skip
"""What Envoy adds of its own accord, like everything that begins with `x-envoy-`."""


class Arena:
    """One real waypoint for all cases, and the loop it lives in."""

    def __init__(self, directory: Path) -> None:
        self.runner = asyncio.Runner()
        self.waypoint = RealWaypoint(directory, Key("hello", "waypoint"), route_worlds.CLIENT)
        self.waypoint.put(route_worlds.world(loopback_network()))
        self.registry = Registry()
        for crd in crds.shipped():
            self.registry.put_crd(crd)
        self.runner.run(self.waypoint.start())

    def close(self) -> None:
        self.runner.run(self.waypoint.stop())
        self.runner.close()

    def admitted(self, obj: Object) -> Object:
        resource = KINDS[(obj["apiVersion"], obj["kind"])]
        result, _ = admit.decode(self.registry, resource, orjson.dumps(obj), "application/json")
        admit.default(self.registry, resource, result)
        admit.validate_create(self.registry, resource, result)
        return result

    def tried(self, objects: list[Object], requests: list[Request]) -> list[tuple[Decision, Seen]]:
        """What is predicted for requests while these objects exist, and what comes of them."""
        there = [self.admitted(copy.deepcopy(obj)) for obj in objects]
        self.waypoint.put(there)
        try:
            self.runner.run(self.waypoint.apply())
            decided = [decide(self.waypoint.mesh, CURL, request) for request in requests]
            vip = route_worlds.VIPS["app"]
            return [(decision, self.runner.run(self.waypoint.send(vip, decision.request))) for decision in decided]
        finally:
            self.waypoint.remove(there)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    print(f"AMBIENTLAB_CASES={CASES} AMBIENTLAB_SEED={SEED}")
    with TemporaryDirectory(prefix="arena") as path:
        arena = Arena(Path(path))
        yield arena
        arena.close()


def told(headers: Any) -> list[tuple[str, str]]:
    """Headers without those of Envoy's own, in an order that does not matter."""
    return sorted((n, v) for n, v in headers if n not in AUTOMATIC and not n.startswith("x-envoy-"))


def looks(outcome: Outcome) -> dict[str, Any]:
    """How a client and a backend would see an outcome."""
    result = outcome.result
    if isinstance(result, Delivered):
        request = result.request
        return {
            "status": 200,
            "backend": result.endpoint.address,
            "request": (request.method, request.path, request.authority, told(request.headers)),
            "headers": told(changed(tuple(ANSWER.items()), result.changes)),
        }
    assert isinstance(result, Answered)
    grpc = [("grpc-status", str(result.grpc_status))] if result.grpc_status is not None else []
    return {
        "status": result.status,
        "backend": "",
        "body": result.body,
        "headers": sorted([*told(result.headers), *grpc]),
    }


def looked(seen: Seen) -> dict[str, Any]:
    headers = told((n, v) for n, v in seen.headers if n != "grpc-message")
    if seen.request is None:
        return {"status": seen.status, "backend": "", "body": seen.body, "headers": headers}
    request = seen.request
    return {
        "status": seen.status,
        "backend": seen.backend,
        "request": (request.method, request.path, request.authority, told(request.headers)),
        "headers": headers,
    }


def agree(decision: Decision, seen: Seen) -> None:
    possible = [looks(outcome) for outcome in decision.outcomes]
    assert looked(seen) in possible, f"{decision.request}: {looked(seen)} is none of {possible}"
    # Envoy counts from when its loop last looked at the clock
    assert seen.seconds * 1000 >= min(outcome.delay_ms for outcome in decision.outcomes) - 2
    if seen.request is not None:
        told_ms = int("".join(seen.request.values("x-envoy-expected-rq-timeout-ms")) or 0)
        assert told_ms == patience(decision), f"{decision.request}: the backend is told to hurry"


def patience(decision: Decision) -> int:
    """Milliseconds that a backend is given for an answer, 0 for as many as it likes."""
    routing = decision.routing
    assert routing is not None
    one_try = routing.retries.per_try_timeout_ms if routing.retries is not None else 0
    return min(filter(None, (routing.timeout_ms, one_try)), default=0)


def property_of_cases(ci: int) -> Any:
    """Always the same `ci` cases, or AMBIENTLAB_CASES of them from a seed that is told."""
    unhurried = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    if not CASES:
        return settings(
            max_examples=ci, derandomize=True, deadline=None, suppress_health_check=unhurried, database=None,
            phases=[Phase.explicit, Phase.generate],
        )  # fmt: skip

    def apply(test: Any) -> Any:
        return seed(SEED)(
            settings(max_examples=CASES, deadline=None, suppress_health_check=unhurried, database=None)(test)
        )

    return apply


@pytest.mark.timeout(0 if CASES else 120)
@property_of_cases(200)
@given(objects=route_worlds.objects(), requests=st.lists(route_worlds.request(), min_size=4, max_size=8))
def test_every_request_ends_as_decided(arena: Arena, objects: list[Object], requests: list[Request]) -> None:
    for decision, seen in arena.tried(objects, requests):
        agree(decision, seen)


def virtual_service(text: str) -> Object:
    meta = {"name": "corner", "namespace": "hello"}
    spec = {"hosts": ["app"], "http": yaml.safe_load(text)}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec}


def asked(path: str = "/", *headers: tuple[str, str]) -> Request:
    return Request("app.hello", 80, "GET", path, headers, "app.hello")


SEVERAL = [
    asked("/", *(("x-b", value) for value in values))
    for values in [("ONE", "1"), ("1", "ONE"), ("ONE,1",), ("", "ONE"), ("",), (), ("ONE",), ("two", "three")]
]
BY_HEADER = """
- match: [{headers: {x-b: {%s}}}]
  directResponse: {status: 201}
- match: [{withoutHeaders: {x-b: {%s}}}]
  directResponse: {status: 202}
"""
CHANGED = """
- match: [{uri: {exact: /aborted}}]
  fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
  headers: {response: {set: {x-by: rule}}}
  route: [{destination: {host: one}, headers: {response: {add: {x-by: share}}}}]
- match: [{uri: {exact: /empty}}]
  headers: {response: {set: {x-by: rule}}}
  route: [{destination: {host: empty}, headers: {response: {add: {x-by: share}}}}]
- match: [{uri: {exact: /gone}}]
  headers: {response: {set: {x-by: rule}}}
  route:
  - {destination: {host: gone}, weight: 1, headers: {response: {set: {x-by: share}}}}
  - {destination: {host: empty}, weight: 1, headers: {response: {set: {x-by: share}}}}
- match: [{uri: {exact: /both}}]
  headers: {request: {set: {x-by: rule}, remove: [x-b]}}
  route:
  - {destination: {host: one}, weight: 1, headers: {request: {set: {x-by: share, x-b: share}}}}
  - {destination: {host: two}, weight: 1, headers: {request: {set: {x-by: share, x-b: share}}}}
- headers: {request: {set: {x-by: rule}, remove: [x-b]}}
  route: [{destination: {host: one}, headers: {request: {set: {x-by: share, x-b: share}}}}]
"""
ODD_PATHS = [
    "/a//b", "/a/./b/.", "/a/..", "/../../a", "/a/%2e%2E/b", "/%41%7e%2f%5c", "/a\\..\\b", "/a|^`{}<>\"", "/%zz/%",
    "/a#b", "/a?b#c?d", "/#/..", "/%00", "/a/..;/b", "/a/.;x", "/a/%2e%2e;/b", "//a", "/a;b=c/,d", "/a/b/..?q=/../",
    "/...", "/a%20b'[]*",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        *((BY_HEADER % (m, m), SEVERAL) for m in ("exact: ONE", "exact: 'ONE,1'", "prefix: t", "regex: '(?i)one'", "")),
        (CHANGED, [asked(path, ("x-b", "1")) for path in ("/aborted", "/empty", *["/gone", "/both"] * 4, "/")]),
        ("[{route: [{destination: {host: one}}]}]", [asked(path) for path in ODD_PATHS]),
    ],
)
def test_corners(arena: Arena, text: str, requests: list[Request]) -> None:
    """Where one may well think otherwise than Envoy does."""
    for decision, seen in arena.tried([virtual_service(text)], requests):
        agree(decision, seen)


@pytest.mark.parametrize(
    "source",
    [
        {"ipBlocks": ["127.0.0.0/8"]},
        {"notIpBlocks": ["127.0.0.0/8"]},
        {"remoteIpBlocks": ["127.0.0.0/8"]},
        {"remoteIpBlocks": ["203.0.113.0/24"]},
        {"principals": ["*/sa/curl"]},
        {"notNamespaces": ["te*"]},
    ],
)
@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_who_a_policy_takes_the_client_for(arena: Arena, source: dict[str, Any], action: str) -> None:
    policy: Object = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "corner", "namespace": "hello"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "app"}],
            "action": action,
            "rules": [{"from": [{"source": source}]}],
        },
    }
    requests = [asked("/aborted"), asked("/gone"), asked("/none", ("x-forwarded-for", "192.0.2.1, 203.0.113.7"))]
    for decision, seen in arena.tried([virtual_service(CHANGED), policy], requests):
        agree(decision, seen)


def test_nobody_passes_for_who_a_token_would_say(arena: Arena) -> None:
    rule = {
        "issuer": "me",
        "jwks": jwt.keys(route_worlds.SECRET),
        "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
    }
    authentication: Object = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "corner", "namespace": "hello"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "app"}], "jwtRules": [rule]},
    }
    routes = virtual_service("""
- match: [{headers: {x-user: {exact: ada}}}]
  route: [{destination: {host: one}}]
- match: [{headers: {authorization: {}}}]
  directResponse: {status: 418}
- route: [{destination: {host: two}}]
""")
    preflight = (("origin", "https://a.example"), ("access-control-request-method", "PUT"), ("x-user", "root"))
    requests = [
        *(asked("/", ("authorization", f"Bearer {token}"), ("x-user", "root")) for token in route_worlds.TOKENS),
        asked("/", ("x-user", "ada")),
        asked("/", ("authorization", "Basic abc")),
        asked(f"/?r=2&q&access_token={route_worlds.TOKENS[0]}&r=1&a=b"),
        asked(f"/?access_token={route_worlds.TOKENS[0]}"),
        replace(asked("/", *preflight), method="OPTIONS"),
    ]
    for decision, seen in arena.tried([routes, authentication], requests):
        agree(decision, seen)


@pytest.mark.parametrize("weights", [(95, 5, 0), (1, 1, 1), (2, 0, 3), (0, 7, 1)])
def test_splits_are_as_exact_as_decided(arena: Arena, weights: tuple[int, ...]) -> None:
    references = [
        {"name": name, "port": 80, "weight": weight}
        for name, weight in zip(("one", "two", "gone"), weights, strict=True)
    ]
    route: Object = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "split", "namespace": "hello"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "app"}],
            "rules": [{"backendRefs": references}],
        },
    }
    tried = arena.tried([route], [Request.to("http://app.hello")] * 300)
    shares: dict[str, float] = {}
    for outcome in tried[0][0].outcomes:
        look = looks(outcome)
        name = look["backend"] or str(look["status"])
        shares[name] = float(shares.get(name, 0) + Fraction(outcome.probability))
    fits([seen.backend or str(seen.status) for _, seen in tried], shares)
