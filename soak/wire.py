"""Requests that HTTP or the API cannot take: broken bodies, absurd headers, halves of requests, what is none at all."""

from __future__ import annotations

import random
from dataclasses import dataclass

from soak.mutation import TEXTS
from soak.objects import Objects

# fmt: off
TYPES = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/apply-patch+yaml",
    "text/html", "", "*/*", "application/json; charset=\x80", "a" * 9000, "application/json, text/plain",
    "multipart/form-data; boundary=x", "application/cbor",
)
BODIES = (
    b"", b"{", b"[]", b"null", b"0", b'"text"', b"{}", b'{"kind": "ConfigMap"', b"\xff\xfe{}", b"\x00" * 40, b"a: [",
    b"a: &a [*a, *a]", b"- - - -", b"--- \n---\n", b"a: !!python/object/apply:os.system [id]", b"{\"a\": 1e999}",
    b'{"a": "\\ud800"}', b'{"a":1,"a":2}', b"k8s\x00", b"k8s\x00\x0a\x04\x0a\x02v1\x12\x03\xff\xff\xff",
    b"k8s\x00" + b"\xff" * 60, b"[" * 20_000, b'{"a":' * 5_000, b"a" * 70_000,
    b"a: &x [1,1,1,1,1,1,1,1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x]\nc: &z [*y,*y,*y,*y,*y]\nd: [*z,*z,*z,*z,*z,*z,*z,*z]",
)
HEADERS = (
    "Accept: application/json;as=Table;g=meta.k8s.io;v=v1", "Accept: text/plain", "Accept: " + "a/b," * 2000,
    "Accept: ;;;", "Accept: application/\x01", "Accept-Encoding: gzip, br, x", "Content-Encoding: gzip",
    "Content-Encoding: bogus", "Expect: 100-continue", "Expect: nonsense", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip", "Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: abc",
    "Content-Length: 1, 2", "Authorization: Bearer x", "Authorization: Bearer " + "a." * 4000,
    "Authorization: Basic eDp5", "Authorization: \xe9", "Impersonate-User: x", "Impersonate-Group: system:masters",
    "Impersonate-Extra-a%zz: b", "Impersonate-Uid: 1", "X: " + "y" * 70_000, "If-None-Match: x", "Range: bytes=0-1",
    "Cookie: " + "a=b;" * 900, ": empty", "no colon", " folded", "Na me: x", "N\x00: x", "Upgrade: SPDY/3.1",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
    "Connection: Upgrade", "Host: a b", "Host:", "X-Stream-Protocol-Version: v9.channel.k8s.io",
    "Kubectl-Command: \x1b[2J", "Content-Type: a\r\nContent-Type: b",
)
QUERIES = (
    "labelSelector=a%3D%3D%3Db", "labelSelector=a in (", "labelSelector=%00", "labelSelector=" + "a," * 5000,
    "fieldSelector=metadata.name", "fieldSelector=status.nothing%3Dx", "fieldSelector=%ff", "limit=-1", "limit=a",
    "limit=99999999999999999999", "limit=1&continue=x", "continue=eyJhIjoxfQ==", "continue=%00", "resourceVersion=-1",
    "resourceVersion=a", "resourceVersion=99999999999", "resourceVersion=0", "resourceVersionMatch=Exact",
    "resourceVersionMatch=Never&resourceVersion=1", "watch=true&timeoutSeconds=-1", "watch=true&timeoutSeconds=a",
    "watch=true&resourceVersion=1&timeoutSeconds=1", "watch=1&resourceVersion=zz&timeoutSeconds=1",
    "sendInitialEvents=true&watch=1&timeoutSeconds=1", "sendInitialEvents=perhaps", "dryRun=None",
    "dryRun=All&dryRun=All", "fieldManager=" + "x" * 200, "fieldManager=%01", "force=perhaps", "fieldValidation=x",
    "pretty=x", "includeObject=x", "propagationPolicy=x", "gracePeriodSeconds=-5", "gracePeriodSeconds=a",
    "gracePeriodSeconds=%C2%B2", "gracePeriodSeconds=--5", "gracePeriodSeconds=" + "9" * 5000, "limit=" + "9" * 5000,
    "a=%zz", "&&&=", "%", "tailLines=-1", "sinceSeconds=a", "sinceTime=x", "container=%2e%2e", "command=",
    "command=" + "x" * 5000, "stdin=perhaps", "ports=70000", "follow=x", "previous=x", "limitBytes=-1",
)
PATHS = (
    "/api", "/apis", "/api/v1", "/api/v2", "/apis/x/y", "/apis/x/y/z", "/api/v1/pods",
    "/api/v1/namespaces/hello/pods", "/api/v1/namespaces/hello/pods/x", "/api/v1/namespaces/hello/configmaps",
    "/api/v1/namespaces/hello/configmaps/x", "/api/v1/namespaces/hello/secrets", "/api/v1/nodes/x/proxy",
    "/api/v1/namespaces/hello/pods/app/exec", "/api/v1/namespaces/hello/pods/app/attach",
    "/api/v1/namespaces/hello/pods/app/portforward", "/api/v1/namespaces/hello/pods/app/log",
    "/api/v1/namespaces/hello/pods/app/eviction", "/api/v1/namespaces/hello/pods/app/nothing",
    "/api/v1/namespaces/hello/serviceaccounts/default/token", "/api/v1/namespaces/hello/finalize",
    "/api/v1/namespaces/hello/services/x/proxy/a", "/apis/apps/v1/namespaces/hello/deployments/app/scale",
    "/apis/apps/v1/namespaces/hello/deployments", "/apis/networking.istio.io/v1/virtualservices",
    "/apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes", "/apis/authentication.k8s.io/v1/tokenreviews",
    "/openapi/v2", "/openapi/v3", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "/openapi/v3/apis/x/y", "/openapi/v3/apis/apps/v1",
    "/version", "/healthz/", "/livez?verbose", "/metrics", "/", "//", "/api/v1/namespaces/%2e%2e/pods",
    "/api/v1/namespaces/hello%2fpods", "/api/v1/namespaces/hello/configmaps/%00",
    "/api/v1/namespaces/hello/configmaps/a%0ab", "/%ff", "/a" * 4000, "*", "http://x/api", "api/v1",
    "/api/v1/namespaces/hello/configmaps/" + "x" * 300, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
)
# fmt: on
METHODS = (
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "G\x00T",
    "",
)
FAR_TOO_LARGE = (3 << 20) + 1000


