"""What ztunnel answers about itself (istio/ztunnel, src/admin.rs and src/metrics/server.rs).

    15000  on loopback: /config_dump and /logging, where `istioctl ztunnel-config` goes by port-forward
    15020  /metrics and /stats/prometheus

Its pod shares the node's network namespace, and so does the daemon, which answers in its place.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ambientlab.dataplane.ztunnel_log import Levels
from ambientlab.dataplane.ztunnel_metrics import CONTENT_TYPE

ADMIN_PORT = 15000
METRICS_PORT = 15020

_HELP = """
usage: POST /logging\t\t\t\t\t\t(To list current level)
usage: POST /logging?level=<level>\t\t\t\t(To change global levels)
usage: POST /logging?level={mod1}:{level1},{mod2}:{level2}\t(To change specific mods' logging level)

hint: loglevel:\terror|warn|info|debug|trace|off
hint: mod_name:\tthe module name, i.e. ztunnel::proxy
"""


class ZtunnelAdmin:
    """`dump` and `metrics` are asked for every answer anew."""

    def __init__(self, dump: Callable[[], Awaitable[Any]], metrics: Callable[[], str], levels: Levels) -> None:
        self._dump = dump
        self._metrics = metrics
        self._levels = levels
        admin, stats = web.Application(), web.Application()
        admin.router.add_get("/config_dump", self._config_dump)
        admin.router.add_route("*", "/logging", self._logging)
        for path in ("/metrics", "/stats/prometheus"):
            stats.router.add_get(path, self._stats)
        self._runners = {
            ("127.0.0.1", ADMIN_PORT): web.AppRunner(admin, access_log=None),
            ("0.0.0.0", METRICS_PORT): web.AppRunner(stats, access_log=None),
        }

    async def start(self) -> None:
        for (address, port), runner in self._runners.items():
            await runner.setup()
            await web.TCPSite(runner, address, port).start()

    async def stop(self) -> None:
        for runner in self._runners.values():
            await runner.cleanup()

    async def _config_dump(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(await self._dump(), dumps=lambda value: json.dumps(value, indent=2))

    async def _stats(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _logging(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, text=f"Invalid HTTP method\n {_HELP}")
        level, reset = request.query.get("level", ""), "reset" in request.query
        try:
            if level or reset:
                self._levels.set(level, reset=reset)
        except ValueError:
            return web.Response(status=400, text=f"Invalid level provided: {level}\n{_HELP}")
        return web.Response(text=f"current log level is {self._levels}\n")
