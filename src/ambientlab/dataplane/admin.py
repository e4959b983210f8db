"""A client of Envoy's admin interface on its unix socket. https://www.envoyproxy.io/docs/envoy/latest/operations/admin"""

from __future__ import annotations

from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

MOST = 64 << 20
"""Bytes of an answer; those of an Envoy for a large mesh are a few million."""


class AdminClient:
    """`path` is the socket as this process sees it: for a proxy in a container, below /proc/<pid>/root.

    Methods raise ConnectionError when no Envoy serves there, and OSError with Envoy's own text when it refuses. Who may
    do anything in the container may serve there in Envoy's place.
    """

    def __init__(self, path: str, *, timeout: float = 5.0) -> None:
        self._path = path
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AdminClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ready(self) -> bool:
        """Whether Envoy has its configuration and serves."""
        try:
            return (await self._request("/ready")).strip() == b"LIVE"
        except OSError:
            return False

    async def clusters(self) -> Any:
        return orjson.loads(await self._request("/clusters", {"format": "json"}))

    async def stats(self, name_regex: str = "") -> dict[str, int]:
        """Counters and gauges by name."""
        query = {"format": "json", "type": "All", **({"filter": name_regex} if name_regex else {})}
        answer = await self._request("/stats", query)
        try:
            found = orjson.loads(answer)["stats"]
            return {stat["name"]: stat["value"] for stat in found if isinstance(stat.get("value"), int)}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConnectionError(f"what answers on {self._path} is no Envoy") from None

    async def _request(self, path: str, query: dict[str, str] | None = None) -> bytes:
        if self._session is None:
            connector = aiohttp.UnixConnector(path=self._path)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        try:
            # Envoy takes a plus sign in a query for itself, not for a space
            url = URL(f"http://envoy{path}?{urlencode(query or {}, quote_via=quote)}", encoded=True)
            async with self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MOST:
                        raise ConnectionError(f"what answers on {self._path} does not come to an end")
        except TimeoutError:
            raise ConnectionError(f"Envoy does not answer on {self._path}") from None
        except aiohttp.ClientError as error:
            raise ConnectionError(f"no Envoy answers on {self._path}: {error}") from None
        if response.status != 200:
            raise OSError(f"Envoy refused {path}: {body.decode(errors='replace').strip()}")
        return bytes(body)
