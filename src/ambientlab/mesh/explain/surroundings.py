"""Objects that are about namespaces and proxies rather than about one host: what of them has no part in a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ambientlab.api import objects
from ambientlab.api.kinds import ENVOYFILTER, NAMESPACE, POD, SERVICEENTRY, SIDECAR, TRAFFICEXTENSION, WASMPLUGIN
from ambientlab.mesh.enrolment import MODE_LABEL, SIDECAR_STATUS
from ambientlab.mesh.explain import remedies
from ambientlab.mesh.explain.explanation import Applied, Cause, Finding, Place, Unseen
from ambientlab.mesh.explain.scope import Scope
from ambientlab.mesh.index import ObjectRef
from ambientlab.mesh.index.diagnostics import REFUSED, SEVERAL, WAYPOINT_BOUND
from ambientlab.mesh.index.waypoints import USE_WAYPOINT
from ambientlab.mesh.ir import Endpoint, Key, Resolution, names


def findings(scope: Scope) -> Iterator[Finding]:
    yield from _waypoints(scope)
    yield from _client_side(scope)
    yield from _proxies(scope)
    yield from _service_entries(scope)
    yield from _out_of_reach(scope)
    yield from _empty(scope)


def _waypoints(scope: Scope) -> Iterator[Finding]:
    """Waypoints beside the callee that nothing leads to, and one whose pods are not there."""
    callee = scope.callee.object
    if callee is None:
        return
    if scope.binding.asked is None:
        for key in remedies.waypoints_in(scope.index, callee.namespace):
            message = f"no request for {callee} comes to it: no label {USE_WAYPOINT} names it"
            yield Finding(remedies.gateway_ref(key), Cause.UNUSED_WAYPOINT, message, "", scope.waypoint_remedies)
    elif scope.binding.waypoint is None and scope.labelled is not None:
        finding = scope.no_waypoint(scope.labelled, f"metadata.labels[{USE_WAYPOINT}]")
        yield replace(finding, message=scope.binding.message)
    for key in scope.binding.waypoints:
        if scope.bypassed:
            yield scope.past_the_waypoint(remedies.gateway_ref(key))
        waypoint = scope.index.mesh.waypoints.get(key)
        if waypoint is not None and not waypoint.members:
            remedy = remedies.get_ready(scope.index, key)
            yield Finding(remedies.gateway_ref(key), Cause.NO_ENDPOINT, "none of its pods is ready", "", (remedy,))


def _client_side(scope: Scope) -> Iterator[Finding]:
    """A waypoint stands before services, never behind clients: what most take for missing is on the other side."""
    client, callee = scope.client, scope.callee.object
    if client is None or callee is None or client.namespace == callee.namespace or scope.binding.asked is not None:
        return
    labels = remedies.labels_of_namespace(scope.index, client.namespace)
    if labels.get(USE_WAYPOINT, "none") not in ("", "none"):
        message = (
            f"it is about services of {client.namespace}, not about what pods there call: the waypoint of a request is "
            f"the one that {callee} uses"
        )
        ref = ObjectRef(NAMESPACE.kind, "", client.namespace)
        yield Finding(ref, Cause.CLIENT_SIDE, message, f"metadata.labels[{USE_WAYPOINT}]", scope.waypoint_remedies)


def _proxies(scope: Scope) -> Iterator[Finding]:
    """What changes single proxies, in the namespaces where Istio would look for it."""
    own = {scope.client.namespace} if scope.client is not None else set()
    for resource in (SIDECAR, ENVOYFILTER, WASMPLUGIN, TRAFFICEXTENSION):
        for ref, _ in scope.objects(resource):
            if ref.namespace in own | scope.places:
                yield from map(scope.finding, scope.diagnostics(ref))


def _service_entries(scope: Scope) -> Iterator[Finding]:
    """Those that declare the host, whether or not theirs is the declaration that counts. What becomes of labels that
    name waypoints, and what is out of reach, is said elsewhere."""
    for ref, obj in scope.objects(SERVICEENTRY):
        hosts = obj["spec"].get("hosts") or ()
        if scope.host and names.hostname(scope.host) in hosts and scope.concerned(ref, hosts):
            out = scope.index.registry.beyond.findings.get(remedies.key_of(ref), ())
            for diagnostic in scope.diagnostics(ref):
                if diagnostic.condition != WAYPOINT_BOUND and diagnostic not in out:
                    yield scope.finding(diagnostic)


def _out_of_reach(scope: Scope) -> Iterator[Finding]:
    """What those that count name, and nothing leads to."""
    for service in dict.fromkeys(filter(None, (scope.service, *scope.destinations.values()))):
        if service.kind == SERVICEENTRY.kind:
            for diagnostic in scope.index.registry.beyond.findings.get(service.key, ()):
                if diagnostic.host in ("", service.hostname):
                    yield replace(scope.finding(diagnostic), cause=Cause.OUT_OF_REACH)


def beyond(scope: Scope) -> frozenset[Endpoint]:
    """Endpoints that the request may be sent to, and that nothing leads to."""
    found = set()
    for end in scope.decision.delivered():
        service = scope.index.mesh.services.get(end.destination.host)
        at = service.namespace if service is not None else scope.client.namespace if scope.client is not None else ""
        if scope.index.registry.beyond.holds(scope.ctx, end.endpoint.address, at):
            found.add(end.endpoint)
    return frozenset(found)


def _empty(scope: Scope) -> Iterator[Finding]:
    """Services that the request goes to, and that have nobody behind them."""
    for service in dict.fromkeys(
        scope.destinations.values() if scope.decision.passages else filter(None, [scope.service])
    ):
        if not service.endpoints and service.resolution is Resolution.STATIC:
            ref = ObjectRef(service.kind, *service.key)
            message = "none of its pods is ready, if it selects any"
            yield Finding(ref, Cause.NO_ENDPOINT, message, "spec.selector", (remedies.pods_of(service),))


def ztunnel(scope: Scope) -> Key | None:
    """The node proxy that takes the client's traffic."""
    workload = scope.index.mesh.workloads.get(scope.client) if scope.client is not None else None
    if workload is None or not scope.decision.source.captured:
        return None
    for ref, pod in scope.objects(POD):
        if pod["spec"].get("nodeName", "") == workload.node and objects.labels_of(pod).get("app") == "ztunnel":
            return Key(ref.namespace, ref.name)
    return None


