"""`endpoint`, from Envoy's /clusters (istioctl/pkg/writer/envoy/clusters), and the hidden `eds`, from its dump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ambientlab.cli.proxy_config import shape
from ambientlab.cli.proxy_config.dump import DumpError, Message, parsed

HEADER = ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]
EDS_HEADER = ["NAME", "STATUS", "LOCALITY", "CLUSTER"]


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    address: str = ""
    port: int = 0
    cluster: str = ""
    status: str = ""

    def admits(self, host: Message, cluster: str) -> bool:
        address, port = place(host.get("address") or {})
        return (
            (not self.address or self.address.lower() == address.lower())
            and (not self.port or self.port == port)
            and (not self.cluster or self.cluster.lower() == cluster.lower())
            and (not self.status or self.status.lower() == _status(host).lower())
        )


def parse(text: str | bytes) -> list[Message]:
    _, read = parsed(text, shape.CLUSTERS)
    statuses: list[Message] | None = read.get("cluster_statuses")
    if statuses is None:
        raise DumpError("error unmarshalling config dump response from Envoy: there are no cluster_statuses")
    return statuses


def rows(clusters: list[Message], chosen: EndpointFilter) -> list[list[str]]:
    found = []
    for cluster in clusters:
        for host in cluster.get("host_statuses") or ():
            if chosen.admits(host, cluster.get("name", "")):
                address, port = place(host.get("address") or {})
                failed = (host.get("health_status") or {}).get("failed_outlier_check")
                found.append((address, port, cluster.get("name", ""), _status(host), "FAILED" if failed else "OK"))
    return [
        [f"{address}:{port}" if port else address, status, check, name]
        for address, port, name, status, check in sorted(found)
    ]


def with_hosts(clusters: list[Message], chosen: EndpointFilter) -> list[Message]:
    return [
        cluster
        for cluster in clusters
        if any(chosen.admits(host, cluster.get("name", "")) for host in cluster.get("host_statuses") or ())
    ]


def eds_with_hosts(assignments: list[Message], chosen: EndpointFilter) -> list[Message]:
    return [
        assignment
        for assignment in assignments
        if any(_eds_admits(chosen, host, assignment.get("cluster_name", "")) for _, host in _lb_endpoints(assignment))
    ]


def eds_rows(assignments: list[Message], chosen: EndpointFilter) -> list[list[str]]:
    found = []
    for assignment in assignments:
        cluster = assignment.get("cluster_name", "")
        for locality, host in _lb_endpoints(assignment):
            if _eds_admits(chosen, host, cluster):
                where = locality.get("locality") or {}
                area = "/".join(filter(None, (where.get(key) for key in ("region", "zone", "sub_zone"))))
                found.append([_eds_address(host), host.get("health_status", "UNKNOWN"), area, cluster])
    return found


def place(address: Message) -> tuple[str, int]:
    if socket := address.get("socket_address"):
        return socket.get("address", ""), socket.get("port_value", 0)
    if pipe := address.get("pipe"):
        return f"unix://{pipe.get('path', '')}", 0
    if internal := address.get("envoy_internal_address"):
        return f"envoy://{internal.get('server_listener_name', '')}/{internal.get('endpoint_id', '')}", 0
    return "unknown", 0


def _status(host: Message) -> str:
    status: str = (host.get("health_status") or {}).get("eds_health_status", "UNKNOWN")
    return status


def _lb_endpoints(assignment: Message) -> list[tuple[Message, Message]]:
    localities: list[Any] = assignment.get("endpoints") or []
    return [(locality, host) for locality in localities for host in locality.get("lb_endpoints") or ()]


def _eds_address(host: Message) -> str:
    address, port = place((host.get("endpoint") or {}).get("address") or {})
    return f"{address}:{port}" if port else address.removeprefix("unix://")


def _eds_admits(chosen: EndpointFilter, host: Message, cluster: str) -> bool:
    _, port = place((host.get("endpoint") or {}).get("address") or {})
    return (
        (not chosen.address or chosen.address.lower() == _eds_address(host).lower())
        and (not chosen.port or chosen.port == port)
        and (not chosen.cluster or chosen.cluster.lower() == cluster.lower())
        and (not chosen.status or chosen.status.lower() == host.get("health_status", "UNKNOWN").lower())
    )
