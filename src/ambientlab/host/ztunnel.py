"""ztunnel as people see it: what it logs, counts and answers, put together from the mesh and from its Envoy's log."""

from __future__ import annotations

import time
from collections.abc import Callable

from ambientlab.cluster import ISTIO_VERSION
from ambientlab.dataplane.ztunnel_connections import Connections, Open
from ambientlab.dataplane.ztunnel_dns import Lookups, lookup_line
from ambientlab.dataplane.ztunnel_log import DNS_SCOPE, Levels, ZtunnelLog
from ambientlab.dataplane.ztunnel_metrics import Labeller, Labels, build, gauge, samples, text
from ambientlab.dataplane.ztunnel_young import Look, reported
from ambientlab.mesh import configdump
from ambientlab.mesh.ir import Key, Workload
from ambientlab.mesh.serve.control_plane import ControlPlane
from ambientlab.node.dns import Lookup

_PILOT_XDS = "Number of endpoints connected to this pilot using XDS"


class NodeProxyView:
    """`Names` for its log, and what `ZtunnelAdmin` answers."""

    def __init__(self, istiod: ControlPlane, look: Look) -> None:
        self.levels = Levels()
        self._istiod = istiod
        self._look = look
        index = istiod.index
        self._by_ip = index.workloads.index(lambda _, workload: workload.ips)
        self._by_endpoint = index.services.index(
            lambda _, service: {ip for end in service.endpoints for ip in end.addresses}
        )
        self._labeller = Labeller(self._find, index.services.get)
        self._connections = self._none_yet()
        self._lookups = Lookups()
        self._add: Callable[[bytes], None] = lambda line: None
        self._log = ZtunnelLog(self, self.levels)

    def output(self, add: Callable[[bytes], None]) -> Callable[[bytes], bytes]:
        """For a run of the node proxy that begins: it has no connections, and has counted nothing. `add` is for lines
        of the log that are not the proxy's."""
        self._add = add
        self._connections = self._none_yet()
        self._lookups = Lookups()
        counted = self._connections
        self._log = ZtunnelLog(self, self.levels, counted.ended, counted.report, self._istiod.captures.lost)
        return self._log

    def say(self, line: str) -> None:
        """What is ztunnel's to say and not Envoy's, and counts as said by it from here on."""
        self._add(self._log.of_lines(line.encode()))

    def looked_up(self, asked: Lookup) -> None:
        found = self._by_ip.select(asked.client)
        self._lookups.count(
            found[0] if found else None,
            asked.type,
            asked.protocol,
            forwarded=asked.forwarded,
            failed=asked.failed,
            seconds=asked.seconds,
        )
        if self.levels.shows("debug", DNS_SCOPE):
            self._add(lookup_line(found[0] if found else None, asked.type, asked.name, _outcome(asked), asked.records))

    def trust_domain(self) -> str:
        return self._istiod.index.mesh.trust.own

    def workload(self, ip: str) -> tuple[str, str] | None:
        found = self._by_ip.select(ip)
        return (found[0].name, found[0].namespace) if found else None

    def service(self, ip: str, port: int) -> str:
        """Of several the first, as in what tunnels bring."""
        found = self._by_endpoint.select(ip)
        ends = ((one.hostname, end) for one in found for end in one.endpoints if ip in end.addresses)
        return min((host for host, end in ends if port in dict(end.ports).values()), default="")

    def metrics(self) -> str:
        return text([*samples(self._connections), *self._lookups.samples(), *build("ztunnel")])

    def mesh_metrics(self) -> str:
        """istiod's and, which no istiod has, those of ztunnel, so that one address tells of all connections in the
        mesh."""
        return text([*samples(self._connections), *self._pilot()])

    def pilot_metrics(self) -> str:
        return text(self._pilot())

    def _pilot(self) -> list[str]:
        proxies = len(self._istiod.connections)
        return [*build("pilot"), *gauge("pilot_xds", _PILOT_XDS, f'version="{ISTIO_VERSION}"', proxies)]

    async def dump(self) -> configdump.Message:
        captured = list(self._istiod.captures.pods.values())
        await reported(captured, self._look, self._connections.open)
        connections: dict[Key, configdump.Connections] = {}
        for one in sorted(self._connections.open(), key=lambda one: (one.source, one.destination, one.hbone)):
            ends = one.ends
            if ends.reporter == "source":
                there = connections.setdefault(Key(ends.source_namespace, ends.source), configdump.Connections())
                there.outbound.append(_outbound(one))
            else:
                here = Key(ends.destination_namespace, ends.destination)
                there = connections.setdefault(here, configdump.Connections())
                there.inbound.append(_inbound(one))
        none = configdump.Connections()
        seen = configdump.Seen(
            self._istiod.index.mesh,
            self._istiod.index.at_node.values(),
            captured,
            self._istiod.certificates(),
            {pod.uid: connections.get(Key(pod.namespace, pod.name), none) for pod in captured},
        )
        return configdump.dump(seen)

    def _none_yet(self) -> Connections[Labels]:
        return Connections(time.monotonic, self._labeller.labels)

    def _find(self, namespace: str, name: str) -> Workload | None:
        return self._istiod.index.workloads.get(Key(namespace, name))


def _outcome(asked: Lookup) -> str:
    if not asked.forwarded:
        return "success" if asked.records else "no records"
    return "forwarding failed" if asked.failed else "forwarded"


def _outbound(one: Open) -> configdump.Connection:
    """What was asked for is said where it is not what the tunnel was asked for."""
    return configdump.Connection(one.source, one.target or one.hbone, one.destination, _protocol(one))


def _inbound(one: Open) -> configdump.Connection:
    """At the application's port, however it came. What was asked for is known of those that came for a service."""
    return configdump.Connection(one.source, one.target, one.hbone or one.destination, _protocol(one))


def _protocol(one: Open) -> str:
    return "HBONE" if one.ends.tunnelled else "TCP"
