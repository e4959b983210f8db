"""`proxy` of pods and services: a request is carried to a program in a pod, and its answer back.

Who asks has shown the API who they are, and the program learns nothing of that: credentials go no further. Rules:
k8s.io/apimachinery/pkg/util/proxy (upgradeaware.go, transport.go). Links within HTML stay as they are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from ambientlab.apiserver import locations
from ambientlab.apiserver.http import upgrading
from ambientlab.apiserver.http.upgrading import Headers
from ambientlab.apiserver.locations import Location

_CONNECT_SECONDS = 30.0  # Go's default dialer's
_CHUNK = 64 * 1024
_LONGEST_HEADER = 1 << 20  # Go's default for all of them (net/http, Transport)
_SAFE = "/:@!$&'()*+,;=~"
"""What stands in a path for itself."""
_HOPS = {
    "connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that are about one connection (httputil.ReverseProxy)."""
_FORWARDED_FOR = "X-Forwarded-For"
_OF_THE_API = {"authorization", "expect", _FORWARDED_FOR.lower(), "x-forwarded-uri"}
_CORS = {f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin")}


async def carry(request: web.Request, location: Location, path: str) -> web.StreamResponse:
    """`path` is what of the request's lies behind `proxy`, decoded. Raises StatusError until an answer has begun."""
    if not path and request.method in ("GET", "HEAD"):
        return _redirected(request)
    query = request.rel_url.raw_query_string
    target = f"{quote(path or '/', safe=_SAFE)}{f'?{query}' if query else ''}"
    before = request.path.removesuffix(path)
    headers = _asked(request, path, before)
    if upgrading.is_asked_for(request):
        return await upgrading.carry(request, location, target, headers)
    # a connection each: what answers may be another program next time
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    ) as session:
        try:
            answer = await session.request(
                request.method,
                URL(f"{location.scheme}://{location.host}{target}", encoded=True),
                headers=headers,
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
                skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            )
        except aiohttp.ClientConnectorError as error:
            raise locations.not_connected(location, error.os_error) from None
        except aiohttp.ConnectionTimeoutError:
            raise locations.not_connected(location, TimeoutError()) from None
        except aiohttp.ServerDisconnectedError:
            raise locations.unreachable("EOF") from None
        except aiohttp.ClientError as error:
            raise locations.unreachable(str(error)) from None
        async with answer:
            return await _answered(request, answer, location, before)


def _redirected(request: web.Request) -> web.Response:
    """Relative links of a page mean something else without a slash at its end."""
    query = request.rel_url.raw_query_string
    where = f"{request.rel_url.raw_path}/{f'?{query}' if query else ''}"
    return web.Response(status=301, headers={hdrs.LOCATION: where})


def _asked(request: web.Request, path: str, before: str) -> Headers:
    known = request.headers.getall(_FORWARDED_FOR, [])
    return [
        *((name, text) for name, text in _carried(request.headers, _OF_THE_API) if not _impersonates(name)),
        (_FORWARDED_FOR, ", ".join([*known, *filter(None, [request.remote])])),
        ("X-Forwarded-Uri", quote(before + path, safe=_SAFE)),
    ]


def _impersonates(name: str) -> bool:
    return name.lower().startswith("impersonate-")


def _carried(headers: Mapping[str, str], without: set[str]) -> Headers:
    """What goes on from one connection to the next; a header may name others that do not."""
    own = {
        one.strip().lower() for name, text in headers.items() if name.lower() == "connection" for one in text.split(",")
    }
    return [(name, text) for name, text in headers.items() if name.lower() not in _HOPS | without | own]


async def _answered(
    request: web.Request, answer: aiohttp.ClientResponse, location: Location, before: str
) -> web.StreamResponse:
    if answer.status < 200:
        raise locations.unreachable("an answer was expected, and what came is an upgrade")
    hosts = location.host, request.host
    headers = [
        (name, redirect(text, hosts, before) if name.lower() == "location" else text)
        for name, text in _carried(answer.headers, _CORS)
    ]
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            await response.write(chunk)
    except aiohttp.ClientError as error:  # the client must see that there was more
        raise ConnectionResetError(str(error)) from None
    await response.write_eof()
    return response


def redirect(target: str, hosts: tuple[str, str], before: str) -> str:
    """A Location by way of the proxy, if it leads to the same program (rewriteURL): by the host that was called, or
    that was asked for."""
    try:
        url = urlsplit(target)
    except ValueError:
        return target
    if url.netloc not in ("", *hosts) or not url.path.startswith("/"):
        return target
    path = url.path
    if not path.startswith(before):
        path = posixpath.normpath(posixpath.join(before, path.lstrip("/"))) + ("/" if path.endswith("/") else "")
    own = (url.scheme, url.netloc) if url.netloc == hosts[1] else ("", "")
    return urlunsplit((*own, path, url.query, url.fragment))
