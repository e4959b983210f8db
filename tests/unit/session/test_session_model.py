"""Whatever happens in whatever order, a proxy that answers ends with what it should run and is asked no nonsense."""

from __future__ import annotations

from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ambientlab.mesh.session import Config, Session
from ambientlab.mesh.xds.types import CLUSTER, LISTENER, ROUTES

NAMES = ("a", "b", "c", "d", "e", "f")
KINDS = (Cluster.STATIC, Cluster.EDS)
BAD = 3
"""Resources of this revision are refused, and the response that has one with all others."""


def resource(type_url: str, name: str, revision: int) -> Config:
    if type_url == CLUSTER:
        return Config.of(Cluster(name=name, alt_stat_name=str(revision), type=KINDS[revision % 2]))
    if type_url == LISTENER:
        return Config.of(Listener(name=name, stat_prefix=str(revision)))
    return Config.of(RouteConfiguration(name=name, internal_only_headers=[str(revision)]))


BAD_VERSIONS = {resource(t, n, BAD).version for t in (CLUSTER, LISTENER, ROUTES) for n in NAMES}


@dataclass
class Proxy:
    """What Envoy does with responses, one type at a time and each in order. With what it can read of a refused one it
    may go on (`eager`)."""

    eager: bool = False
    running: dict[str, dict[str, str]] = field(default_factory=lambda: {CLUSTER: {}, LISTENER: {}, ROUTES: {}})
    asked: set[str] = field(default_factory=lambda: set(NAMES))
    """Route tables it has a use for."""
    listens: bool = False
    """It has started and asked for listeners."""
    kinds: dict[str, Cluster.DiscoveryType.ValueType] = field(default_factory=dict)
    inbox: list[DeltaDiscoveryResponse] = field(default_factory=list)

    def answer(self) -> DeltaDiscoveryRequest:
        response = self.inbox.pop(0)
        running = self.running[response.type_url]
        reply = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        good = [r for r in response.resources if r.version not in BAD_VERSIONS]
        if len(good) < len(response.resources):
            reply.error_detail.message = "bad"
            if not self.eager:
                return reply
        for r in good:
            if response.type_url == CLUSTER:
                cluster = Cluster()
                r.resource.Unpack(cluster)
                kind = self.kinds[r.name] if r.name in running else cluster.type
                assert self.listens or kind == cluster.type, "it waits for ever"
                self.kinds[r.name] = cluster.type
            if response.type_url != ROUTES or r.name in self.asked:
                running[r.name] = r.version
        for name in response.removed_resources:
            running.pop(name, None)
        return reply


Step = tuple[str, str, str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "drop", "answer", "answer", "again", "give up"]),
        st.sampled_from([CLUSTER, LISTENER, ROUTES]),
        st.sampled_from(NAMES),
        st.integers(0, BAD),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(steps, st.booleans(), st.integers(0, 40))
@example(
    [("set", CLUSTER, "a", 0), ("set", CLUSTER, "a", BAD), ("answer", CLUSTER, "a", 0), ("set", CLUSTER, "a", 0)],
    False,
    0,
)
@example([("set", CLUSTER, "a", 0), ("answer", CLUSTER, "a", 0), ("set", CLUSTER, "a", 1)], False, 9)
@example(
    [
        ("set", LISTENER, "a", 0), ("set", LISTENER, "b", 0), ("set", LISTENER, "c", BAD), ("answer", LISTENER, "a", 0),
        ("answer", LISTENER, "a", 0), ("drop", LISTENER, "b", 0),
    ],
    True,
    0,
)  # fmt: skip
def test_a_proxy_converges_on_what_is_desired(script: list[Step], eager: bool, starts: int) -> None:
    session, proxy = Session(), Proxy(eager)
    desired: dict[str, dict[str, Config]] = {CLUSTER: {}, LISTENER: {}, ROUTES: {}}

    def ask(name: str) -> None:
        proxy.asked.add(name)
        session.receive(DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=[name]))

    def give_up(name: str) -> None:
        proxy.asked.discard(name)
        proxy.running[ROUTES].pop(name, None)
        session.receive(DeltaDiscoveryRequest(type_url=ROUTES, resource_names_unsubscribe=[name]))

    def start() -> None:
        proxy.listens = True
        session.receive(DeltaDiscoveryRequest(type_url=LISTENER))

    def pump() -> None:
        proxy.inbox += session.outgoing()

    session.receive(DeltaDiscoveryRequest(type_url=CLUSTER))
    session.receive(DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=NAMES))
    for step, (action, type_url, name, revision) in enumerate(script):
        if step == starts:
            start()
        match action:
            case "set":
                desired[type_url][name] = resource(type_url, name, revision)
                session.update(type_url, {name: desired[type_url][name]})
            case "drop":
                desired[type_url].pop(name, None)
                session.update(type_url, {}, [name])
            case "answer" if proxy.inbox:
                session.receive(proxy.answer())
            case "again" if type_url == ROUTES:
                ask(name)
            case "give up" if name not in desired[ROUTES]:
                give_up(name)
        pump()
    if not proxy.listens:
        start()
    for name in NAMES:
        if name not in desired[ROUTES]:
            give_up(name)
        elif name not in proxy.asked:
            ask(name)
        pump()
    rounds = 0
    while proxy.inbox:
        session.receive(proxy.answer())
        pump()
        rounds += 1
        assert rounds < 200, "the session does not come to rest"

    rejected = {(r.type_url, r.name) for r in session.rejections}
    stuck = any(type_url != CLUSTER for type_url, _ in rejected)
    for type_url, configs in desired.items():
        for name, config in configs.items():
            if config.version in BAD_VERSIONS:
                assert (type_url, name) in rejected
                assert proxy.running[type_url].get(name) not in BAD_VERSIONS
            else:
                assert (type_url, name) not in rejected
                assert proxy.running[type_url].get(name) == config.version
        extra = set(proxy.running[type_url]) - set(configs)
        assert not extra or (type_url == CLUSTER and stuck), "a removed resource still runs"
        for name in NAMES:  # an eager proxy may run what was never accepted, if it is refused or waits to be removed
            if not eager or ((type_url, name) not in rejected and name not in extra):
                assert session.held(type_url).get(name) == proxy.running[type_url].get(name)
