"""Where connections end: endpoints with the metadata that takes them there.

An endpoint reached by HBONE is the internal listener `connect_originate`. Its metadata says what to ask for inside
the tunnel (`envoy.filters.listener.original_dst: local`), where the tunnel ends (`istio: tunnel`) and whose certificate
must be met there (`istio: san`, one of those named). `envoy.transport_socket_match: tunnel` picks the transport socket
that takes it along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from ambientlab.cluster import HBONE_PORT
from ambientlab.mesh.ir import (
    Distribution,
    Endpoint,
    Place,
    Protocol,
    Service,
    Waypoint,
    Workload,
    localities,
    nearness,
    with_port,
)
from ambientlab.mesh.xds import access_log, labels
from ambientlab.mesh.xds.messages import (
    CONNECT_ORIGINATE,
    ISTIO_METADATA,
    ORIGINAL_DST_METADATA,
    SOCKET_MATCH_METADATA,
    internal_address,
    metadata,
    socket_address,
)


def of_service(
    name: str, service: Service, vip: str, port: int, waypoints: Sequence[tuple[Waypoint, int]], here: Place
) -> ClusterLoadAssignment:
    """For the node proxy: the instances of the service's waypoints if it has any, else its endpoints as far as clients
    `here` get to them.

    Two waypoints are localities for Envoy: those it can choose among by weight before it chooses an endpoint at random.
    One whose instances are gone gets no share.
    """
    if not waypoints:
        targets = dict(_serving(service, port))
        reached = nearness.nearest(service.distribution, {endpoint: endpoint.place for endpoint in targets}, here)
        found = [_weighted(e, e.reached_by(vip), targets[e], service) for e in reached]
        return _assignment(name, found)
    result = ClusterLoadAssignment(cluster_name=name)
    for waypoint, percent in waypoints:
        if percent and waypoint.members:
            locality = result.endpoints.add()
            for member in waypoint.members:
                target = with_port(vip, port)
                end = member.towards(waypoint.towards(vip))
                locality.lb_endpoints.append(_tunnelled(member, end, waypoint.hbone_port, target, service.hostname))
            if len(waypoints) > 1:
                locality.locality.sub_zone = str(waypoint.key)
                locality.load_balancing_weight.value = percent
    return result


def of_endpoints(
    name: str, service: Service, port: int, subset_name: str = "", viewer: Workload | None = None
) -> ClusterLoadAssignment:
    """For a waypoint, which has metrics: the service's own endpoints, or those a subset selects, as `viewer` sees them
    from where it is."""
    subset = service.subset(subset_name) if subset_name else None
    targets = {e: target for e, target in _serving(service, port) if subset is None or subset.selects(e)}
    if service.distribution is Distribution.LOCAL:
        here = Place(viewer.node if viewer is not None else "")
        local = nearness.nearest(service.distribution, {endpoint: endpoint.place for endpoint in targets}, here)
        targets = {endpoint: targets[endpoint] for endpoint in local}
    result = ClusterLoadAssignment(cluster_name=name)
    for group in localities.grouped(list(targets), service.policy(port, subset_name), viewer):
        locality = result.endpoints.add(priority=group.priority)
        if group.locality:
            region, zone, subzone = nearness.parts(group.locality)
            locality.locality.region, locality.locality.zone, locality.locality.sub_zone = region, zone, subzone
        if group.weight:
            locality.load_balancing_weight.value = group.weight
        for endpoint in group.endpoints:
            found = _weighted(endpoint, endpoint.address, targets[endpoint], service)
            if endpoint.workload is not None:
                found.endpoint.hostname = labels.destination(endpoint.workload)
            locality.lb_endpoints.append(found)
    return result


def _serving(service: Service, port: int) -> Iterator[tuple[Endpoint, int]]:
    for endpoint in service.endpoints:
        target = endpoint.target(port)
        if target is not None:
            yield endpoint, target


def of_workload(name: str, workload: Workload, ip: str, waypoint: Waypoint | None) -> ClusterLoadAssignment:
    """For connections to one of a workload's addresses, on whatever port: that comes along as filter state."""
    if waypoint is not None:
        called = waypoint.towards(ip)
        ends = [(member, member.towards(called)) for member in waypoint.members]
        members = [_tunnelled(member, end, waypoint.hbone_port, "", "") for member, end in ends]
        return _assignment(name, members)
    return _assignment(name, [_tunnelled(workload, ip, HBONE_PORT, "", "")])


def only_tunnels(assignment: ClusterLoadAssignment) -> bool:
    """Not if there is nothing."""
    found = [endpoint for locality in assignment.endpoints for endpoint in locality.lb_endpoints]
    return bool(found) and all(each.endpoint.address.HasField("envoy_internal_address") for each in found)


def _weighted(endpoint: Endpoint, address: str, port: int, service: Service) -> LbEndpoint:
    result = _direct(endpoint, address, port, service)
    if endpoint.weight:
        result.load_balancing_weight.value = endpoint.weight
    return result


def _direct(endpoint: Endpoint, address: str, port: int, service: Service) -> LbEndpoint:
    workload = endpoint.workload
    if workload is not None and workload.protocol is Protocol.HBONE:
        target = with_port(address, port)
        return _tunnelled(workload, address, HBONE_PORT, target, service.hostname, service.subject_alt_names)
    log = access_log.plain_fields(service.hostname, workload)
    result = LbEndpoint(metadata=metadata({ISTIO_METADATA: {access_log.TARGET: log}}))
    result.endpoint.address.CopyFrom(socket_address(address, port))
    return result


def _tunnelled(to: Workload, ip: str, hbone_port: int, target: str, host: str, names: Sequence[str] = ()) -> LbEndpoint:
    """`ip` is which address of the workload the tunnel leads to, `target` what to ask for inside it, "" for the address
    the client asked for; `names` are what its certificate may bear in place of the workload's identity."""
    tunnel = with_port(ip, hbone_port)
    fields: dict[str, Mapping[str, str]] = {
        SOCKET_MATCH_METADATA: {"tunnel": "h2"},
        ISTIO_METADATA: {
            "tunnel": tunnel,
            "san": ",".join((to.identity, *names)),
            access_log.TARGET: access_log.tunnel_fields(host, to),
            **({access_log.DESTINATION_SERVICE: host} if host else {}),
        },
    }
    if target:
        fields[ORIGINAL_DST_METADATA] = {"local": target}
    result = LbEndpoint(metadata=metadata(fields))
    # as Istio names it where that is unique; a waypoint has several targets behind one tunnel
    endpoint_id = target if target.startswith(with_port(ip, 0)[:-1]) else "/".join(filter(None, (tunnel, target)))
    result.endpoint.address.CopyFrom(internal_address(CONNECT_ORIGINATE, endpoint_id))
    return result


def _assignment(name: str, endpoints: list[LbEndpoint]) -> ClusterLoadAssignment:
    result = ClusterLoadAssignment(cluster_name=name)
    if endpoints:
        result.endpoints.add().lb_endpoints.extend(endpoints)
    return result
