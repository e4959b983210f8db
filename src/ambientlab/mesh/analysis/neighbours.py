"""What is beside a policy in its namespace."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.objects import Object
from ambientlab.mesh.analysis import cures
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.ir import Key, Service, Workload


class Neighbours:
    """Pods, and the services that have them, by namespace."""

    def __init__(self, index: MeshIndex) -> None:
        self._index = index
        self.workloads: dict[str, list[Workload]] = {}
        self.services: dict[str, list[Service]] = {}
        for workload in index.workloads.values():
            self.workloads.setdefault(workload.namespace, []).append(workload)
        for _, service in sorted(index.mesh.services.items()):
            self.services.setdefault(service.namespace, []).append(service)
        self.identities = {workload.identity for workload in index.workloads.values()}

    def to_waypoints(self, ref: ObjectRef, obj: Object) -> Iterator[Remedy]:
        """To the waypoint of the service whose pods it selects, or of all that have some of them."""
        reading = self._index.security.ztunnel.policies[remedies.key_of(ref)]
        pods = {
            workload.key
            for workload in self.workloads.get(ref.namespace, ())
            if reading.selector.selects(dict(workload.labels))
        }
        behind = {service: _pods(service) & pods for service in self.services.get(ref.namespace, ())}
        whole = [service for service, some in behind.items() if some == pods == _pods(service)]
        meant = whole[:1] or [service for service, some in behind.items() if some]
        if not meant:
            yield cures.edit(ref, "spec")
            return
        services = [ObjectRef(service.kind, *service.key) for service in meant]
        yield remedies.to_target(ref, obj, *services)
        if meant[0].waypoint is None:
            yield remedies.come_by_waypoint(self._index, services[0], self._index.shapes[meant[0].host].binding)


def _pods(service: Service) -> set[Key]:
    return {endpoint.workload.key for endpoint in service.endpoints if endpoint.workload is not None}