@dataclass(frozen=True, slots=True)
class Bytes:
    """And how many seconds to wait for an answer to them."""

    data: bytes
    patience: float
    encrypted: bool = True

    def __str__(self) -> str:
        return f"{'TLS' if self.encrypted else 'plain'} {self.data[:1500]!r}"


class Wire:
    def __init__(self, dice: random.Random, objects: Objects) -> None:
        self._dice = dice
        self._objects = objects

    def some(self) -> Bytes:
        dice = self._dice
        match dice.choices(("request", "half", "noise", "plain", "large"), (80, 10, 5, 4, 1))[0]:
            case "request":
                return Bytes(self._request(), 0.3)
            case "half":
                whole = self._request()
                return Bytes(whole[: dice.randrange(1, len(whole))], 0.005)
            case "noise":
                return Bytes(
                    dice.randbytes(dice.choice((1, 20, 5000))) + b"\r\n\r\n", 0.05, encrypted=dice.random() < 0.5
                )
            case "plain":
                return Bytes(self._request(), 0.05, encrypted=False)
        size = FAR_TOO_LARGE
        head = f"POST /api/v1/namespaces/hello/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        return Bytes(head.encode() + b"x" * size, 5)

    def _request(self) -> bytes:
        dice = self._dice
        path = dice.choice(PATHS)
        method = dice.choice(METHODS[:5]) if dice.random() < 0.9 else dice.choice(METHODS)
        queries = [dice.choice(QUERIES)] if dice.random() < 0.4 else []
        if method == "DELETE":  # all of a kind, if it is taken
            queries.insert(0, "dryRun=All")
        path += "?" * bool(queries) + "&".join(queries)
        if dice.random() < 0.1:
            path += dice.choice(TEXTS)
        body = dice.choice(BODIES) if dice.random() < 0.6 else self._objects.request()[1].body
        headers = [f"Content-Type: {dice.choice(TYPES)}", *dice.choices(HEADERS, k=dice.choice((0, 0, 1, 1, 2, 4)))]
        if dice.random() < 0.9:
            headers.append(f"Content-Length: {len(body)}")
        if dice.random() < 0.95:
            headers.append("Host: localhost")
        version = (
            "HTTP/1.1" if dice.random() < 0.95 else dice.choice(("HTTP/1.0", "HTTP/2", "HTTP/9.9", "", "HTTP/1.1 x"))
        )
        lines = [f"{method} {path} {version}", *headers, "Connection: close"]
        return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body
