"""What istiod answers about itself and the mesh, at port 15014 of its loopback.

/version      its version, as `istioctl version` reads it (pilot/pkg/bootstrap/monitoring.go)
/debug        a page that leads to the others, for `istioctl dashboard istiod-debug`
/debug/syncz  what `istioctl proxy-status` asks, in JSON as istiod's own (pilot/pkg/xds/debug.go, SyncStatus)
/debug/config_dump?proxyID=POD.NAMESPACE
              what a proxy is to run, as Envoy dumps it
/metrics      in Prometheus' text format
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ambientlab.cluster import BUILD, CLUSTER_ID, ISTIO_VERSION
from ambientlab.mesh.serve.connection import SHORT, Connection
from ambientlab.mesh.serve.proxies import is_node_proxy
from ambientlab.mesh.serve.sent import sent

PORT = 15014


class DebugServer:
    """`connections` gives the proxies being served, `metrics` the whole answer."""

    def __init__(self, connections: Callable[[], list[Connection]], metrics: Callable[[], str]) -> None:
        self._connections = connections
        self._metrics = metrics
        # istioctl asks for //version
        app = web.Application(middlewares=[web.normalize_path_middleware(append_slash=False, merge_slashes=True)])
        app.router.add_get("/debug/syncz", self._syncz)
        app.router.add_get("/debug/config_dump", self._config_dump)
        app.router.add_get("/version", _version)
        app.router.add_get("/debug", _index)
        app.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", PORT).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self._metrics())

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


def _any(message: Message) -> dict[str, Any]:
    fields = MessageToDict(message, preserving_proto_field_name=True)
    return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **fields}


async def _index(request: web.Request) -> web.Response:
    del request
    links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in ("/debug/syncz", "/metrics", "/version"))
    return web.Response(text=f"<title>istiod</title><h1>istiod</h1><ul>{links}</ul>", content_type="text/html")


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
