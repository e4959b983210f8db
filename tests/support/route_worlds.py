"""Services behind a waypoint, and strategies for what people may ask of it: routes, policies, and requests.

As with `drawn_routes`, what is drawn must meet, and is valid.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ambientlab.api.objects import Object
from ambientlab.mesh.decide import Request
from support import jwt
from support.drawn_routes import (
    METHODS,
    NAMESPACE,
    ORIGINS,
    PARAMETERS,
    PATHS,
    PRESENT,
    VALUES,
    Draw,
    maybe,
    present,
    routes,
)

VIPS = {"app": "10.96.0.20", "one": "10.96.0.21", "two": "10.96.0.22", "empty": "10.96.0.23", "aside": "10.96.0.24"}

CLIENT = "spiffe://cluster.local/ns/test/sa/curl"


def world(network: str) -> list[Object]:
    """`network` is three numbers; pods outside the mesh, so that a waypoint reaches them in plain TCP."""
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}},
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"istio.io/use-waypoint": "waypoint"}},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "waypoint", "namespace": NAMESPACE},
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
            "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.9"}]},
        },
        _pod("waypoint-1", NAMESPACE, "10.244.0.9", {"gateway.networking.k8s.io/gateway-name": "waypoint"}),
        _pod("curl", "test", "127.0.0.1", {}, captured=True),
    ]
    ips = {version: f"{network}.{number}" for number, version in enumerate(("v1", "v2"), 1)}
    objects += [_pod(version, NAMESPACE, ip, {"version": version}) for version, ip in ips.items()]
    for name, versions in PRESENT.items():
        objects += _service(name, [ips[version] for version in versions])
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2", "v3")]
    objects.append(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "app", "namespace": NAMESPACE},
            "spec": {"host": "app", "subsets": subsets},
        }
    )
    return objects


def _pod(name: str, namespace: str, ip: str, labels: dict[str, str], *, captured: bool = False) -> Object:
    annotations = {"ambient.istio.io/redirection": "enabled"} if captured else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {"serviceAccountName": name.split("-")[0], "nodeName": "ambientlab"},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _service(name: str, ips: list[str]) -> list[Object]:
    labels = {"istio.io/use-waypoint": "none"} if name == "aside" else {}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "clusterIP": VIPS[name],
                "clusterIPs": [VIPS[name]],
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-a",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
    ]


# --- policies


@st.composite
def conditions(draw: Draw, pools: dict[str, list[str]], most: int) -> dict[str, list[str]]:
    """Fields of a source or an operation, each with values or, as `notX`, without them."""
    fields = draw(st.lists(st.sampled_from(sorted(pools)), min_size=1, max_size=most, unique=True))
    result = {}
    for field in fields:
        name = f"not{field[0].upper()}{field[1:]}" if draw(st.integers(0, 3)) == 0 else field
        result[name] = draw(st.lists(st.sampled_from(pools[field]), min_size=1, max_size=2, unique=True))
    return result


SOURCES = {
    "principals": ["cluster.local/ns/test/sa/curl", "cluster.local/ns/test/*", "*/sa/curl", "*", "cluster.local/a/*"],
    "namespaces": ["test", "te*", "*", "hello"],
    "trustDomains": ["cluster.local", "*.local", "cluster*", "*", "elsewhere"],
    "ipBlocks": ["127.0.0.1", "127.0.0.0/8", "192.0.2.0/24"],
    "remoteIpBlocks": ["127.0.0.0/8", "203.0.113.7", "203.0.113.0/24"],
    "requestPrincipals": ["me/ada", "*", "*/ada", "me/*", "you/*"],
}
OPERATIONS = {
    "hosts": ["app.hello", "APP.*", "*.hello", "*", "*:8080"],
    "methods": ["GET", "P*", "*", "DELETE"],
    "paths": ["/a", "/a*", "*/b", "*", "/{*}/b", "/a/{**}", "/b/c.d"],
    "ports": ["80", "81"],
}
WHEN: dict[str, list[str]] = {
    "request.headers[x-a]": ["1", "o*", "*e", "*"],
    "request.headers[X-B]": ["2", "*"],
    "request.experimental.inline.headers[x-a]": ["one", "t*", "*o"],
    "source.namespace": ["test", "hello"],
    "source.trustDomain": ["cluster.local", "*.example"],
    "source.serviceAccount": ["test/curl", "curl"],
    "source.principal": ["cluster.local/ns/test/sa/curl", "*"],
    "source.ip": ["127.0.0.1"],
    "destination.ip": ["10.96.0.0/16", "192.0.2.1"],
    "destination.port": ["80", "443"],
    "connection.sni": ["*"],
    "request.auth.principal": ["me/ada", "m*"],
    "request.auth.audiences": ["web", "w*"],
    "request.auth.claims[scope]": ["read", "*"],
    "request.auth.claims[realm][role]": ["reader", "*er"],
}


@st.composite
def policy(draw: Draw, number: int) -> Object:
    service = {"group": "", "kind": "Service", "name": "app"}
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    rules = []
    for _ in range(draw(st.integers(0, 2))):
        when = []
        for key in draw(st.lists(st.sampled_from(sorted(WHEN)), max_size=1)):
            values = draw(st.lists(st.sampled_from(WHEN[key]), min_size=1, max_size=2, unique=True))
            when.append({"key": key, draw(st.sampled_from(["values", "values", "notValues"])): values})
        rules.append(
            present(
                **{"from": [{"source": s} for s in draw(st.lists(conditions(SOURCES, 2), max_size=2))]},
                to=[{"operation": o} for o in draw(st.lists(conditions(OPERATIONS, 2), max_size=2))],
                when=when,
            )
        )
    dry = {"annotations": {"istio.io/dry-run": "true"}} if draw(st.integers(0, 5)) == 0 else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"policy-{number}", "namespace": NAMESPACE, **dry},
        "spec": present(
            targetRefs=[draw(st.sampled_from([service, service, gateway]))],
            action=draw(st.sampled_from(["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"])) if rules else "ALLOW",
            rules=rules,
        ),
    }


SECRET = b"secret-of-the-issuer"
CLAIMS: list[dict[str, Any]] = [
    {},
    {"aud": "web"},
    {"aud": ["x", "web"], "scope": "read write"},
    {"iss": "you", "realm": {"role": "reader"}},
    {"iss": "you", "sub": "bob", "aud": "other"},
    {"iss": "nobody"},
]
TOKENS = [jwt.token(SECRET, **claims) for claims in CLAIMS] + ["nonsense", "a.b.c"]


@st.composite
def token_rule(draw: Draw) -> dict[str, Any]:
    claim = {"header": draw(st.sampled_from(["x-a", "x-user"])), "claim": draw(st.sampled_from(["sub", "realm.role"]))}
    return {"issuer": draw(st.sampled_from(["me", "you"])), "jwks": jwt.keys(SECRET)} | present(
        audiences=draw(st.sampled_from([[], ["web", "app"]])),
        fromHeaders=draw(st.sampled_from([[], [], [{"name": "x-token", "prefix": "T "}]])),
        fromParams=draw(st.sampled_from([[], [], ["t"]])),
        forwardOriginalToken=draw(maybe(st.just(True))),
        outputPayloadToHeader=draw(maybe(st.just("x-payload"))),
        outputClaimToHeaders=draw(st.sampled_from([[], [claim]])),
    )


@st.composite
def token_rules(draw: Draw) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": NAMESPACE},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "app"}],
            "jwtRules": draw(st.lists(token_rule(), min_size=1, max_size=2, unique_by=lambda rule: rule["issuer"])),
        },
    }


@st.composite
def objects(draw: Draw) -> list[Object]:
    """Routes, with policies more often than not, and rules for tokens now and then."""
    result = draw(routes()) + [draw(policy(number)) for number in range(draw(st.integers(0, 2)))]
    return [*result, draw(token_rules())] if draw(st.integers(0, 2)) == 0 else result


# --- requests


@st.composite
def request(draw: Draw) -> Request:
    path = draw(PATHS | st.sampled_from(["/a//b", "/a/./b", "/x/../a", "/%61", "/c", "/a/b/c", "/b/c%2ed", "/abc"]))
    query = draw(st.lists(st.builds(lambda n, v: f"{n}={v}", PARAMETERS, VALUES) | PARAMETERS, max_size=2))
    names = st.sampled_from(["x-a", "x-b"])
    headers = draw(st.lists(st.tuples(names, VALUES | st.just("")), max_size=3))
    authority = draw(st.sampled_from(["app.hello", "app.hello", "app.hello:80", "APP.hello", "other.example:8080"]))
    if draw(st.integers(0, 9)) == 0:
        headers.append(("content-type", "application/grpc"))
    if draw(st.integers(0, 9)) == 0:
        headers.append(("x-forwarded-for", draw(st.sampled_from(["203.0.113.7", "192.0.2.1, 203.0.113.9"]))))
    if draw(st.integers(0, 2)) == 0:
        carried = draw(st.sampled_from(TOKENS))
        place = draw(st.sampled_from(["authorization", "x-token", "t", "access_token"]))
        if place in ("t", "access_token"):
            query.insert(0, f"{place}={carried}")
        else:
            headers.append((place, f"{'Bearer' if place == 'authorization' else 'T'} {carried}"))
    method = draw(METHODS)
    if draw(st.integers(0, 3)) == 0:
        headers.append(("origin", draw(ORIGINS)))
        method = draw(st.sampled_from(["GET", "OPTIONS", "OPTIONS"]))
        headers += draw(st.sampled_from([[], [("access-control-request-method", "PUT")]]))
        headers += draw(st.sampled_from([[], [("access-control-request-headers", "x-c,x-d")]]))
    full = path + ("?" + "&".join(query) if query else "")
    return Request("app.hello", 80, method, full, tuple(headers), authority)
