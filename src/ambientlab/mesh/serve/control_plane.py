"""istiod's role: what the API holds, in every proxy that it concerns, milliseconds later.

    API objects ─▶ MeshIndex ─▶ resources of each proxy ─▶ its session ─▶ Envoy
                       └──────▶ statuses, a moment later ─▶ API objects

Events only fill the index. One pass at the end of the event loop's tick brings everything behind it up to date, so a
change alone is pushed at once; in a burst, passes are `DEBOUNCE` seconds apart, or as long as one takes. Each stage
hands on only what came out different.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from google.protobuf.message import Message

from ambientlab.api import durations
from ambientlab.api.client import Client, Event, Handler, Unsubscribe
from ambientlab.api.kinds import CONFIGMAP, GATEWAY, POD, SECRET
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Change
from ambientlab.mesh.configdump import Certificates
from ambientlab.mesh.index import RESOURCES, CredentialError, MeshIndex
from ambientlab.mesh.index.authentication import KeySet, KeySource
from ambientlab.mesh.index.findings import of_diagnostics
from ambientlab.mesh.ir import Credential, Key, TrustDomains
from ambientlab.mesh.serve import certificates
from ambientlab.mesh.serve.ca import LIFETIME, CertificateAuthority, Clock, utc_now
from ambientlab.mesh.serve.captures import Captures
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.departures import Departures
from ambientlab.mesh.serve.findings import announce
from ambientlab.mesh.serve.identity import Identity, TokenVerifier
from ambientlab.mesh.serve.keys import KeyFetcher
from ambientlab.mesh.serve.proxies import environment_of, gateway_of, is_node_proxy
from ambientlab.mesh.serve.refusals import Refusals
from ambientlab.mesh.serve.rejections import Rejections
from ambientlab.mesh.serve.renewal import Renewal
from ambientlab.mesh.serve.secrets import Secrets
from ambientlab.mesh.serve.server import AdsServer
from ambientlab.mesh.serve.statuses import StatusWriter
from ambientlab.mesh.session import Acked, Config, Rejected
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION, LISTENER, NODE_PROXY, ROUTES, Owned
from ambientlab.mesh.xds.waypoint_clusters import served_by

log = logging.getLogger("ambientlab.istiod")

DEBOUNCE = 0.002
"""Seconds in which a burst becomes one push. The write of a status follows each change of a route and has a pass too:
what the user does next must not wait long for that one."""
PRECEDENCE = 1.0
"""Seconds that node proxies wait for a waypoint that does not answer."""
_A_LOT = 1e9
"""Seconds that are more than any certificate may live, and few enough to calculate with."""
ACKNOWLEDGE_TIMEOUT = 5.0
"""Seconds a proxy may take to open or close a pod's listeners: it takes milliseconds when it lives."""