def sidecars(scope: Scope) -> Iterator[Unseen]:
    """Pods whose own proxy has a part in the request that nothing here knows of."""
    if scope.client is not None and scope.sidecar:
        why = "it routes, retries, encrypts and goes to waypoints by itself, and nothing of that is foreseen here"
        look = f"istioctl proxy-config routes {scope.client.name}.{scope.client.namespace}"
        yield Unseen(f"the sidecar of Pod {scope.client}", why, (look,))
    for workload in scope.with_sidecars(scope.servers):
        why = "policies that select the pod are enforced there, those about requests as well, and none of them here"
        look = f"istioctl x authz check {workload.name}.{workload.namespace}"
        yield Unseen(f"the sidecar of Pod {workload.key}", why, (look,))


def refused(scope: Scope, applied: Iterable[Applied]) -> Iterator[Unseen]:
    """What a waypoint does not take: what it goes on with in its place is in no object."""
    for ref in dict.fromkeys(one.object for one in applied if one.place is Place.WAYPOINT):
        said = [diagnostic.message for diagnostic in scope.diagnostics(ref) if diagnostic.reason in (REFUSED, SEVERAL)]
        if any(" refuses " in message for message in said):
            why = "the waypoint refuses it as it is, and goes by something else"
            yield Unseen(f"what is in force of {ref}", why, (remedies.look(ref),))


def outside(scope: Scope) -> str:
    """Why nothing takes the client's traffic into the mesh, "" where something does."""
    client = scope.client
    if scope.decision.source.captured:
        return ""
    if client is None:
        in_node = scope.decision.source.node
        return "istio-cni takes nothing in the network of a node" if in_node else "it is no pod of the cluster"
    pod = scope.object(ObjectRef("Pod", *client)) or {"metadata": {}, "spec": {}}
    mode = objects.labels_of(pod).get(MODE_LABEL)
    if mode == "none":
        return f"its label {MODE_LABEL}=none keeps it out of the mesh"
    if SIDECAR_STATUS in objects.annotations_of(pod):
        return "it has a sidecar, whose decisions are not known here: this is the way without it"
    if mode != "ambient" and not remedies.ambient(scope.index, client.namespace):
        return f"neither it nor namespace {client.namespace} has the label {MODE_LABEL}=ambient"
    return "it is to be in the mesh, and istio-cni has not put it there"
