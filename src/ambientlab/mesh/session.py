"""The server's half of delta xDS on one aggregated stream, without I/O.

Theory of operation
===================

A session holds what one proxy should run (`update`) and what it does run (what it acknowledged), per resource type,
and at any moment answers one question: which responses may be sent now (`outgoing`). Requests of the proxy (`receive`)
change what it is subscribed to and what it runs. https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol

                          update(), subscribe                        outgoing()
        desired, wanted ─────────────────────▶ dirty name ────────────────────────────▶ in flight (one push a type)
                                                  ▲   ▲                                   │          │
                                                  │   └── half of a refused push ◀── NACK ┤          │ ACK
                                                  │                                       │          ▼
                                                  └─ a newer version ── rejected ◀── NACK of one    held

One push of a type is in flight at a time. So changes made meanwhile coalesce, an answer is never about a version that
has been overtaken, and a slow proxy is never flooded.

A name becomes dirty when its desired version changes or when the proxy asks for it; sending decides what becomes of it:

    desired          proxy                        sent
    version v        holds v                      nothing, unless the proxy has just asked for it
    version v        refused v                    nothing, until v changes
    version v        holds another or none        the resource; its removal first, if it is to be `_replaced`
    absent           has just asked for it        its removal ("does not exist": nobody needs to wait for it)
    absent           holds it                     its removal; nothing, if it is of a type in LEFT
    not wanted       -                            nothing

Envoy refuses a response whole, the good resources of it with the bad one, and does not say which are at fault. A
refused push is therefore sent again in halves until those stand alone: k bad ones among n cost about k*log2(n) round
trips, and every other resource gets through. What the proxy said about them is kept in `rejections` until it runs what
it should. Until a resource is accepted or refused alone, what the proxy runs of it is not known (`unsure`): it may have
gone on with all that it could read (source/common/listener_manager/lds_api.cc, source/common/upstream/
cds_api_helper.cc). So it is sent, or removed, whatever was held: a listener that nobody removes waits for its routes
for ever, and with it a proxy that starts.

Order makes changes without a gap (make before break). A type is sent only when the types it refers to are settled
(`AFTER`). It relies on Envoy acknowledging clusters when they are warm. A changed cluster warms only when it is sent
endpoints again, be they the same. What goes may still serve requests of open connections, for as long as Envoy drains
their filter chains: what chains refer to (`LEFT`) is the proxy's to give up, which it does with the last of them, and
clusters stay as long (`REMOVED_AFTER`, `_going`).

A proxy that starts waits for its clusters before it asks for listeners. Envoy keeps those that wait for endpoints from
the management server apart from all others, and when one becomes the other kind meanwhile, its old entry stays, and
Envoy waits for ever (source/common/upstream/cluster_manager_impl.cc, ClusterManagerInitHelper::removeCluster). So such
a cluster is removed first and sent then (`_replaced`); nothing refers to it yet.

The peer cannot break the server: what makes no sense comes back as a `Fault` to be logged and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from hashlib import blake2b

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET

ORDER = (SECRET, CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES)

AFTER: Mapping[str, tuple[str, ...]] = {LISTENER: (CLUSTER,), EXTENSION: (CLUSTER,), ROUTES: (CLUSTER, LISTENER)}
"""Type -> types of which no addition or change may be waiting or in flight when it is sent."""

REMOVED_AFTER: Mapping[str, tuple[str, ...]] = {CLUSTER: (LISTENER, EXTENSION, ROUTES)}
"""Type -> types that must be settled, and free of rejections, when resources of it are removed. Of those in LEFT, what
was to go at the same time must be gone."""

LEFT = (ENDPOINTS, EXTENSION, ROUTES)
"""Types of which Envoy unsubscribes by itself. It would ignore a removal (endpoints, routes) or answer requests with an
error (extensions: source/common/filter/config_discovery_impl.h, getMissingConfigFilter)."""

LEGACY_WILDCARDS = (CLUSTER, LISTENER)
"""Types of which a first subscription to nothing means all of them."""


@dataclass(frozen=True, slots=True)
class Config:
    """A resource ready to be sent. `version` is a hash of its content, so it survives restarts of either side.

    `endpoints` names the load assignment a cluster waits for while it warms.
    """

    version: str
    body: Any
    endpoints: str = ""

    @classmethod
    def of(cls, message: Message) -> Config:
        body = Any()
        body.Pack(message, deterministic=True)
        endpoints = ""
        if isinstance(message, Cluster) and message.type == Cluster.EDS:
            endpoints = message.eds_cluster_config.service_name or message.name
        return cls(blake2b(body.value, digest_size=8).hexdigest(), body, endpoints)


@dataclass(frozen=True, slots=True)
class Acked:
    """The proxy runs these versions now; None for what it let go of."""

    type_url: str
    versions: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The proxy refused this version of one resource, in its own words, and runs on with the version it had."""

    type_url: str
    name: str
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The proxy asks for these names. Those not among the desired resources by the next `outgoing` do not exist."""

    type_url: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """The proxy did what the protocol does not provide for; the request was ignored, wholly or in the part named."""

    type_url: str
    text: str


Event = Acked | Rejected | Subscribed | Fault


@dataclass(frozen=True, slots=True)
class _Push:
    """What one response carried: name -> version, None for a removal."""

    versions: Mapping[str, str | None]
    nonce: str = ""
    lost: dict[str, str] = field(default_factory=dict)
    """What the proxy has let go of already, and why."""

    def halves(self) -> list[dict[str, str | None]]:
        """Removals apart from resources, which are what a proxy refuses, then down the middle."""
        items = sorted(self.versions.items(), key=lambda item: item[1] is not None)
        removals = sum(version is None for _, version in items)
        middle = removals if 0 < removals < len(items) else len(items) // 2
        return [dict(items[:middle]), dict(items[middle:])]


@dataclass(slots=True)
class _Channel:
    """One type on one stream. `left`: the proxy gives up resources by itself."""

    left: bool = False
    desired: dict[str, Config] = field(default_factory=dict)
    opened: bool = False
    wildcard: bool = False
    greet: bool = False
    """The first response to a wildcard is due even when it is empty: a starting proxy waits for it."""
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """What has been in a refused push, and was not answered alone or accepted since."""
    rejected: dict[str, Rejected] = field(default_factory=dict)
    dirty: dict[str, bool] = field(default_factory=dict)
    """Name -> whether an answer is owed although nothing may have changed."""
    retries: deque[dict[str, str | None]] = field(default_factory=deque)
    in_flight: _Push | None = None
    sent: str = ""
    acked: str = ""
    """The nonces of the last response, and of the last that was accepted."""

    def runs(self, name: str) -> bool:
        """Whether the proxy runs it, or may do so."""
        return name in self.held or name in self.unsure

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def mark(self, name: str, *, owed: bool = False) -> None:
        self.dirty[name] = owed or self.dirty.get(name, False)

    def decide(self, name: str, owed: bool) -> str | bool | None:
        """The table above: a version to send, None for a removal, False for nothing."""
        config = self.desired.get(name)
        if not self.wants(name):
            return False
        if config is None:
            return None if owed or (self.runs(name) and not self.left) else False
        refused = self.rejected.get(name)
        if refused is not None and refused.version == config.version:
            return False
        known = self.held.get(name) == config.version and name not in self.unsure
        return False if known and not owed else config.version

    def refuse(self, rejection: Rejected) -> Rejected:
        config = self.desired.get(rejection.name)
        if config is not None and self.held.get(rejection.name) != config.version:
            self.rejected[rejection.name] = rejection
        self.mark(rejection.name)
        return rejection

    def changing(self) -> bool:
        """Whether an addition or a change is waiting or under way."""
        if any(version is not None for version in (self.in_flight.versions if self.in_flight else {}).values()):
            return True
        return bool(self.retries) or any(isinstance(self.decide(n, owed), str) for n, owed in self.dirty.items())

    def due(self, waiting: Collection[str]) -> bool:
        """Whether anything is to be sent, besides the removals that are `waiting`."""
        decided = ((name, self.decide(name, owed)) for name, owed in self.dirty.items())
        return any(version or (version is None and name not in waiting) for name, version in decided)

    def leaving(self) -> list[str]:
        """What the proxy holds and is to give up by itself."""
        return [name for name in self.held if name not in self.desired] if self.left else []

    def settled(self) -> bool:
        return not (self.in_flight or self.changing() or self.rejected)


class Session:
    """One proxy's stream. Feed it with `update` and `receive`, then send what `outgoing` returns."""

    def __init__(self) -> None:
        self._channels = {type_url: _Channel(left=type_url in LEFT) for type_url in ORDER}
        self._going: dict[str, frozenset[tuple[str, str]]] = {}
        """Cluster to be removed -> what may refer to it and is still to be given up."""
        self._waits: dict[str, bool] = {}
        """Cluster of a proxy that starts -> whether it waits for endpoints, as it was sent last."""
        self._nonces = 0

    def update(self, type_url: str, changed: Mapping[str, Config], removed: Iterable[str] = ()) -> None:
        """What the proxy should run from now on. Naming what did not change costs little and sends nothing."""
        channel = self._channels[type_url]
        for name, config in changed.items():
            channel.desired[name] = config
            if channel.held.get(name) == config.version:
                channel.rejected.pop(name, None)
            channel.mark(name)
        for name in removed:
            if channel.desired.pop(name, None) is not None:
                channel.rejected.pop(name, None)
                channel.mark(name)

    def receive(self, request: DeltaDiscoveryRequest) -> list[Event]:
        """Take in one request; the events are for the caller to act upon before it calls `outgoing`."""
        type_url = request.type_url
        channel = self._channels.get(type_url)
        if channel is None:
            return [Fault(type_url, "no resources of this type are served")]
        events: list[Event] = []
        if request.response_nonce:
            events += self._answered(channel, request)
        events += self._subscriptions(channel, request)
        return events

    def lost(self, type_url: str, name: str, detail: str) -> list[Event]:
        """The proxy says elsewhere that it has let go of what it accepted, or is about to: that is a refusal, too."""
        channel = self._channels[type_url]
        push = channel.in_flight
        if push is not None and push.versions.get(name) is not None:
            push.lost[name] = detail
            return []
        version = channel.held.pop(name, None)
        return [] if version is None else [channel.refuse(Rejected(type_url, name, version, detail))]

    def outgoing(self) -> list[DeltaDiscoveryResponse]:
        """The responses that may be sent now, in the order to send them."""
        responses = []
        for type_url in ORDER:
            channel = self._channels[type_url]
            before = AFTER.get(type_url, ())
            if channel.opened and not (channel.in_flight or any(self._channels[t].changing() for t in before)):
                versions = self._next(type_url, channel)
                if versions or channel.greet:
                    responses.append(self._send(type_url, channel, versions))
        return responses

    @property
    def rejections(self) -> list[Rejected]:
        return [r for channel in self._channels.values() for r in channel.rejected.values()]

    def rejection(self, type_url: str, name: str) -> Rejected | None:
        """What the proxy said about this resource as it should be now."""
        channel = self._channels[type_url]
        rejected, config = channel.rejected.get(name), channel.desired.get(name)
        return rejected if rejected and config and rejected.version == config.version else None

    def in_force(self, type_url: str, name: str) -> bool:
        """Whether the proxy runs this resource as desired; for one that is not desired, whether it has let go of it."""
        channel = self._channels[type_url]
        config = channel.desired.get(name)
        if config is None:
            return not channel.runs(name)
        return channel.held.get(name) == config.version and name not in channel.unsure

    @property
    def synced(self) -> bool:
        """Whether the proxy runs everything it should, as far as it asks for it and did not refuse it. A cluster that
        waits to be removed is in nobody's way."""
        return not any(
            c.in_flight or c.retries or c.due(self._going if type_url == CLUSTER else ())
            for type_url, c in self._channels.items()
            if c.opened
        )

    def subscribed(self, type_url: str) -> frozenset[str]:
        """The names the proxy asked for one by one."""
        return frozenset(self._channels[type_url].names)

    def progress(self, type_url: str) -> tuple[str, str] | None:
        """The nonces of the last response sent and of the last accepted, "" if none was; None if nobody asked for the
        type."""
        channel = self._channels[type_url]
        return (channel.sent, channel.acked) if channel.opened else None

    def wanted(self, type_url: str) -> Mapping[str, Config]:
        """What the proxy should run by now of what it has asked for."""
        channel = self._channels[type_url]
        return {name: config for name, config in channel.desired.items() if channel.wants(name)}

    def held(self, type_url: str) -> Mapping[str, str]:
        """Name -> version of what the proxy runs."""
        return self._channels[type_url].held

    def _next(self, type_url: str, channel: _Channel) -> dict[str, str | None]:
        while channel.retries:
            half = channel.retries.popleft()
            current = {n: v for n, v in half.items() if channel.decide(n, True) == v}
            if current:
                return current
        versions: dict[str, str | None] = {}
        removals: dict[str, bool] = {}
        for name, owed in channel.dirty.items():
            version = channel.decide(name, owed)
            if isinstance(version, bool):
                continue
            if channel.runs(name) and (version is None or self._replaced(type_url, name)):
                removals[name] = owed
            else:
                versions[name] = version
        needed = self._needed(type_url, removals.keys())
        channel.dirty = {name: removals[name] for name in removals if name in needed or name in channel.desired}
        return versions | dict.fromkeys(name for name in removals if name not in needed)

    def _replaced(self, type_url: str, name: str) -> bool:
        """Whether this is a cluster of a proxy that starts, and is to find its endpoints in another way than it did."""
        if type_url != CLUSTER or self._channels[LISTENER].opened:
            return False
        waits = bool(self._channels[CLUSTER].desired[name].endpoints)
        return self._waits.get(name, waits) != waits

    def _needed(self, type_url: str, names: Set[str]) -> Set[str]:
        """Those of the `names` to be removed that something may refer to still."""
        after = [(t, self._channels[t]) for t in REMOVED_AFTER.get(type_url, ())]
        if not after:
            return frozenset()
        settled = all(channel.settled() for _, channel in after)
        leaving = frozenset((t, name) for t, channel in after for name in channel.leaving()) if names else frozenset()
        distinct = {id(some): some for some in (leaving, *self._going.values())}  # many wait for the same
        left = {key: some & leaving for key, some in distinct.items()}
        going = {name: left[id(self._going.get(name, leaving))] for name in names}
        self._going = {name: left for name, left in going.items() if left or not settled}
        return self._going.keys()

    def _send(self, type_url: str, channel: _Channel, versions: dict[str, str | None]) -> DeltaDiscoveryResponse:
        self._nonces += 1
        nonce = str(self._nonces)
        response = DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, system_version_info=nonce)
        for name, version in versions.items():
            if version is None:
                response.removed_resources.append(name)
                continue
            config = channel.desired[name]
            response.resources.append(Resource(name=name, version=version, resource=config.body))
            if type_url == CLUSTER and not self._channels[LISTENER].opened:
                self._waits[name] = bool(config.endpoints)
            if config.endpoints in self._channels[ENDPOINTS].names:
                self._channels[ENDPOINTS].mark(config.endpoints, owed=True)
        channel.greet = False
        channel.in_flight = _Push(versions, nonce)
        channel.sent = nonce
        return response

    def _answered(self, channel: _Channel, request: DeltaDiscoveryRequest) -> list[Event]:
        push = channel.in_flight
        if push is None or push.nonce != request.response_nonce:
            return [Fault(request.type_url, f"answer to unknown nonce {request.response_nonce!r:.40}")]
        channel.in_flight = None
        if not request.HasField("error_detail") or not push.versions:
            return self._accepted(request.type_url, channel, push)
        if len(push.versions) > 1:
            channel.retries.extend(push.halves())
            channel.unsure.update(name for name, version in push.versions.items() if version is not None)
            return []
        [(name, version)] = push.versions.items()
        if version is None:  # nothing to keep the proxy from: it has no reason to refuse, and asking again has no end
            channel.held.pop(name, None)
            channel.unsure.discard(name)
            return [Fault(request.type_url, f"refused to remove {name}: {_reason(request.error_detail.message)}")]
        return [channel.refuse(Rejected(request.type_url, name, version, _reason(request.error_detail.message)))]

    def _accepted(self, type_url: str, channel: _Channel, push: _Push) -> list[Event]:
        channel.acked = push.nonce
        for name, version in push.versions.items():
            channel.rejected.pop(name, None)
            channel.unsure.discard(name)
            if version is None:
                channel.held.pop(name, None)
            elif channel.wants(name):
                channel.held[name] = version
            channel.mark(name)
        losses = (event for name, detail in push.lost.items() for event in self.lost(type_url, name, detail))
        return [Acked(type_url, push.versions), *losses]

    def _subscriptions(self, channel: _Channel, request: DeltaDiscoveryRequest) -> list[Event]:
        first, channel.opened = not channel.opened, True
        asked = list(dict.fromkeys(request.resource_names_subscribe))
        if first:
            channel.held.update(request.initial_resource_versions)
            for name in channel.held:
                channel.mark(name)
            if not asked and request.type_url in LEGACY_WILDCARDS:
                asked = ["*"]
        if "*" in asked:
            asked.remove("*")
            channel.wildcard = channel.greet = True
            for name in (*channel.desired, *channel.held):
                channel.mark(name)
        for name in request.resource_names_unsubscribe:
            self._unsubscribe(channel, name)
        for name in asked:
            channel.names.add(name)
            known = first and name in channel.held
            channel.mark(name, owed=not known)
        return [Subscribed(request.type_url, tuple(asked))] if asked else []

    def _unsubscribe(self, channel: _Channel, name: str) -> None:
        """A proxy forgets what it unsubscribes from, and must be told again what a wildcard still gives it."""
        if name == "*":
            channel.wildcard = channel.greet = False
            channel.held = {name: version for name, version in channel.held.items() if name in channel.names}
            channel.unsure &= channel.names
        elif name in channel.names:
            channel.names.discard(name)
            channel.held.pop(name, None)
            channel.unsure.discard(name)
            channel.rejected.pop(name, None)
            channel.mark(name, owed=channel.wildcard)


def _reason(detail: str) -> str:
    """One line of why a proxy refused. Where a message breaks a rule of its definition, Envoy prints the whole message,
    hundreds of lines, before the reason (source/common/protobuf/utility.h, ProtoValidationException)."""
    return " ".join(detail.rpartition("\n: ")[2].split())
