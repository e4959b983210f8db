"""A proxy's end of a session of delta ADS, in few words."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ambientlab.mesh.session import Config, Event, Session
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

TYPES = {"CDS": CLUSTER, "EDS": ENDPOINTS, "LDS": LISTENER, "RDS": ROUTES, "SDS": SECRET}


def cluster(name: str, marker: str = "", *, eds: bool = False) -> Config:
    return Config.of(Cluster(name=name, alt_stat_name=marker, type=Cluster.EDS if eds else Cluster.STATIC))


def routes(name: str, marker: str = "") -> Config:
    return Config.of(RouteConfiguration(name=name, internal_only_headers=[marker] if marker else []))


def listener(name: str, marker: str = "") -> Config:
    return Config.of(Listener(name=name, stat_prefix=marker))


def endpoints(name: str) -> Config:
    return Config.of(ClusterLoadAssignment(cluster_name=name))


class Peer:
    """A proxy's end of a session: writes requests in few words, reads responses in few words."""

    def __init__(self) -> None:
        self.session = Session()
        self.unanswered: dict[str, str] = {}

    def request(
        self, service: str, *subscribe: str, unsubscribe: tuple[str, ...] = (), have: dict[str, str] | None = None
    ) -> list[Event]:
        return self.session.receive(
            DeltaDiscoveryRequest(
                type_url=TYPES[service],
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=have or {},
            )
        )

    def sent(self) -> list[str]:
        """What is sent now, as `CDS +a +b -c`."""
        return [self._brief(response) for response in self.session.outgoing()]

    def ack(self, service: str) -> list[Event]:
        return self.session.receive(
            DeltaDiscoveryRequest(type_url=TYPES[service], response_nonce=self.unanswered.pop(service))
        )

    def take(self, service: str, *subscribe: str) -> None:
        """Ask, be answered, and accept."""
        self.request(service, *subscribe)
        self.sent()
        self.ack(service)

    def nack(self, service: str, detail: str = "no good") -> list[Event]:
        request = DeltaDiscoveryRequest(type_url=TYPES[service], response_nonce=self.unanswered.pop(service))
        request.error_detail.message = detail
        return self.session.receive(request)

    def _brief(self, response: DeltaDiscoveryResponse) -> str:
        service = next(name for name, type_url in TYPES.items() if type_url == response.type_url)
        assert service not in self.unanswered, "two pushes of one type in flight"
        self.unanswered[service] = response.nonce
        names = sorted(f"+{r.name}" for r in response.resources) + sorted(f"-{n}" for n in response.removed_resources)
        return " ".join([service, *names])
