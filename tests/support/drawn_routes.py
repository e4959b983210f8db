"""Strategies for routes of both APIs, for the services of `route_worlds`.

Small pools on purpose: what is drawn must meet. Everything drawn is valid, which admission confirms.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ambientlab.api.objects import Object

NAMESPACE = "hello"
PRESENT = {"app": ("v1", "v2"), "one": ("v1",), "two": ("v2",), "empty": (), "aside": ("v2",)}
"""Service -> versions of its pods; `aside` uses no waypoint."""

Draw = st.DrawFn

PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab", "/A", "/b", "/b/c.d"])
NAMES = st.sampled_from(["x-a", "x-b", "X-A"])
VALUES = st.sampled_from(["1", "2", "one", "one,two", "ONE"])
EXPRESSIONS = st.sampled_from(["1|2", "on.*", "[a-z]+", ".*", "(?i)ONE", "one"])
PATH_EXPRESSIONS = st.sampled_from(["/a.*", "/[ab]/?", "(?i)/A", "/a|/b", "/.*c[.]d", "/"])
PARAMETERS = st.sampled_from(["q", "r"])
METHODS = st.sampled_from(["GET", "POST", "DELETE"])
ORIGINS = st.sampled_from(["https://a.example", "http://b.example:8080", "https://www.example.org"])
BACKENDS = st.sampled_from(["app", "one", "two", "two", "one", "empty", "aside", "gone"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


# --- Gateway API


@st.composite
def gateway_match(draw: Draw, kind: str | None = None) -> dict[str, Any]:
    kind = kind or draw(st.sampled_from(["PathPrefix", "PathPrefix", "Exact", "RegularExpression"]))
    path = {"type": kind, "value": draw(PATH_EXPRESSIONS if kind == "RegularExpression" else PATHS)}

    def named(names: st.SearchStrategy[str]) -> list[dict[str, str]]:
        exact = st.builds(lambda n, v: {"name": n, "type": "Exact", "value": v}, names, VALUES)
        regex = st.builds(lambda n, v: {"name": n, "type": "RegularExpression", "value": v}, names, EXPRESSIONS)
        found: list[dict[str, str]] = draw(
            st.lists(exact | regex, max_size=2, unique_by=lambda item: item["name"].lower())
        )
        return found

    return present(
        path=draw(st.just(path) | st.just(path) | maybe(st.just(path))) if kind != "PathPrefix" else path,
        method=draw(maybe(METHODS)) if draw(st.booleans()) else None,
        headers=named(NAMES) if draw(st.booleans()) else None,
        queryParams=named(PARAMETERS) if draw(st.booleans()) else None,
    )


@st.composite
def modifier(draw: Draw) -> dict[str, Any]:
    pairs = st.lists(
        st.builds(lambda n, v: {"name": n, "value": v}, st.sampled_from(["x-a", "x-new", "x-answer"]), VALUES),
        max_size=2,
        unique_by=lambda item: item["name"],
    )
    change = present(
        set=draw(pairs),
        add=draw(pairs),
        remove=draw(st.lists(st.sampled_from(["x-b", "x-from", "x-none"]), max_size=2, unique=True)),
    )
    return change or {"remove": ["x-none"]}


def _filters(**named: Any) -> list[dict[str, Any]]:
    kinds = {
        "requestHeaderModifier": "RequestHeaderModifier",
        "responseHeaderModifier": "ResponseHeaderModifier",
        "urlRewrite": "URLRewrite",
        "requestMirror": "RequestMirror",
        "requestRedirect": "RequestRedirect",
        "cors": "CORS",
    }
    return [{"type": kinds[name], name: value} for name, value in named.items() if value is not None]


@st.composite
def gateway_cors(draw: Draw) -> dict[str, Any]:
    return present(
        allowOrigins=draw(
            st.just(["*"]) | st.lists(ORIGINS | st.just("https://*.example.org"), max_size=2, unique=True)
        ),
        allowCredentials=draw(maybe(st.booleans())),
        allowMethods=draw(st.sampled_from([[], ["*"], ["GET", "PUT"]])),
        allowHeaders=draw(st.sampled_from([[], ["*"], ["x-a"], ["X-A", "x-b"]])),
        exposeHeaders=draw(st.sampled_from([[], ["*"], ["x-answer"]])),
        maxAge=draw(maybe(st.integers(1, 9))),
    )


@st.composite
def gateway_path_change(draw: Draw, prefixes: bool) -> dict[str, Any]:
    target = draw(st.sampled_from(["/", "/new", "/new/", "/n/w"]))
    if prefixes and draw(st.booleans()):
        return {"type": "ReplacePrefixMatch", "replacePrefixMatch": target}
    return {"type": "ReplaceFullPath", "replaceFullPath": target}


@st.composite
def gateway_rule(draw: Draw) -> dict[str, Any]:
    prefixes = draw(st.booleans())
    matches = [draw(gateway_match("PathPrefix"))] if prefixes else draw(st.lists(gateway_match(), max_size=2))
    changes = {
        "requestHeaderModifier": draw(maybe(modifier())),
        "responseHeaderModifier": draw(maybe(modifier())),
        "cors": draw(gateway_cors()) if draw(st.integers(0, 3)) == 0 else None,
    }
    if draw(st.integers(0, 4)) == 0:
        redirect = present(
            scheme=draw(maybe(st.sampled_from(["http", "https"]))),
            hostname=draw(maybe(st.just("example.com"))),
            port=draw(maybe(st.sampled_from([80, 443, 8080]))),
            path=draw(maybe(gateway_path_change(prefixes))),
            statusCode=draw(st.sampled_from([301, 302])),
        )
        return present(matches=matches, filters=_filters(**changes, requestRedirect=redirect))
    rewrite = None
    if draw(st.booleans()):
        rewrite = present(
            hostname=draw(maybe(st.just("rewritten.example"))), path=draw(maybe(gateway_path_change(prefixes)))
        )
    mirror = {"backendRef": {"name": "one", "port": 80}} if draw(st.integers(0, 5)) == 0 else None
    references = []
    for name in draw(st.lists(BACKENDS, max_size=3, unique=True)):
        own = draw(maybe(modifier())) if draw(st.booleans()) else None
        references.append(
            present(
                name=name,
                port=draw(st.sampled_from([80, 80, 80, 81])),
                filters=_filters(requestHeaderModifier=own, responseHeaderModifier=own),
            )
            | {"weight": draw(st.integers(0, 3))}
        )
    filters = _filters(**changes, urlRewrite=rewrite or None, requestMirror=mirror)
    timeouts = draw(maybe(st.sampled_from([{"request": "20s", "backendRequest": "10s"}, {"request": "0s"}])))
    return present(matches=matches, filters=filters, backendRefs=references, timeouts=timeouts)


@st.composite
def http_route(draw: Draw, number: int) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"route-{number}", "namespace": NAMESPACE, "creationTimestamp": draw(_CREATED)},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "app", **present(port=draw(maybe(st.just(80))))}],
            "rules": draw(st.lists(gateway_rule(), min_size=1, max_size=3)),
        },
    }


GRPC_METHODS = [
    {"type": "Exact", "service": "a", "method": "b"},
    {"type": "Exact", "service": "a"},
    {"type": "Exact", "method": "b"},
    {"type": "RegularExpression", "service": "[ab]", "method": "b.*"},
    {"type": "RegularExpression", "method": ".*[.]d"},
]


@st.composite
def grpc_route(draw: Draw) -> Object:
    """Paths that requests have: `/a/b` is method b of service a."""
    rules = []
    for _ in range(draw(st.integers(1, 2))):
        matches = []
        for _ in range(draw(st.integers(0, 2))):
            method = draw(maybe(st.sampled_from(GRPC_METHODS)))
            header = {"name": draw(NAMES), "type": "Exact", "value": draw(VALUES)}
            matches.append(present(method=method, headers=[header] if draw(st.booleans()) else None))
        names = draw(st.lists(BACKENDS, min_size=1, max_size=2, unique=True))
        changes = {"requestHeaderModifier": draw(maybe(modifier())), "responseHeaderModifier": draw(maybe(modifier()))}
        rules.append(
            present(
                matches=[match for match in matches if match],
                filters=_filters(**changes),
                backendRefs=[{"name": name, "port": 80, "weight": draw(st.integers(0, 2))} for name in names],
            )
        )
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GRPCRoute",
        "metadata": {"name": "grpc", "namespace": NAMESPACE, "creationTimestamp": draw(_CREATED)},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "app"}], "rules": rules},
    }


_CREATED = st.sampled_from([f"2026-01-0{day}T00:00:00Z" for day in (1, 2, 3)])


# --- Istio


def string_match(values: st.SearchStrategy[str], expressions: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return (
        st.builds(lambda v: {"exact": v}, values)
        | st.builds(lambda v: {"prefix": v}, values)
        | st.builds(lambda v: {"regex": v}, expressions)
    )


def named_matches(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.dictionaries(names, string_match(VALUES, EXPRESSIONS), max_size=2)


@st.composite
def istio_match(draw: Draw) -> dict[str, Any]:
    headers: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
        st.sampled_from(["x-a", "x-b"]), string_match(VALUES, EXPRESSIONS) | st.just({}), max_size=2
    )
    return present(
        uri=draw(maybe(string_match(PATHS, PATH_EXPRESSIONS))),
        ignoreUriCase=draw(maybe(st.just(True))),
        method=draw(maybe(string_match(METHODS, st.just("G.T|P.*")))) if draw(st.booleans()) else None,
        authority=draw(maybe(string_match(st.sampled_from(["app.hello", "app"]), st.just("app[.].*")))),
        scheme=draw(maybe(st.sampled_from([{"exact": "http"}, {"exact": "https"}, {"prefix": "h"}])))
        if draw(st.booleans())
        else None,
        headers=draw(headers),
        withoutHeaders=draw(headers) if draw(st.booleans()) else None,
        queryParams=draw(named_matches(PARAMETERS)) if draw(st.booleans()) else None,
    ) or {"uri": {"prefix": "/"}}


@st.composite
def istio_headers(draw: Draw, *, host: bool = False) -> dict[str, Any]:
    """`host` says whether they may change what the request is for."""

    def operations() -> dict[str, Any]:
        pairs = st.dictionaries(st.sampled_from(["x-a", "x-new", "x-answer"]), VALUES, max_size=2)
        return present(
            set=draw(pairs),
            add=draw(pairs),
            remove=draw(st.lists(st.sampled_from(["x-b", "x-from"]), max_size=1)),
        )

    request = operations()
    if host and draw(st.booleans()):
        request.setdefault("set", {})["Host"] = "header.example"
    return present(request=request, response=operations())


@st.composite
def istio_cors(draw: Draw) -> dict[str, Any]:
    origins = string_match(ORIGINS, st.sampled_from([".*", "https://.*[.]example"]))
    return present(
        allowOrigins=draw(st.lists(origins | st.just({"exact": "*"}), max_size=2)),
        allowCredentials=draw(maybe(st.booleans())),
        allowMethods=draw(st.sampled_from([[], ["GET", "PUT"]])),
        allowHeaders=draw(st.sampled_from([[], ["x-a"], ["X-A", "x-b"]])),
        exposeHeaders=draw(st.sampled_from([[], ["x-answer"]])),
        maxAge=draw(maybe(st.sampled_from(["5s", "24h"]))),
        unmatchedPreflights=draw(maybe(st.sampled_from(["FORWARD", "IGNORE"]))),
    )


@st.composite
def istio_fault(draw: Draw) -> dict[str, Any]:
    percentage = st.sampled_from([0, 100, 100]).map(lambda value: {"value": value})
    abort = draw(
        maybe(
            st.fixed_dictionaries({"httpStatus": st.sampled_from([418, 503]), "percentage": percentage})
            | st.fixed_dictionaries({"grpcStatus": st.sampled_from(["UNAVAILABLE", "OK"]), "percentage": percentage})
        )
    )
    delay = draw(maybe(st.fixed_dictionaries({"fixedDelay": st.just("0.01s"), "percentage": percentage})))
    return present(abort=abort, delay=delay)


@st.composite
def istio_rule(draw: Draw) -> dict[str, Any]:
    host = draw(st.sampled_from(["", "rule", "rewrite", "share"]))
    rule: dict[str, Any] = present(
        match=draw(st.lists(istio_match(), max_size=2)),
        headers=draw(maybe(istio_headers(host=host == "rule"))) if draw(st.booleans()) else None,
    )
    what = draw(st.sampled_from(["route", "route", "route", "redirect", "direct"]))
    if what == "redirect":
        redirect = present(
            uri=draw(maybe(st.sampled_from(["/new", "/new?x=1"]))),
            authority=draw(maybe(st.just("example.com"))),
            scheme=draw(maybe(st.sampled_from(["http", "https"]))),
            port=draw(maybe(st.sampled_from([80, 8080]))),
            redirectCode=draw(maybe(st.sampled_from([301, 302, 303, 307, 308]))),
        )
        return {**rule, "redirect": redirect if redirect.keys() & {"uri", "authority"} else {**redirect, "uri": "/new"}}
    if what == "direct":
        body = {"string": draw(st.sampled_from(["short", "and stout"]))}
        answer = present(status=draw(st.sampled_from([200, 201, 308, 418])), body=draw(maybe(st.just(body))))
        return {**rule, "directResponse": answer}
    uri = st.sampled_from(["/", "/new", "/new/"]).map(lambda value: {"uri": value})
    regex = st.sampled_from([("^/a(.*)", r"/z\1"), ("b", "x"), ("(/)", r"\1\1")]).map(
        lambda pair: {"uriRegexRewrite": {"match": pair[0], "rewrite": pair[1]}}
    )
    if draw(st.integers(0, 2)) == 0:
        rule["rewrite"] = {**draw(uri | regex), **present(authority="rewritten.example" if host == "rewrite" else None)}
    shares = []
    for name in draw(st.lists(st.sampled_from(["v1", "v2", "v3", "v4", *PRESENT, "gone"]), min_size=1, max_size=3)):
        destination = {"host": "app", "subset": name} if name.startswith("v") else {"host": name}
        shares.append(
            {"destination": destination, "weight": draw(st.integers(0, 3))}
            | present(headers=draw(maybe(istio_headers(host=host == "share"))) if draw(st.booleans()) else None)
        )
    if len(shares) > 1 and not any(share["weight"] for share in shares):
        shares[0]["weight"] = 1
    return {
        **rule,
        "route": shares,
        **present(
            fault=draw(istio_fault()) if draw(st.integers(0, 2)) == 0 else None,
            corsPolicy=draw(istio_cors()) if draw(st.integers(0, 3)) == 0 else None,
            timeout=draw(maybe(st.just("20s"))),
            retries=draw(
                maybe(st.sampled_from([{"attempts": 0}, {"attempts": 1, "perTryTimeout": "5s", "retryOn": "reset"}]))
            ),
            mirror=draw(maybe(st.just({"host": "one"}))) if draw(st.booleans()) else None,
        ),
    }


@st.composite
def virtual_service(draw: Draw) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "routes", "namespace": NAMESPACE, "creationTimestamp": draw(_CREATED)},
        "spec": {"hosts": ["app"], "http": draw(st.lists(istio_rule(), min_size=1, max_size=3))},
    }


@st.composite
def routes(draw: Draw) -> list[Object]:
    """HTTPRoutes, a GRPCRoute, a VirtualService, or all of them for one service."""
    which = draw(st.sampled_from(["gateway", "gateway", "istio", "istio", "both"]))
    result = []
    if which != "istio":
        result += [draw(http_route(number)) for number in range(draw(st.integers(1, 2)))]
        result += [draw(grpc_route())] if draw(st.integers(0, 2)) == 0 else []
    if which != "gateway":
        result.append(draw(virtual_service()))
    return result