class ControlPlane:
    """The whole of istiod. `start` needs a running event loop.

    `socket` is where proxies reach it, below a directory that only the user of this process can enter. `ipv6` is
    whether the node has that.
    """

    def __init__(
        self,
        client: Client,
        ca: CertificateAuthority,
        verify: TokenVerifier,
        socket: Path,
        *,
        clock: Clock = utc_now,
        patience: float = ACKNOWLEDGE_TIMEOUT,
        ipv6: bool = True,
    ) -> None:
        self._client = client
        self._patience = patience
        self._clock = clock
        self.index = MeshIndex(failed=_tell, ipv6=ipv6)
        self._ca = ca
        self.secrets = Secrets(
            ca,
            self._entitled,
            self._credential,
            issued=lambda: self.renewal.arm(),
            lifetime=self._lifetime,
            trust=lambda: self.index.mesh.trust,
            clock=clock,
        )
        self._trust = TrustDomains()
        self._server = AdsServer(socket, verify, self._admit, self._disconnected)
        self._writer = StatusWriter(client)
        self._keys = KeyFetcher(self._keys_fetched, self._address_of)
        self._proxies = Proxies(self.index.graph, self.index.mesh, ipv6=ipv6)
        self._proxies.resources.watch(self._changed)
        self._configs: dict[Owned, Config] = {}
        """What proxies have been told, ready for others and for those that come back."""
        self._told: dict[Connection, Key] = {}
        self.captures = Captures(self._proxies.ztunnel.captured, self.secrets, self.index.settle, patience)
        self.renewal = Renewal(self.secrets, self._refresh_secrets, clock)
        self._departures = Departures(self.index.mesh, self._proxies.waypoints, self._node_proxies_know, self._schedule)
        self._refusals = Refusals(self.index.graph, self.index.mesh, self._proxies.waypoints)
        self._rejections = Rejections(self.index)
        said = of_diagnostics(self._refusals.findings), of_diagnostics(self._rejections.findings)
        self._statuses = Statuses(self.index, *said)
        self._statuses.findings.watch(announce)
        self._unsubscribe: list[Unsubscribe] = []
        self._waiting: tuple[asyncio.TimerHandle, float] | None = None
        self._scheduled: asyncio.TimerHandle | asyncio.Handle | None = None
        self._reporting: asyncio.Handle | None = None
        self._next_pass = 0.0
        self._credentials_changed = False

    @property
    def connections(self) -> list[Connection]:
        """The proxies being served, in order of arrival."""
        return self._server.connections

    def certificates(self) -> list[Certificates]:
        """Those that the node proxy holds; see `certificates`."""
        node_proxy = self.captures.node_proxy
        if node_proxy is None:
            return []
        identities = (pod.identity for pod in self.captures.pods.values())
        return certificates.held(node_proxy, self.secrets, identities, self._ca.root_pem)

    async def start(self) -> None:
        """Raises OSError if the socket cannot be listened on."""
        for resource in RESOURCES:
            self._unsubscribe.append(self._client.watch(resource, self._handler(resource)))
        self._unsubscribe.append(self._ca.watch(self._authority_changed))
        self._pass()
        self._writer.start()
        await self._server.start()
        self.renewal.arm()
        log.info("istiod serves delta ADS")

    async def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        waiting = self._waiting[0] if self._waiting is not None else None
        for handle in (self._scheduled, waiting, self._reporting):
            if handle is not None:
                handle.cancel()
        self._scheduled = self._waiting = self._reporting = None
        self.renewal.stop()
        self._departures.stop()
        await self._keys.stop()
        await self._server.stop()
        await self._writer.stop()

    async def in_step(self) -> None:
        """Wait until the node proxies do what the API says by now. One that does not answer is not waited for."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._pass()
        self._pass_on(0)
        for connection in self.captures.node_proxies:
            with suppress(ConnectionError, TimeoutError):
                await connection.synced(self._patience)

    def _handler(self, resource: Resource) -> Handler:
        def changed(event: Event) -> None:
            self.index.apply(resource, event)
            self._credentials_changed |= resource in (SECRET, CONFIGMAP)
            self._schedule()

        return changed

    def _schedule(self) -> None:
        if self._scheduled is None:
            loop = asyncio.get_running_loop()
            wait = self._next_pass - loop.time()
            self._scheduled = loop.call_later(wait, self._pass) if wait > 0 else loop.call_soon(self._pass)

    def _keys_fetched(self, source: KeySource, keys: KeySet) -> None:
        self.index.security.key_sets.set(source, keys)
        self._schedule()

    def _address_of(self, name: str) -> str | None:
        """Of a service, by its full name or as far as names are completed in a cluster."""
        for host in (name, f"{name}.svc.{self.index.domain}", f"{name}.{self.index.domain}"):
            service = self.index.mesh.services.get(host)
            if service is not None and service.vips:
                return service.vips[0]
        return None

    def _pass(self) -> None:
        self._scheduled = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.index.settle()
        self.index.settle()  # with those services that turned out to be leaving a waypoint
        self._keys.want(self.index.security.key_sources())
        self._rename()
        for connection, gateway in self._told.items():
            # an instance of a Gateway that is gone ends soon: it answers those that are on their way as it always has
            if gateway in self.index.sources[GATEWAY]:
                connection.push()
        if self._credentials_changed:
            self._refresh_secrets()
        self._credentials_changed = False
        self._pass_on(loop.time() + PRECEDENCE)
        self._report_soon()
        # one more filter chain among a thousand takes long: in a burst of these, half of the time is for others
        self._next_pass = loop.time() + max(DEBOUNCE, loop.time() - began)

    def _rename(self) -> None:
        if self._trust == self.index.mesh.trust:
            return
        self._trust = self.index.mesh.trust
        log.info("trust domain %s, aliases: %s", self._trust.own, ", ".join(self._trust.aliases) or "none")
        self.captures.rename(self._trust)
        self.index.settle()
        self._credentials_changed = True

    def _pass_on(self, until: float) -> None:
        """Node proxies come after waypoints, so that nobody is sent to one that does not know yet what for."""
        if self._waiting is not None:
            handle, earlier = self._waiting
            handle.cancel()
            until = min(until, earlier)  # however many passes come meanwhile
            self._waiting = None
        loop = asyncio.get_running_loop()
        waypoints = (connection for connection, owner in self._told.items() if owner != NODE_PROXY)
        if loop.time() < until and not all(waypoint.session.synced for waypoint in waypoints):
            self._waiting = loop.call_later(DEBOUNCE, self._pass_on, until), until
            return
        for connection in self.captures.node_proxies:
            connection.push()
        self._departures.count_down()

    def _node_proxies_know(self) -> bool:
        known = all(connection.session.synced for connection in self.captures.node_proxies)
        return known and self._waiting is None and self._scheduled is None

    def _report_soon(self) -> None:
        """Behind what the proxies' streams send: traffic waits for that, and a person reads this."""
        if self._reporting is None:
            self._reporting = asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._reporting = None
        told = [(owner, each) for each, owner in self._told.items()]
        self._rejections.heard((owner, rejected) for owner, each in told for rejected in each.session.rejections)
        self.index.settle()
        self._writer.update(self._statuses.news(self._clock()))

    def _changed(self, owned: Owned, change: Change[Message]) -> None:
        proxy, type_url, name = owned
        self._configs.pop(owned, None)
        for connection, owner in self._told.items():
            if owner == proxy:
                connection.stage(type_url, name, None if change.new is None else self._config(owned, change.new))

    def _config(self, owned: Owned, message: Message) -> Config:
        config = self._configs.get(owned)
        if config is None:
            config = self._configs[owned] = Config.of(message)
        return config

    def _judged(self, connection: Connection, event: Acked | Rejected) -> None:
        """Learn what a proxy refuses. What it says of a version that has been overtaken teaches nothing."""
        gateway, session = self._told.get(connection), connection.session
        if event.type_url in (CLUSTER, EXTENSION) or isinstance(event, Rejected):
            self._report_soon()
        if event.type_url == LISTENER and isinstance(event, Rejected):
            self.captures.tell_refused()
        if gateway is None or event.type_url != ROUTES:
            return
        more = False
        for name in event.versions if isinstance(event, Acked) else (event.name,):
            if (place := served_by(name)) is None:
                continue
            if (rejection := session.rejection(ROUTES, name)) is not None:
                more |= self._refusals.judged(gateway, *place, rejection.detail)
            elif session.in_force(ROUTES, name):
                more |= self._refusals.judged(gateway, *place, None)
        if more:
            self._schedule()

    def _admit(self, proxy: Identity) -> Connection | None:
        connection = Connection(proxy, self.secrets, self._judged)
        owner = NODE_PROXY if is_node_proxy(proxy) else gateway_of(self._client, proxy)
        if owner is None:
            return None
        if owner != NODE_PROXY:
            self._proxies.waypoints.served.set(owner, owner)
            self.index.settle()
        for type_url, messages in self._proxies.told(owner).items():
            for name, message in messages.items():
                connection.stage(type_url, name, self._config((owner, type_url, name), message))
        connection.push()
        self._told[connection] = owner
        if owner == NODE_PROXY:
            self.captures.come(connection)
        return connection

    def _disconnected(self, connection: Connection) -> None:
        owner = self._told.pop(connection, None)
        if owner == NODE_PROXY:
            self.captures.gone(connection)
        elif owner is not None and owner not in self._told.values():
            self._proxies.waypoints.served.delete(owner)

    def _entitled(self, proxy: Identity, spiffe_id: str) -> bool:
        return is_node_proxy(proxy) and self.captures.entitled(spiffe_id)

    def _credential(self, proxy: Identity, name: str) -> Credential | None:
        """A waypoint may have what its own clusters name and no more, so that one Secret given to it is not all of its
        namespace. Istio asks besides that its service account may list Secrets; there is no RBAC here."""
        gateway = next((owner for connection, owner in self._told.items() if connection.proxy == proxy), None)
        if gateway is None or not self._proxies.waypoints.backends.needs(gateway, name):
            return None
        try:
            return self.index.credential(proxy.namespace, name)
        except CredentialError as error:
            log.warning("failed to fetch key and certificate for %s: %s", name, error)
            return None

    def _lifetime(self, proxy: Identity) -> timedelta:
        """What a proxy asks for, as Istio's agents and ztunnel do: SECRET_TTL of its container."""
        pod = self._client.get(POD, proxy.pod, proxy.namespace)
        wanted = durations.seconds(environment_of(pod).get("SECRET_TTL", "")) if pod is not None else None
        return timedelta(seconds=min(float(wanted), _A_LOT)) if wanted is not None and wanted > 0 else LIFETIME

    def _authority_changed(self) -> None:
        if self.secrets.follow_roots():
            self.renewal.renew()

    def _refresh_secrets(self) -> None:
        for connection in self.connections:
            connection.refresh_secrets()


def _tell(collection: str, key: Hashable, error: Exception) -> None:
    """What is at fault is this program, and what it did not foresee must not keep everything else back."""
    log.error("%s of %s stay as they were", collection, key, exc_info=error)
