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
from collections.abc import Callable, Hashable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from google.protobuf.message import Message

from ambientlab.api import durations
from ambientlab.api.client import Client, Event, Handler, Unsubscribe
from ambientlab.api.kinds import CONFIGMAP, GATEWAY, POD, SECRET
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Change, Source
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.configdump import Certificates
from ambientlab.mesh.index import RESOURCES, CredentialError, MeshIndex
from ambientlab.mesh.index.authentication import KeySet, KeySource
from ambientlab.mesh.index.findings import of_diagnostics
from ambientlab.mesh.ir import Credential, Key, Service, TrustDomains, Workload
from ambientlab.mesh.serve import certificates
from ambientlab.mesh.serve.ca import LIFETIME, CertificateAuthority, Clock, utc_now
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.findings import announce
from ambientlab.mesh.serve.identity import Identity, TokenVerifier
from ambientlab.mesh.serve.keys import KeyFetcher
from ambientlab.mesh.serve.proxies import environment_of, gateway_of, is_node_proxy
from ambientlab.mesh.serve.refusals import Refusals
from ambientlab.mesh.serve.rejections import Rejections
from ambientlab.mesh.serve.secrets import Secrets, names_of
from ambientlab.mesh.serve.server import AdsServer
from ambientlab.mesh.serve.statuses import StatusWriter
from ambientlab.mesh.session import Acked, Rejected
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds import inpod
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION, LISTENER, NODE_PROXY, ROUTES, Owned
from ambientlab.mesh.xds.waypoint_clusters import served_by

log = logging.getLogger("ambientlab.istiod")

K = TypeVar("K", bound=Hashable)

NO_NODE_PROXY = "no ztunnel is connected; see the ztunnel pod in namespace istio-system"

DEBOUNCE = 0.002
"""Seconds in which a burst becomes one push. The write of a status follows each change of a route and has a pass too:
what the user does next must not wait long for that one."""
PRECEDENCE = 1.0
"""Seconds that node proxies wait for a waypoint that does not answer."""
DEPARTURE = 5.0
"""Seconds that a waypoint goes on for a service that has moved away, once the node proxies know: for connections on the
way to it, and requests that it delays. As long as one that ends has for them."""
LOOK_AGAIN = 60.0
"""Seconds between looks at what is to be renewed: timers stand still while a machine sleeps, certificates age."""
_A_LOT = 1e9
"""Seconds that are more than any certificate may live, and few enough to calculate with."""
ACKNOWLEDGE_TIMEOUT = 5.0
"""Seconds a proxy may take to open or close a pod's listeners: it takes milliseconds when it lives."""


