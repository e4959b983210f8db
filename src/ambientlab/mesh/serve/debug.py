"""What istiod answers about itself and the mesh, at port 15014.

/version      its version, as `istioctl version` reads it (pilot/pkg/bootstrap/monitoring.go)
/debug        a page that leads to the others, for `istioctl dashboard istiod-debug`
/debug/syncz  what `istioctl proxy-status` asks, in JSON as istiod's own (pilot/pkg/xds/debug.go, SyncStatus)
/debug/config_dump?proxyID=POD.NAMESPACE
              what a proxy is to run, as Envoy dumps it
/metrics      in Prometheus' text format

Pods are answered as well, but for what is below /debug/: that is for the loopback, where port-forwards come from, and
for others Istio wants a token (debug.go, allowAuthenticatedOrLocalhost), which is taken at port 15012 alone here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ambientlab.cluster import BUILD, CLUSTER_ID, ISTIO_VERSION, NODE_IP
from ambientlab.mesh.serve.connection import SHORT, Connection
from ambientlab.mesh.serve.proxies import is_node_proxy
from ambientlab.mesh.serve.sent import sent

PORT = 15014


class DebugServer:
    """`connections` gives the proxies being served. `metrics` and `own` give whole answers: what the loopback is told,
    and what everybody is, who may ask ztunnel as well and would count its connections twice."""

    def __init__(
        self, connections: Callable[[], list[Connection]], metrics: Callable[[], str], own: Callable[[], str]
    ) -> None:
        self._connections = connections
        private, public = _application(metrics), _application(own)
        private.router.add_get("/debug/syncz", self._syncz)
        private.router.add_get("/debug/config_dump", self._config_dump)
        public.router.add_get("/debug/{page:.+}", _unauthorized)
        self._runners = {
            "127.0.0.1": web.AppRunner(private, access_log=None),
            NODE_IP: web.AppRunner(public, access_log=None),
        }

    async def start(self) -> None:
        for address, runner in self._runners.items():
            await runner.setup()
            await web.TCPSite(runner, address, PORT).start()

    async def stop(self) -> None:
        for runner in self._runners.values():
            await runner.cleanup()

    async def _syncz(self, request: web.Request) -> web.Response:
        namespace = request.query.get("namespace", "")
        found = [one for one in self._connections() if namespace in ("", one.proxy.namespace)]
        return web.json_response([sync_status(one) for one in sorted(found, key=lambda one: str(one.proxy))])

    async def _config_dump(self, request: web.Request) -> web.Response:
        proxy = request.query.get("proxyID", "")
        found = named(self._connections(), proxy)
        if found is None:
            raise web.HTTPNotFound(text=f"Proxy not connected to this Pilot instance: {proxy}")
        return web.json_response({"configs": [_any(message) for message in sent(found.session)]})


def _application(metrics: Callable[[], str]) -> web.Application:
    async def serve_metrics(request: web.Request) -> web.Response:
        del request
        return web.Response(text=metrics())

    # istioctl asks for //version
    made = web.Application(middlewares=[web.normalize_path_middleware(append_slash=False, merge_slashes=True)])
    made.router.add_get("/version", _version)
    made.router.add_get("/debug", _index)
    made.router.add_get("/metrics", serve_metrics)
    return made


def _any(message: Message) -> dict[str, Any]:
    fields = MessageToDict(message, preserving_proto_field_name=True)
    return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **fields}


async def _index(request: web.Request) -> web.Response:
    del request
    links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in ("/debug/syncz", "/metrics", "/version"))
    return web.Response(text=f"<title>istiod</title><h1>istiod</h1><ul>{links}</ul>", content_type="text/html")


async def _unauthorized(request: web.Request) -> web.Response:
    """Without a word, as istiod's."""
    del request
    return web.Response(status=401)


async def _version(request: web.Request) -> web.Response:
    del request
    return web.Response(text=f"{ISTIO_VERSION}-{BUILD}-Clean")


def named(connections: list[Connection], proxy: str) -> Connection | None:
    """The newest of a proxy."""
    return next((one for one in reversed(connections) if str(one.proxy) == proxy), None)


def sync_status(connection: Connection) -> dict[str, Any]:
    session = connection.session
    errors = {rejection.type_url: rejection.detail for rejection in session.rejections}
    resources = {}
    for type_url in SHORT:
        progress = session.progress(type_url)
        if progress is None:
            continue
        sent, acked = progress
        resources[type_url] = {"sent": sent, "acked": acked}
        if type_url in connection.pushed:
            moment = datetime.fromtimestamp(connection.pushed[type_url], UTC)
            resources[type_url]["sentTime"] = f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
        if type_url in errors:
            resources[type_url]["lastError"] = errors[type_url]
    return {
        "cluster_id": CLUSTER_ID,
        "proxy": str(connection.proxy),
        "proxy_type": "ztunnel" if is_node_proxy(connection.proxy) else "waypoint",
        "istio_version": ISTIO_VERSION,
        "resources": resources,
    }
