"""Filter chains that the listeners of all captured pods share.

A chain costs Envoy half a millisecond and 50 KB, so that what chains of different pods have in common is told once:
listeners name the chain, and Envoy asks for it (Listener.fcds_config, envoyproxy/envoy pull request 45852). What
differs is in the metadata of the pod's listener. These chains never change, because a change would end the connections
of every pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import SELF_CALL
from ambientlab.mesh.xds import access_log
from ambientlab.mesh.xds.messages import HASHABLE, NETNS, ORIGINAL_LOCAL, TCP_CLUSTER, ads, filter_state, packed
from ambientlab.mesh.xds.ztunnel_shared import BLACKHOLE, PASSTHROUGH, described, source_state

TO_SERVICE, TO_WORKLOAD, TO_ADDRESS = "outbound|service", "outbound|workload", "outbound|passthrough"
"""What a destination is looked up as, or that it is not."""
PLAINTEXT = "inbound|plaintext"
TO_SELF = {direction: f"{direction}|self-call" for direction in ("outbound", "inbound")}
"""For connections to the proxy's own ports."""
NAMES = (TO_SERVICE, TO_WORKLOAD, TO_ADDRESS, PLAINTEXT, *TO_SELF.values())


def shared() -> Iterator[FilterChain]:
    workload = filter_state(TCP_CLUSTER, "ip|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%")
    asked = filter_state(ORIGINAL_LOCAL, "%DOWNSTREAM_LOCAL_ADDRESS%", shared="ONCE")
    to_workload = [in_netns(), *source_state(), workload, asked]
    yield to_service(TO_SERVICE, "vip|%DOWNSTREAM_LOCAL_ADDRESS%")
    yield tcp_chain(TO_WORKLOAD, to_workload, BLACKHOLE, access_log.plain_outbound("CLUSTER"))
    yield tcp_chain(TO_ADDRESS, [in_netns()], PASSTHROUGH, access_log.plain_outbound())
    yield tcp_chain(PLAINTEXT, [in_netns()], PASSTHROUGH, access_log.plain_inbound())
    for direction, name in TO_SELF.items():
        yield closed(name, direction, SELF_CALL)


def to_service(chain: str, cluster: str) -> FilterChain:
    """`cluster` is a format of its name."""
    state = [in_netns(), *source_state(), filter_state(TCP_CLUSTER, cluster)]
    return tcp_chain(chain, state, BLACKHOLE, access_log.plain_outbound("UPSTREAM_HOST"))


def in_netns(netns: str = access_log.of_pod(NETNS)) -> FilterStateValue:
    """Upstream connections are made as if from inside the pod.

    The one hashable value that connections upstream share: Envoy's pools are keyed by all of them, in an order that is
    not always the same, so that two would give one destination two pools. A pod has one identity, so its namespace says
    enough.
    """
    return filter_state(NETNS, netns, shared="TRANSITIVE", factory=HASHABLE)


def closed(name: str, direction: str, error: str) -> FilterChain:
    return tcp_chain(name, [], BLACKHOLE, access_log.closed(direction, error))


def tcp_chain(name: str, state: Sequence[FilterStateValue], cluster: str, logs: Sequence[AccessLog]) -> FilterChain:
    """`cluster` is for connections whose filter state names none."""
    proxy = TcpProxy(stat_prefix=name, cluster=cluster, access_log=logs)
    proxy.access_log_options.access_log_flush_interval.FromMilliseconds(access_log.REPORT_EVERY_MS)
    proxy.idle_timeout.SetInParent()  # connections may be silent for as long as they like
    chain = FilterChain(name=name)
    if state:
        config = packed(SetFilterState(on_new_connection=state))
        chain.filters.append(Filter(name="envoy.filters.network.set_filter_state", typed_config=config))
    chain.filters.append(Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy)))
    return chain


def with_shared(listener: Listener, pod: Captured) -> Listener:
    """Chains that its matcher names and that it does not hold are those above."""
    listener.metadata.CopyFrom(described(pod))
    listener.fcds_config.config_source.CopyFrom(ads())
    return listener
