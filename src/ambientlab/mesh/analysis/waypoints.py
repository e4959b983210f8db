"""Waypoints and the labels that name them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ambientlab.api import objects
from ambientlab.api.kinds import GATEWAY, NAMESPACE, POD, SERVICE, SERVICEENTRY
from ambientlab.cluster import WAYPOINT_CLASS
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Code, Finding
from ambientlab.mesh.analysis.naming import names
from ambientlab.mesh.enrolment import MODE_LABEL
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.waypoints import USE_CANARY, USE_CANARY_NAMESPACE, USE_WAYPOINT, Binding, bind
from ambientlab.mesh.ir import Key, Traffic

_CODES: Mapping[str, Code] = {
    "AttachmentDenied": codes.WAYPOINT_REFUSES,
    "UnsupportedTrafficType": codes.WRONG_WAYPOINT_TYPE,
}


def analyse(index: MeshIndex) -> Iterator[Finding]:
    bound = dict(_bound(index))
    yield from _unbound(index, bound)
    yield from _canaries(bound)
    used = {key for binding in bound.values() for key in (*binding.waypoints, binding.asked) if key is not None}
    used |= {w.waypoint for w in index.workloads.values() if w.waypoint is not None}
    used |= set(_asked_as_canaries(index))
    for key, obj in sorted(index.sources[GATEWAY].items()):
        if obj["spec"].get("gatewayClassName") == WAYPOINT_CLASS:
            yield from _of_gateway(index, key, used=key in used)


def _bound(index: MeshIndex) -> Iterator[tuple[ObjectRef, Binding]]:
    """What becomes of the labels that objects have or inherit; of pods only their own, since a Namespace's is for its
    services before anything else."""
    shapes: Iterable[Shape] = (*index.shapes.values(), *(d.shape for d in index.registry.declared.values()))
    for shape in shapes:
        yield ObjectRef(shape.kind, *shape.key), shape.binding
    for key, pod in index.sources[POD].items():
        if USE_WAYPOINT in objects.labels_of(pod):
            ctx = index.graph.reader()
            yield (
                ObjectRef(POD.kind, *key),
                bind(ctx, pod, Traffic.WORKLOAD, index.gateways, index.sources[NAMESPACE]),
            )


def _unbound(index: MeshIndex, bound: Mapping[ObjectRef, Binding]) -> Iterator[Finding]:
    """One finding for each label that names a waypoint in vain, whomever it is for."""
    concerned: dict[tuple[ObjectRef, Key, str, str], list[ObjectRef]] = {}
    for ref, binding in sorted(bound.items()):
        if binding.reason and binding.waypoint is None and binding.asked is not None:
            label = remedies.labelled(index, ref) or ref
            concerned.setdefault((label, binding.asked, binding.reason, binding.message), []).append(ref)
    for (label, asked, reason, why), whom in concerned.items():
        code = _CODES.get(reason)
        if code is None:
            missing = asked not in index.sources[GATEWAY]
            code = codes.WAYPOINT_MISSING if missing else codes.WAYPOINT_NOT_READY
            why = f'waypoint "{asked}" does not exist' if missing else why
        message = f"{why}; traffic to {names(whom)} goes directly"
        remedy = remedies.come_by_waypoint(index, whom[0], bound[whom[0]])
        yield Finding(code, label, message, f"metadata.labels[{USE_WAYPOINT}]", (remedy,))


def _canaries(bound: Mapping[ObjectRef, Binding]) -> Iterator[Finding]:
    for ref, binding in sorted(bound.items()):
        if binding.reason and binding.waypoint is not None:
            message = f"{binding.message}; all connections go to {binding.waypoint}"
            field = f"metadata.labels[{USE_CANARY}]"
            yield Finding(codes.CANARY_UNUSABLE, ref, message, field, (cures.edit(ref, field),))


def _asked_as_canaries(index: MeshIndex) -> Iterator[Key]:
    """Whether or not they get anything: that they do not is told of who asks."""
    for resource in (NAMESPACE, SERVICE, SERVICEENTRY):
        for key, obj in index.sources[resource].items():
            labels = objects.labels_of(obj)
            if USE_CANARY in labels:
                yield Key(labels.get(USE_CANARY_NAMESPACE, key.namespace or key.name), labels[USE_CANARY])


def _of_gateway(index: MeshIndex, key: Key, *, used: bool) -> Iterator[Finding]:
    ref, waypoint = remedies.gateway_ref(key), index.mesh.waypoints.get(key)
    if not used:
        message = f"no label {USE_WAYPOINT} of a service or pod names it"
        yield Finding(codes.UNUSED_WAYPOINT, ref, message, "", tuple(_use(index, key)))
    elif waypoint is not None and not waypoint.members:
        message = f"none of its pods is ready, and {waypoint.address} is where traffic goes"
        yield Finding(codes.WAYPOINT_WITHOUT_PODS, ref, message, "", (remedies.get_ready(index, key),))


def _use(index: MeshIndex, key: Key) -> Iterator[Remedy]:
    home = remedies.namespace_ref(key.namespace)
    if USE_WAYPOINT not in remedies.labels_of_namespace(index, key.namespace):
        labels = [f"{USE_WAYPOINT}={key.name}"]
        if not remedies.ambient(index, key.namespace):
            labels.insert(0, f"{MODE_LABEL}=ambient")
        yield Remedy(f"let the services of {key.namespace} use it", (remedies.label(home, *labels),))
    yield cures.without(remedies.gateway_ref(key))
