"""Keys of token issuers, fetched and kept fresh for the index, as istiod's JWKS resolver does.

https://github.com/istio/istio/blob/master/pilot/pkg/model/jwks_resolver.go
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ambientlab.cluster import HOST_IP, HOST_NAME
from ambientlab.mesh.index.authentication import KeySet, KeySource

log = logging.getLogger("ambientlab.istiod")

REFRESH = 20 * 60.0
RETRY, MAX_RETRY = 1.0, 60.0
"""Seconds until keys are fetched again: where there are some, and where there are none, at first and at most."""
MAX_SIZE = 1024 * 1024

Fetched = Callable[[KeySource, KeySet], None]
Address = Callable[[str], str | None]
"""The address of a service of the cluster by its name; None for any other name."""


class _Names(AbstractResolver):
    """Services by the index, and the machine that the mesh runs on. The node has no way to any other host."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = HOST_IP if host == HOST_NAME else self._address(host)
        if found is None:
            raise OSError(
                errno.EHOSTUNREACH,
                f"nothing leads to {host}: it is no service of the mesh, which has no way out of its machine "
                f"({HOST_NAME} is that machine); jwks takes the keys themselves",
            )
        return [
            ResolveResult(
                hostname=host, host=found, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


class KeyFetcher:
    """`fetched` is told of every outcome that differs from the one before. Needs a running event loop."""

    def __init__(self, fetched: Fetched, address: Address) -> None:
        self._fetched = fetched
        self._address = address
        self._tasks: dict[KeySource, asyncio.Task[None]] = {}
        self._timeouts: Mapping[KeySource, int] = {}

    def want(self, timeouts_ms: Mapping[KeySource, int]) -> None:
        """From now on, fetch from these and no others."""
        self._timeouts = timeouts_ms
        for source in [source for source in self._tasks if source not in timeouts_ms]:
            self._tasks.pop(source).cancel()
        for source in timeouts_ms:
            if source not in self._tasks:
                self._tasks[source] = asyncio.create_task(self._keep(source))

    async def stop(self) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, source: KeySource) -> None:
        """What was fetched once stays, though it cannot be fetched again."""
        known, wait = KeySet(), RETRY
        while True:
            try:
                found = KeySet(await self._fetch(source, self._timeouts[source] / 1000))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
                why = str(error) or type(error).__name__
                found = known if known.keys else KeySet(problem=why)
                log.warning("JWKS: failed to fetch %s: %s", source, why)
                delay, wait = wait, min(wait * 2, MAX_RETRY)
            else:
                delay, wait = REFRESH, RETRY
            if found != known:
                self._fetched(source, found)
                known = found
            await asyncio.sleep(delay)

    async def _fetch(self, source: KeySource, seconds: float) -> str:
        """Raises aiohttp.ClientError, OSError or TimeoutError; ValueError or RecursionError for what are no keys."""
        connector = aiohttp.TCPConnector(resolver=_Names(self._address), family=socket.AF_INET)
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            uri: object = source.uri
            if not uri:
                place = f"{source.issuer.rstrip('/')}/.well-known/openid-configuration"
                document = json.loads(await _get(session, place))
                uri = document.get("jwks_uri") if isinstance(document, dict) else None
            if not isinstance(uri, str):
                raise ValueError("the discovery document has no jwks_uri")
            text = await _get(session, uri)
        if not isinstance(json.loads(text), dict):
            raise ValueError("the answer is not a JSON object")
        return text


async def _get(session: aiohttp.ClientSession, uri: str) -> str:
    async with session.get(uri) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_SIZE:
                raise ValueError(f"the answer is larger than {MAX_SIZE} bytes")
        return body.decode()
