"""What a request could have met: the objects that findings are looked for among."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from ambientlab.api import objects
from ambientlab.api.kinds import NAMESPACE, POD
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Context
from ambientlab.mesh.decide import Decision, Routing, Why
from ambientlab.mesh.enrolment import SIDECAR_STATUS
from ambientlab.mesh.explain import remedies
from ambientlab.mesh.explain.explanation import Callee, Cause, Finding, Remedy, WaypointChoice
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.index.diagnostics import REFUSED, SEVERAL
from ambientlab.mesh.index.meanings import concerned
from ambientlab.mesh.index.told import UNSEEN, told
from ambientlab.mesh.index.values import host_matches
from ambientlab.mesh.index.waypoints import USE_WAYPOINT, Binding, bind
from ambientlab.mesh.ir import Destination, Forward, Key, Service, Traffic, WeightedDestination, Workload, names

_REASONS: Mapping[str, Cause] = {
    "ForeignNamespace": Cause.WRONG_NAMESPACE,
    "NotExported": Cause.NOT_EXPORTED,
    "Shadowed": Cause.SHADOWED,
    "Unreachable": Cause.SHADOWED,
    "OlderPolicy": Cause.SHADOWED,
    "NoPort": Cause.OTHER_PORT,
    "NoRoute": Cause.NEVER_MATCHES,
    "NeverMatches": Cause.NEVER_MATCHES,
    "InvalidExpression": Cause.NEVER_MATCHES,
    "ServerName": Cause.NEVER_MATCHES,
    "OtherTrustDomain": Cause.NEVER_MATCHES,
    "NotInMesh": Cause.POD_NOT_CAPTURED,
    "HostNotFound": Cause.OTHER_HOST,
    "NoMatchingParent": Cause.OTHER_HOST,
    "NotAllowedByListeners": Cause.NOT_FOR_MESH,
    "TargetNotFound": Cause.OTHER_HOST,
    "NoAddress": Cause.INVALID,
    "InvalidFilter": Cause.INVALID,
    "InvalidKind": Cause.INVALID,
    "InvalidDestination": Cause.INVALID,
    "Invalid": Cause.INVALID,
    "BackendNotFound": Cause.MISSING_BACKEND,
    "MirrorMissing": Cause.MISSING_BACKEND,
    "KeysMissing": Cause.INVALID,
    "ProviderUnusable": Cause.INVALID,
    REFUSED: Cause.INVALID,
    UNSEEN: Cause.INVALID,
    SEVERAL: Cause.INVALID,
    "Ignored": Cause.AMBIENT,
    "Unsupported": Cause.NOT_BUILT,
}
_OF_BINDING = {
    "WaypointIsNotReady": Cause.WAYPOINT_NOT_READY,
    "AttachmentDenied": Cause.WAYPOINT_REFUSES,
    "UnsupportedTrafficType": Cause.WAYPOINT_REFUSES,
}
_NEEDS_WAYPOINT = ("NoWaypoint", "ResolvedWaypoints", "AncestorNotBound")
_UNSAID = frozenset({UNSEEN, "ReferenceGrantMissing"})
"""What is said of Secrets, which nobody reads to explain, and what decides nothing in a mesh of Istio."""


class Scope:
    """One decision about one state of a cluster, and where to look around it."""

    def __init__(self, index: MeshIndex, decision: Decision) -> None:
        self.index = index
        self.decision = decision
        self.ctx: Context = index.graph.reader()

    @property
    def host(self) -> str:
        return self.decision.target.service

    @property
    def port(self) -> int:
        return self.decision.target.port

    @property
    def client(self) -> Key | None:
        return self.decision.source.workload

    @cached_property
    def sidecar(self) -> bool:
        """Whether the client has one."""
        workload = self.index.mesh.workloads.get(self.client) if self.client is not None else None
        return workload is not None and bool(self.with_sidecars([workload]))

    @property
    def service(self) -> Service | None:
        return self.index.mesh.services.get(self.host)

    @property
    def routing(self) -> Routing | None:
        return self.decision.routing

    @property
    def bypassed(self) -> bool:
        """Whether there is a waypoint, and the client does not meet it."""
        return self.decision.why is Why.NOT_CAPTURED and self.binding.waypoint is not None

    @cached_property
    def callee(self) -> Callee:
        service, target = self.service, self.decision.target
        if service is not None:
            return Callee(
                ObjectRef(service.kind, *service.key), service.port(target.port), service.ports, service.distribution
            )
        return Callee(ObjectRef("Pod", *target.workload)) if target.workload is not None else Callee()

    @cached_property
    def binding(self) -> Binding:
        service, ref = self.service, self.callee.object
        if service is not None:
            return self.index.registry.binding(self.ctx, service.kind, service.key, service.hostname)
        pod = self.object(ref) if ref is not None else None
        if pod is None:
            return Binding()
        return bind(self.ctx, pod, Traffic.WORKLOAD, self.index.gateways, self.index.sources[NAMESPACE])

    @cached_property
    def labelled(self) -> ObjectRef | None:
        """The object whose label says which waypoint the callee uses, or that it uses none."""
        return None if self.callee.object is None else remedies.labelled(self.index, self.callee.object)

    @cached_property
    def places(self) -> frozenset[str]:
        """Namespaces whose objects may be meant for the request, the client's apart."""
        own = {ref.namespace} if (ref := self.callee.object) is not None else set()
        return frozenset({*own, *(key.namespace for key in self.binding.waypoints), self.index.home.root})

    @cached_property
    def destinations(self) -> Mapping[Destination, Service]:
        """Where a waypoint may send the request, so far as it is there."""
        found: dict[Destination, Service] = {}
        for passage in self.decision.passages:
            chosen = passage.routing.chosen if passage.routing is not None else None
            items = [WeightedDestination(1, Destination(self.host, self.port))]
            if passage.connections is not None:
                items = list(passage.connections.destinations)
            elif chosen is not None:
                items = list(chosen.route.action.destinations) if isinstance(chosen.route.action, Forward) else []
            for item in items:
                service = self.index.mesh.services.get(item.destination.host)
                if service is not None and item.found:
                    found[item.destination] = service
        return found

    @cached_property
    def servers(self) -> tuple[Workload, ...]:
        """The pods that the request may end at."""
        found: dict[Key, Workload] = {}
        for service in (self.service, *self.destinations.values()):
            if service is not None:
                found |= {e.workload.key: e.workload for e in service.endpoints if e.workload is not None}
        if (target := self.decision.target.workload) is not None:
            found[target] = self.index.mesh.workloads[target]
        return tuple(found.values())

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The host asked for and those that the request may be sent to."""
        named = [self.host, *(destination.host for destination in self.destinations)]
        return tuple(dict.fromkeys(filter(None, named)))

    def concerned(self, ref: ObjectRef, named: Iterable[str], hosts: Iterable[str] = ()) -> bool:
        """Whether an object that names these is about the host asked for, or one of `hosts`."""
        return any(
            host_matches(name, names.hostname(host))
            and (ref.namespace == self.index.home.root or concerned(self.ctx, self.index.shapes, ref.namespace, host))
            for name in named
            for host in hosts or (self.host,)
        )

    @cached_property
    def _diagnostics(self) -> Mapping[ObjectRef, list[Diagnostic]]:
        found: dict[ObjectRef, list[Diagnostic]] = {}
        own = (diagnostic for diagnostic in self.index.diagnostics() if diagnostic.reason not in _UNSAID)
        for diagnostic in (*own, *told(self.index)):
            found.setdefault(diagnostic.object, []).append(diagnostic)
        return found

    def diagnostics(self, ref: ObjectRef) -> list[Diagnostic]:
        """What is said of an object that concerns the hosts of this request."""
        return [d for d in self._diagnostics.get(ref, ()) if not d.host or d.host in self.hosts]

    def with_sidecars(self, some: Iterable[Workload]) -> list[Workload]:
        """Those whose own proxy decides what they send and get (getPodEnrollment leaves them to it)."""
        pods = ((workload, self.object(ObjectRef(POD.kind, *workload.key))) for workload in some)
        return [workload for workload, pod in pods if pod is not None and SIDECAR_STATUS in objects.annotations_of(pod)]

    def object(self, ref: ObjectRef) -> Object | None:
        return remedies.object_of(self.index, ref)

    def objects(self, resource: Resource) -> Iterator[tuple[ObjectRef, Object]]:
        kind = name_of(resource.group, resource.kind)
        for key, obj in sorted(self.index.sources[resource].items()):
            yield ObjectRef(kind, *key), obj

    def finding(self, diagnostic: Diagnostic, *extra: Remedy) -> Finding:
        """A finding of the index as one about this request, with what to do if that is always the same."""
        ref, field = diagnostic.object, diagnostic.field
        if diagnostic.reason in _NEEDS_WAYPOINT:
            return replace(self.no_waypoint(ref, field), message=diagnostic.message)
        cause = _REASONS.get(diagnostic.reason, Cause.NO_EFFECT)
        return Finding(ref, cause, diagnostic.message, field, (*self._usual(ref, cause), *extra))

    def no_waypoint(self, ref: ObjectRef, field: str = "") -> Finding:
        """An object that only a waypoint would follow, where there is none."""
        cause = _OF_BINDING.get(self.binding.reason, Cause.NO_WAYPOINT)
        message = f"only a waypoint follows it, and {self.host or 'the address'} has none ({self.binding.why_none})"
        return Finding(ref, cause, message, field, self.waypoint_remedies)

    def past_the_waypoint(self, ref: ObjectRef, field: str = "") -> Finding:
        """An object that the waypoint follows, which the client does not meet."""
        message = "the client is not in the mesh, so that nothing takes its traffic to the waypoint"
        if self.sidecar:
            message = "the client has a sidecar, and whether that goes to the waypoint is not known here"
        return Finding(ref, Cause.NOT_CAPTURED, message, field, self.capture_remedies)

    def misplaced(self, ref: ObjectRef, message: str, field: str) -> Finding:
        """An object that would mean the callee if it were in its namespace."""
        return Finding(ref, Cause.WRONG_NAMESPACE, message, field, self._usual(ref, Cause.WRONG_NAMESPACE))

    @cached_property
    def capture_remedies(self) -> tuple[Remedy, ...]:
        return () if self.client is None else (remedies.capture(self.index, self.client),)

    @cached_property
    def waypoint_remedies(self) -> tuple[Remedy, ...]:
        """How the callee comes by a waypoint."""
        ref = self.callee.object
        return () if ref is None else (remedies.come_by_waypoint(self.index, ref, self.binding),)

    def _usual(self, ref: ObjectRef, cause: Cause) -> tuple[Remedy, ...]:
        match cause:
            case Cause.WRONG_NAMESPACE if self.callee.object is not None:
                return (remedies.go_home(ref, self.callee.object.namespace),)
            case Cause.NOT_EXPORTED:
                return (remedies.export(ref),)
        return ()


def choice(scope: Scope) -> WaypointChoice:
    """Which waypoint the callee uses, and how that comes, in words."""
    binding, by = scope.binding, scope.labelled
    if scope.decision.why is Why.NO_WAYPOINT and binding.waypoint is not None and not scope.decision.target.address:
        why = "it is headless, and connections to its pods go past the waypoint"
    elif by is not None and binding.asked is not None:
        asked = f"label {USE_WAYPOINT} on {by}"
        why = asked if binding.waypoint is not None else f"{asked}: {binding.message}"
    elif by is not None:
        why = f"label {USE_WAYPOINT}=none on {by}"
    elif scope.callee.object is not None:
        why = binding.why_none
    else:
        why = str(scope.decision.why)
    return WaypointChoice(binding.asked, by, why)
