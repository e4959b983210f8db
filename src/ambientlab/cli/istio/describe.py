"""`istioctl x describe`: a pod or a Service, and the objects that have a part in its traffic.

istioctl's own (istioctl/pkg/describe) reads that off a sidecar's Envoy and gives up in ambient mode. The headings here
are its; what decides is told by the index instead, waypoints included, and what has no effect with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli import reading
from ambientlab.cli.istio import facts
from ambientlab.cli.istio.command import Cluster, Group
from ambientlab.cli.istio.facts import LEVEL
from ambientlab.cli.output import printable
from ambientlab.mesh.ir import Key

if TYPE_CHECKING:
    from ambientlab.mesh.index import Diagnostic, ObjectRef

_RULE = "-" * 20
_REQUIREMENTS = "https://istio.io/v1.31/docs/ops/deployment/application-requirements/"
_ENROL = "istio.io/dataplane-mode=ambient"


@click.group(cls=Group, unknown="unknown resource type", aliases={"pod": ("po",), "service": ("svc",)})
def describe() -> None:
    """Describe resource and related Istio configuration"""


_ignore = click.option("--ignoreUnmeshed", "unmeshed", is_flag=True, help="Suppress warnings for unmeshed pods")
_port = click.option("--proxy-admin-port", default=15000, hidden=True)


@describe.command()
@_ignore
@_port
@click.argument("names", nargs=-1)
@click.pass_obj
def pod(cluster: Cluster, /, unmeshed: bool, names: tuple[str, ...], **_: int) -> None:
    """Describe pods and their Istio configuration: <pod-name>[.<namespace>]"""
    if len(names) != 1:
        raise click.ClickException("expecting pod name")
    Description(cluster).pod(_key(cluster, names[0]), warn=not unmeshed)


@describe.command()
@_ignore
@_port
@click.argument("names", nargs=-1)
@click.pass_obj
def service(cluster: Cluster, /, unmeshed: bool, names: tuple[str, ...], **_: int) -> None:
    """Describe services and their Istio configuration: <svc-name>[.<namespace>]"""
    if len(names) != 1:
        raise click.ClickException("expecting service name")
    Description(cluster).service(_key(cluster, names[0]))


def _key(cluster: Cluster, text: str) -> Key:
    name, _, namespace = text.partition(".")
    return Key(namespace or cluster.namespace, name)


def _say(text: str, level: int = 0) -> None:
    click.echo(printable(f"{LEVEL * level}{text}"))


class Description:
    """Writes as it finds. Names are without their namespace where that is the one that was asked for."""

    def __init__(self, cluster: Cluster) -> None:
        self._namespace = cluster.namespace
        with cluster.api() as api:
            self._index, unseen = reading.read(api)
        for gap in unseen:
            click.echo(f"Warning: {gap.what} not seen: {gap.why}", err=True)

    def pod(self, key: Key, *, warn: bool) -> None:
        from ambientlab.api.kinds import POD, SERVICE

        obj = self._index.sources[POD].get(key)
        if obj is None:
            raise click.ClickException(f'pods "{key.name}" not found')
        self._pod(key, obj, warn=warn)
        labels = obj["metadata"].get("labels") or {}
        services = [
            (at, one)
            for at, one in sorted(self._index.sources[SERVICE].items())
            if at.namespace == key.namespace and one["spec"].get("selector")
            if one["spec"]["selector"].items() <= labels.items()
        ]
        if not services and warn:
            _say(f"Warning: No Kubernetes Services select pod {self._named(key)} (see {_REQUIREMENTS} )")
        _say(_RULE)
        for row, (at, one) in enumerate(services):
            if row:
                _say(_RULE)
            self._service(at, one, [labels], obj)
        self._connections(key)
        _say(_RULE)
        self._peers(key, labels)
        self._gateways()

    def service(self, key: Key) -> None:
        from ambientlab.api.kinds import POD, SERVICE

        obj = self._index.sources[SERVICE].get(key)
        if obj is None:
            raise click.ClickException(f'services "{key.name}" not found')
        selector = obj["spec"].get("selector") or {}
        pods = [
            one
            for at, one in sorted(self._index.sources[POD].items())
            if selector and at.namespace == key.namespace
            if selector.items() <= (one["metadata"].get("labels") or {}).items()
        ]
        if not pods:
            _say(f'Service "{self._named(key)}" has no pods.')
            return
        workloads = [self._index.mesh.workloads.get(Key(key.namespace, one["metadata"]["name"])) for one in pods]
        captured = sum(one is not None and one.captured for one in workloads)
        if captured == 0:
            _say(f'Service "{self._named(key)}" has no pods in the mesh.  ({len(pods)} pods in service).')
            _say(f"Label its namespace to enrol them: kubectl label namespace {key.namespace} {_ENROL}")
        elif captured < len(pods):
            _say(f"WARNING: {len(pods) - captured} of {len(pods)} pods are not in the mesh")
        self._service(key, obj, [one["metadata"].get("labels") or {} for one in pods], pods[0])
        self._gateways()

    def _pod(self, key: Key, obj: Mapping[str, Any], *, warn: bool) -> None:
        named, spec, status = self._named(key), obj["spec"], obj.get("status") or {}
        labels = obj["metadata"].get("labels") or {}
        ports = [
            f"{port['containerPort']}{facts.not_tcp(port)} ({container['name']})"
            for container in spec["containers"]
            for port in container.get("ports") or ()
        ]
        _say(f"Pod: {named}")
        _say(f"Pod Revision: {labels.get('istio.io/rev', '')}", 1)
        _say(f"Pod Ports: {', '.join(ports)}" if ports else "Pod does not expose ports", 1)
        if status.get("phase") != "Running":
            _say(f"Pod is not Running ({status.get('phase', '')})", 1)
            return
        for kind, field in (("Container", "containerStatuses"), ("Init Container", "initContainerStatuses")):
            for one in status.get(field) or ():
                if not one.get("ready"):
                    _say(f"WARNING: Pod {named} {kind} {one['name']} NOT READY")
        if not warn:
            return
        workload = self._index.mesh.workloads.get(key)
        if workload is None or not (workload.captured or any(c["name"] == "istio-proxy" for c in spec["containers"])):
            _say(f"WARNING: {named} is not part of mesh; it is not in ambient mode, and has no Istio sidecar")
            return
        if workload.captured:
            _say(f"Ambient: ztunnel takes what it sends and gets, as {workload.identity}", 1)
        for label, what in ((facts.NAMED_BY, "name"), (facts.VERSIONED_BY, "revision")):
            if not any(name in labels for name in label):
                _say(f"Suggestion: add required service {what} label for Istio telemetry. See {_REQUIREMENTS}.")

    def _service(
        self, key: Key, obj: Mapping[str, Any], labels: list[Mapping[str, str]], pod: Mapping[str, Any]
    ) -> None:
        index = self._index
        host = index.host(key)
        _say(f"Service: {self._named(key)}")
        for port in obj["spec"].get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                name, number, target = port.get("name", ""), port["port"], facts.target_port(port, pod)
                _say(f"Port: {name} {number}/{facts.protocol(port)} targets pod port {target}", 1)
        shape = index.shapes.get(host)
        service = index.mesh.services.get(host)
        if shape is not None:
            for waypoint, share in service.waypoints if service is not None else ():
                said = "" if share == 100 else f" ({share} % of connections)"
                _say(f"Waypoint: {self._named(waypoint)}{said}", 1)
            if shape.binding.waypoint is None:
                _say(f"No waypoint: {shape.binding.why_none}", 1)
        subsets = self._rules(host, labels)
        self._routes(key, host, subsets)
        self._policies(host, shape.binding.waypoints if shape is not None else ())

    def _rules(self, host: str, labels: list[Mapping[str, str]]) -> dict[str, bool]:
        """The subsets that DestinationRules name, and whether they have one of the pods."""
        from ambientlab.api.kinds import DESTINATIONRULE
        from ambientlab.mesh.index import ObjectRef
        from ambientlab.mesh.index.values import host_matches, host_of

        subsets: dict[str, bool] = {}
        for at, obj in sorted(self._index.sources[DESTINATIONRULE].items()):
            spec = obj["spec"]
            if not host_matches(host_of(spec["host"], at.namespace, self._index.domain), host):
                continue
            _say(f'DestinationRule: {self._named(at)} for "{spec["host"]}"')
            found = {
                subset["name"]: any((subset.get("labels") or {}).items() <= one.items() for one in labels)
                for subset in spec.get("subsets") or ()
            }
            subsets |= found
            for line in (*facts.subsets(found), *facts.traffic_policy(spec.get("trafficPolicy"))):
                _say(line, 1)
            self._without_effect(ObjectRef("DestinationRule", *at), host)
        return subsets

    def _routes(self, key: Key, host: str, subsets: Mapping[str, bool]) -> None:
        from ambientlab.api.kinds import GRPCROUTE, HTTPROUTE, TCPROUTE, TLSROUTE, VIRTUALSERVICE
        from ambientlab.mesh.index import ObjectRef
        from ambientlab.mesh.index.values import host_matches, host_of

        for at, obj in sorted(self._index.sources[VIRTUALSERVICE].items()):
            hosts = obj["spec"].get("hosts") or ()
            if any(host_matches(host_of(one, at.namespace, self._index.domain), host) for one in hosts):
                _say(f"VirtualService: {self._named(at)}")
                for line in facts.virtual_service(obj["spec"], subsets):
                    _say(line, 1)
                self._without_effect(ObjectRef("VirtualService", *at), host)
        for resource in (HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE):
            for at, obj in sorted(self._index.sources[resource].items()):
                if any(facts.is_parent(ref, at, key) for ref in obj["spec"].get("parentRefs") or ()):
                    _say(f"{resource.kind}: {self._named(at)}")
                    for line in facts.route(obj["spec"]):
                        _say(line, 1)
                    self._without_effect(ObjectRef(resource.kind, *at), host)

    def _policies(self, host: str, waypoints: Iterable[Key]) -> None:
        for waypoint in waypoints:
            guard = self._index.mesh.guards.get((waypoint, host))
            names = [f"{policy.action.value} {self._named(policy.key)}" for policy in guard.policies] if guard else []
            if names:
                _say(f"RBAC policies at waypoint {self._named(waypoint)}: {', '.join(names)}")

    def _connections(self, key: Key) -> None:
        """The policies of connections to a pod, if ztunnel is before it."""
        workload = self._index.mesh.workloads.get(key)
        enforced = self._index.mesh.enforced.get(key, ()) if workload is not None and workload.captured else ()
        reader = self._index.graph.reader()
        names = []
        for policy in enforced:
            origin = self._index.security.ztunnel.origin(reader, key, policy.key)
            if origin is not None:
                shown = self._named(Key(origin.namespace, origin.name))
                names.append(f"{policy.action.value} {shown}{_kind(origin)}")
        if names:
            _say(f"RBAC policies at ztunnel: {', '.join(dict.fromkeys(names))}")

    @cached_property
    def _diagnostics(self) -> list[Diagnostic]:
        return self._index.diagnostics()

    def _without_effect(self, ref: ObjectRef, host: str) -> None:
        """What the index says of it that concerns this host."""
        said = [d for d in self._diagnostics if d.object == ref and d.host in ("", host)]
        for text in dict.fromkeys(d.text for d in said if _negative(d.condition, d.reason)):
            _say(f"WARNING: {text}", 1)

    def _peers(self, key: Key, labels: Mapping[str, str]) -> None:
        from ambientlab.api.kinds import PEERAUTHENTICATION
        from ambientlab.mesh.index import peerauthentications
        from ambientlab.mesh.index.selectors import selector_of

        root = self._index.home.root
        peers = [
            peerauthentications.read(at, obj, root)
            for at, obj in sorted(self._index.sources[PEERAUTHENTICATION].items())
            if at.namespace in (root, key.namespace) and selector_of(obj.get("spec") or {}).selects(labels)
        ]
        levels = peerauthentications.deciding(peers)
        modes = [one.mode for one in levels if one is not None and one.mode != peerauthentications.UNSET]
        mode, workload = (modes or [peerauthentications.PERMISSIVE])[-1], levels[-1]
        _say("Effective PeerAuthentication:")
        _say(f"Workload mTLS mode: {mode}", 1)
        if workload is not None and workload.ports:
            _say("Port Level mTLS mode:", 1)
            for port, of_port in workload.ports:
                _say(f"{port}: {of_port}", 2)
        if peers:
            _say("Applied PeerAuthentication:")
            _say(", ".join(f"{peer.key.name}.{peer.key.namespace}" for peer in peers), 1)

    def _gateways(self) -> None:
        from ambientlab.api.kinds import POD

        found = [p for p in self._index.sources[POD].values() if _is_ingress(p)]
        why = "they are not part of this description" if found else "no ingress gateway pods"
        _say(f"Skipping Gateway information ({why})")

    def _named(self, key: Key) -> str:
        return key.name if key.namespace == self._namespace else f"{key.name}.{key.namespace}"


def _kind(origin: ObjectRef) -> str:
    return "" if origin.kind == "AuthorizationPolicy" else f" ({origin.kind})"


def _negative(condition: str, reason: str) -> bool:
    """What is said of an object without its being told that all is well."""
    return not condition or reason not in ("Accepted", "ResolvedRefs", "WaypointAccepted")


def _is_ingress(pod: Mapping[str, Any]) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get("istio") == "ingressgateway")
