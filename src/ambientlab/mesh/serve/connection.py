"""One proxy's stream: a session coupled to gRPC's reads and writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Set
from contextlib import suppress

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.serve.secrets import Secrets
from ambientlab.mesh.session import Acked, Config, Event, Fault, Rejected, Session, Subscribed
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET

log = logging.getLogger("ambientlab.istiod")

SHORT = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", EXTENSION: "ECDS", ROUTES: "RDS", SECRET: "SDS"}
"""Discovery services by the names that Istio's logs and `istioctl proxy-status` use."""

Write = Callable[[DeltaDiscoveryResponse], Awaitable[None]]


class Connection:
    """`judged` is told what the proxy accepts and what it refuses."""

    def __init__(
        self,
        proxy: Identity,
        secrets: Secrets,
        judged: Callable[[Connection, Acked | Rejected], None] = lambda connection, event: None,
    ) -> None:
        self.proxy = proxy
        self._judged = judged
        self.session = Session()
        self.pushed: dict[str, float] = {}
        """When a response of each type was sent last, as `time.time()`."""
        self._secrets = secrets
        self._staged: dict[str, dict[str, Config | None]] = {}
        self._provided: set[str] = set()
        self._wake = asyncio.Event()
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    def stage(self, type_url: str, name: str, config: Config | None) -> None:
        """What a resource is to be from the next `push` on; None is to be away."""
        self._staged.setdefault(type_url, {})[name] = config

    def push(self) -> dict[str, set[str]]:
        """Have the proxy told what is staged; returns the names of that, by type."""
        staged, self._staged = self._staged, {}
        for type_url, configs in staged.items():
            changed = {name: config for name, config in configs.items() if config is not None}
            self.session.update(type_url, changed, configs.keys() - changed.keys())
            self._wake.set()
        return {type_url: set(configs) for type_url, configs in staged.items()}

    def lost(self, type_url: str, name: str, detail: str) -> None:
        """The proxy has let go of a resource by itself; what it says of that is in its log."""
        self._act(self.session.lost(type_url, name, detail))

    async def in_force(self, type_url: str, names: Iterable[str], timeout: float) -> None:
        """Wait until the proxy runs these resources as they should be now.

        Raises OSError with the proxy's own words if it refuses one, ConnectionError if it goes away, TimeoutError.
        """
        names = tuple(names)

        def done() -> bool:
            for name in names:
                if (rejection := self.session.rejection(type_url, name)) is not None:
                    raise OSError(f"{self.proxy} refuses {name}: {rejection.detail}")
            return all(self.session.in_force(type_url, name) for name in names)

        await self._until(done, timeout)

    async def synced(self, timeout: float) -> None:
        """Wait until the proxy runs everything as it should be now, but for what it refuses.

        Raises ConnectionError if it goes away, TimeoutError.
        """
        await self._until(lambda: self.session.synced, timeout)

    async def _until(self, done: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not done():
                if self._closed:
                    raise ConnectionError(f"{self.proxy} has disconnected")
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def refresh_secrets(self, names: Set[str] | None = None) -> None:
        """Look again at what the proxy may have of the secrets it subscribes to, or of those `names` alone, and send
        what became different.

        A secret it lost the right to is left to expire: taking it away would cut connections that are ending anyway.
        One that was fetched on demand goes, or the proxy would keep it for good; open connections do not need it.
        """
        asked = self.session.subscribed(SECRET)
        provided = frozenset(self._provided)
        if names is not None:
            asked, provided = asked & names, provided & names
        self._provide(asked)
        gone = {name for name in provided if name not in asked or self._secrets.withdrawn(self.proxy, name)}
        self._provided -= gone
        self.session.update(SECRET, {}, gone)
        self._wake.set()

    async def run(self, requests: AsyncIterator[DeltaDiscoveryRequest], write: Write) -> None:
        """Serve until the proxy hangs up or `close` is called."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._closed:
                    return
                for response in self.session.outgoing():
                    self.pushed[response.type_url] = time.time()
                    self._log_push(response)
                    await write(response)
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._release_waiters()

    async def _read(self, requests: AsyncIterator[DeltaDiscoveryRequest]) -> None:
        try:
            async for request in requests:
                self._act(self.session.receive(request))
        finally:
            self.close()

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            self._handle(event)
        self._wake.set()
        self._release_waiters()

    def _handle(self, event: Event) -> None:
        match event:
            case Subscribed(type_url=type_url, names=names) if type_url == SECRET:
                for name in sorted(set(names) - self._provide(names)):
                    log.warning("SDS: %s asked for %.200s, which it may not have", self.proxy, name)
            case Rejected():
                short = SHORT[event.type_url]
                log.warning(
                    "ADS:%s: ACK ERROR %s %s rejected by the proxy: %s", short, self.proxy, event.name, event.detail
                )
                self._judged(self, event)
            case Fault():
                log.warning("ADS: %s %s: %s", self.proxy, event.type_url, event.text)
            case Acked():
                log.debug("ADS:%s: ACK %s %d resources", SHORT[event.type_url], self.proxy, len(event.versions))
                self._judged(self, event)

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _provide(self, names: Iterable[str]) -> set[str]:
        """Give the session those of the secrets that the proxy may have; returns their names."""
        found = {name: config for name in names if (config := self._secrets.get(self.proxy, name)) is not None}
        self.session.update(SECRET, found)
        self._provided.update(found)
        return set(found)

    def _log_push(self, response: DeltaDiscoveryResponse) -> None:
        if not (response.resources or response.removed_resources):
            return
        log.info(
            "%s: PUSH for node:%s resources:%d removed:%d size:%s",
            SHORT[response.type_url],
            self.proxy,
            len(response.resources),
            len(response.removed_resources),
            _size(sum(len(resource.resource.value) for resource in response.resources)),
        )


def _size(octets: int) -> str:
    return f"{octets / 1024:.1f}kB" if octets >= 1024 else f"{octets}B"