class ControlPlane:
    """The whole of istiod, and the node agent's `CaptureSink`. `start` needs a running event loop.

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
        self._node_proxy_present = asyncio.Event()
        self._clock = clock
        self.index = MeshIndex(failed=_tell, ipv6=ipv6)
        self._ca = ca
        self.secrets = Secrets(
            ca,
            self._entitled,
            self._credential,
            issued=self._arm_renewal,
            lifetime=self._lifetime,
            trust=lambda: self.index.mesh.trust,
            clock=clock,
        )
        self._trust = TrustDomains()
        self._server = AdsServer(socket, verify, self._admit, self._disconnected)
        self._writer = StatusWriter(client)
        self._keys = KeyFetcher(self._keys_fetched, self._address_of)
        self._captured: dict[str, Captured] = {}
        self._followers: list[tuple[Callable[[int], None], Callable[[str], None]]] = []
        self._proxies = Proxies(self.index.graph, self.index.mesh, ipv6=ipv6)
        self._proxies.resources.watch(self._changed)
        self.index.mesh.services.watch(self._service_changed)
        self.index.mesh.workloads.watch(self._workload_changed)
        self._carried = self._proxies.ztunnel.captured.index(lambda _, pod: (pod.identity,))
        self._told: dict[Connection, Key] = {}
        self._refusals = Refusals(self.index.graph, self.index.mesh, self._proxies.waypoints)
        self._rejections = Rejections(self.index)
        said = of_diagnostics(self._refusals.findings), of_diagnostics(self._rejections.findings)
        self._statuses = Statuses(self.index, *said)
        self._statuses.findings.watch(announce)
        self._unsubscribe: list[Unsubscribe] = []
        self._waiting: tuple[asyncio.TimerHandle, float] | None = None
        self._scheduled: asyncio.TimerHandle | asyncio.Handle | None = None
        self._reporting: asyncio.Handle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._departure: asyncio.TimerHandle | None = None
        self._next_pass = 0.0
        self._credentials_changed = False

    @property
    def captured(self) -> Mapping[str, Captured]:
        """The pods the node proxy carries, by uid."""
        return MappingProxyType(self._captured)

    @property
    def connections(self) -> list[Connection]:
        """The proxies being served, in order of arrival."""
        return self._server.connections

    def certificates(self) -> list[Certificates]:
        """Those that the node proxy holds; see `certificates`."""
        node_proxy = self._node_proxy()
        if node_proxy is None:
            return []
        identities = (pod.identity for pod in self._captured.values())
        return certificates.held(node_proxy, self.secrets, identities, self._ca.root_pem)

    async def start(self) -> None:
        """Raises OSError if the socket cannot be listened on."""
        for resource in RESOURCES:
            self._unsubscribe.append(self._client.watch(resource, self._handler(resource)))
        self._unsubscribe.append(self._ca.watch(self._authority_changed))
        self._pass()
        self._writer.start()
        await self._server.start()
        self._arm_renewal()
        log.info("istiod serves delta ADS")

    async def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        waiting = self._waiting[0] if self._waiting is not None else None
        for handle in (self._scheduled, waiting, self._reporting, self._renewal, self._departure):
            if handle is not None:
                handle.cancel()
        self._scheduled = self._waiting = self._reporting = self._renewal = self._departure = None
        await self._keys.stop()
        await self._server.stop()
        await self._writer.stop()

    def follow(self, told: Callable[[int], None], refused: Callable[[str], None]) -> None:
        """`CaptureSink.follow`."""
        self._followers.append((told, refused))

    async def present(self) -> None:
        """`CaptureSink.present`."""
        try:
            await asyncio.wait_for(self._node_proxy_present.wait(), self._patience)
        except TimeoutError:
            raise ConnectionError(NO_NODE_PROXY) from None

    async def add(self, pod: Captured) -> None:
        """`CaptureSink.add`. Raises OSError with the proxy's own words if it refuses the pod's listeners."""
        self._carry(pod)
        node_proxy = await self._capture_changed(pod)
        await node_proxy.in_force(ROUTES, [inpod.route_name(pod)], self._patience)  # no listener accepts before

    async def remove(self, uid: str) -> None:
        """`CaptureSink.remove`. A proxy that is gone has let go."""
        pod = self._captured.pop(uid, None)
        if pod is None:
            return
        key, carried = Key(pod.namespace, pod.name), self._proxies.ztunnel.captured
        alone = carried.get(key) == pod  # and not another one of its name
        if alone:
            carried.delete(key)
        if not self._carried.select(pod.identity):
            self.secrets.forget(pod.identity)
        if not alone:
            return
        try:
            await self._capture_changed(pod)
        except ConnectionError:
            log.debug("no ztunnel to take pod %s/%s from", pod.namespace, pod.name)

    async def in_step(self) -> None:
        """Wait until the node proxies do what the API says by now. One that does not answer is not waited for."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._pass()
        self._pass_on(0)
        for connection in self.connections:
            if is_node_proxy(connection.proxy):
                with suppress(ConnectionError, TimeoutError):
                    await connection.synced(self._patience)

    async def _capture_changed(self, pod: Captured) -> Connection:
        """Returns the newest node proxy when it has opened or closed the listeners of `pod`."""
        node_proxy = self._node_proxy()
        if node_proxy is None:
            raise ConnectionError(NO_NODE_PROXY)
        self.index.settle()
        node_proxy.push()
        node_proxy.refresh_secrets(names_of(self._trust.renamed(pod.identity)))
        await node_proxy.in_force(LISTENER, inpod.listener_names(pod), self._patience)
        return node_proxy

    def _node_proxy(self) -> Connection | None:
        """The last to come, while one goes and another takes its place."""
        return next((c for c in reversed(self.connections) if is_node_proxy(c.proxy)), None)

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
            for connection in self.connections:
                connection.refresh_secrets()
        self._credentials_changed = False
        self._pass_on(loop.time() + PRECEDENCE)
        self._report_soon()
        # one more filter chain among a thousand takes long: in a burst of these, half of the time is for others
        self._next_pass = loop.time() + max(DEBOUNCE, loop.time() - began)

    def _rename(self) -> None:
        """Give everybody an identity in the trust domain that the mesh has now."""
        if self._trust == self.index.mesh.trust:
            return
        self._trust = self.index.mesh.trust
        log.info("trust domain %s, aliases: %s", self._trust.own, ", ".join(self._trust.aliases) or "none")
        for pod in self._captured.values():
            self._carry(pod)
        self.index.settle()
        self._credentials_changed = True

    def _carry(self, pod: Captured) -> None:
        renamed = replace(pod, identity=self._trust.renamed(pod.identity))
        self._captured[pod.uid] = renamed
        self._proxies.ztunnel.captured.set(Key(pod.namespace, pod.name), renamed)

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
        for connection, owner in self._told.items():
            if owner == NODE_PROXY:
                connection.push()
        if self._proxies.waypoints.leaving or self._proxies.waypoints.leaving_workloads:
            self._let_go_later()

    def _service_changed(self, host: str, change: Change[Service]) -> None:
        if change.old is not None and change.new is not None:
            before, now = ({gateway for gateway, _ in each.waypoints} for each in (change.old, change.new))
            _moved(self._proxies.waypoints.leaving, host, before, now)

    def _workload_changed(self, key: Key, change: Change[Workload]) -> None:
        if change.old is not None and change.new is not None:
            before, now = ({gateway for gateway in (each.waypoint,) if gateway} for each in (change.old, change.new))
            _moved(self._proxies.waypoints.leaving_workloads, key, before, now)

    def _let_go_later(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
        self._departure = asyncio.get_running_loop().call_later(DEPARTURE, self._let_go)

    def _let_go(self) -> None:
        self._departure = None
        node_proxies = (connection for connection, owner in self._told.items() if owner == NODE_PROXY)
        if self._waiting or self._scheduled or not all(each.session.synced for each in node_proxies):
            self._let_go_later()
            return
        _forget(self._proxies.waypoints.leaving)
        _forget(self._proxies.waypoints.leaving_workloads)
        self._schedule()

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
        for connection, owner in self._told.items():
            if owner == proxy:
                connection.stage(type_url, name, change.new)

    def _judged(self, connection: Connection, event: Acked | Rejected) -> None:
        """Learn what a proxy refuses. What it says of a version that has been overtaken teaches nothing."""
        gateway, session = self._told.get(connection), connection.session
        if event.type_url in (CLUSTER, EXTENSION) or isinstance(event, Rejected):
            self._report_soon()
        if event.type_url == LISTENER and isinstance(event, Rejected):
            self._tell_refused()
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
        if owner == NODE_PROXY:
            self._node_proxy_present.set()
        else:
            self._proxies.waypoints.served.set(owner, owner)
            self.index.settle()
        for type_url, messages in self._proxies.told(owner).items():
            for name, message in messages.items():
                connection.stage(type_url, name, message)
        connection.push()
        self._told[connection] = owner
        if owner == NODE_PROXY:
            self._tell_followers()
        return connection

    def _tell_followers(self) -> None:
        number = sum(owner == NODE_PROXY for owner in self._told.values())
        for told, _ in self._followers:
            told(number)

    def _tell_refused(self) -> None:
        """In which pods there is no node proxy: not while there are two, of which the older one has the ports."""
        connections = [connection for connection, owner in self._told.items() if owner == NODE_PROXY]
        if len(connections) != 1:
            return
        [session] = (connection.session for connection in connections)
        held = session.held(LISTENER)
        refused = {one.name for one in session.rejections if one.type_url == LISTENER and one.name not in held}
        if not refused:
            return
        for uid, pod in self._captured.items():
            if not refused.isdisjoint(inpod.listener_names(pod)):
                for _, tell in self._followers:
                    tell(uid)

    def _disconnected(self, connection: Connection) -> None:
        if not any(is_node_proxy(other.proxy) for other in self.connections):
            self._node_proxy_present.clear()
        owner = self._told.pop(connection, None)
        if owner == NODE_PROXY:
            self._tell_followers()
            self._tell_refused()
        if owner is not None and owner not in self._told.values():
            self._proxies.waypoints.served.delete(owner)

    def _entitled(self, proxy: Identity, spiffe_id: str) -> bool:
        return is_node_proxy(proxy) and bool(self._carried.select(spiffe_id))

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

    def _arm_renewal(self) -> None:
        """Be called when the first certificate has lived half its life, or to look again, if earlier than planned."""
        when = self.secrets.next_renewal()
        if when is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + min(max(0.0, (when - self._clock()).total_seconds()), LOOK_AGAIN)
        if self._renewal is not None:
            if self._renewal.when() <= due:
                return
            self._renewal.cancel()
        self._renewal = loop.call_at(due, self._look_at_certificates)

    def _look_at_certificates(self) -> None:
        self._renewal = None
        when = self.secrets.next_renewal()
        if when is not None and when <= self._clock():
            self.renew_certificates()
        else:
            self._arm_renewal()

    def _lifetime(self, proxy: Identity) -> timedelta:
        """What a proxy asks for, as Istio's agents and ztunnel do: SECRET_TTL of its container."""
        pod = self._client.get(POD, proxy.pod, proxy.namespace)
        wanted = durations.seconds(environment_of(pod).get("SECRET_TTL", "")) if pod is not None else None
        return timedelta(seconds=min(float(wanted), _A_LOT)) if wanted is not None and wanted > 0 else LIFETIME

    def _authority_changed(self) -> None:
        if self.secrets.follow_roots():
            self.renew_certificates()

    def renew_certificates(self) -> None:
        """Replace, in every proxy that uses them, the certificates that have lived half of their life."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = None
        self.secrets.expire()
        for connection in self.connections:
            connection.refresh_secrets()
        self._arm_renewal()


def _moved(leaving: Source[tuple[Key, K], Key], key: K, before: Set[Key], now: Set[Key]) -> None:
    """A waypoint goes on for what has another one, or none, until nobody can be on the way to it."""
    for gateway in before - now:
        leaving.set((gateway, key), gateway)
    for gateway in now:
        leaving.delete((gateway, key))


def _forget(leaving: Source[K, Key]) -> None:
    for place in list(leaving):
        leaving.delete(place)


def _tell(collection: str, key: Hashable, error: Exception) -> None:
    """What is at fault is this program, and what it did not foresee must not keep everything else back."""
    log.error("%s of %s stay as they were", collection, key, exc_info=error)
