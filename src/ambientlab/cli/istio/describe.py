"""`istioctl x describe`: a pod or a Service, and the objects that have a part in its traffic.

istioctl's own (istioctl/pkg/describe) reads that off a sidecar's Envoy and gives up in ambient mode. The headings here
are its; what decides is told by the index instead, waypoints included, and what has no effect with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli import reading
from ambientlab.cli.istio.command import Cluster, Group
from ambientlab.mesh.ir import Key

if TYPE_CHECKING:
    from ambientlab.mesh.index import ObjectRef

_RULE = "-" * 20
_REQUIREMENTS = "https://istio.io/v1.31/docs/ops/deployment/application-requirements/"
_NAMED_BY = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_VERSIONED_BY = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_LEVEL = "   "


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
            click.echo(f"Warning: No Kubernetes Services select pod {self._named(key)} (see {_REQUIREMENTS} )")
        click.echo(_RULE)
        for row, (at, one) in enumerate(services):
            if row:
                click.echo(_RULE)
            self._service(at, one, [labels], obj)
        self._connections(key)
        click.echo(_RULE)
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
            click.echo(f'Service "{self._named(key)}" has no pods.')
            return
        workloads = [self._index.mesh.workloads.get(Key(key.namespace, one["metadata"]["name"])) for one in pods]
        captured = sum(one is not None and one.captured for one in workloads)
        if captured == 0:
            click.echo(f'Service "{self._named(key)}" has no pods in the mesh.  ({len(pods)} pods in service).')
            click.echo(f"Label its namespace to enrol them: kubectl label namespace {key.namespace} {_ENROL}")
        elif captured < len(pods):
            click.echo(f"WARNING: {len(pods) - captured} of {len(pods)} pods are not in the mesh")
        self._service(key, obj, [one["metadata"].get("labels") or {} for one in pods], pods[0])
        self._gateways()

    def _pod(self, key: Key, obj: Mapping[str, Any], *, warn: bool) -> None:
        named, spec, status = self._named(key), obj["spec"], obj.get("status") or {}
        labels = obj["metadata"].get("labels") or {}
        ports = [
            f"{port['containerPort']}{_not_tcp(port)} ({container['name']})"
            for container in spec["containers"]
            for port in container.get("ports") or ()
        ]
        click.echo(f"Pod: {named}")
        click.echo(f"{_LEVEL}Pod Revision: {labels.get('istio.io/rev', '')}")
        click.echo(_LEVEL + (f"Pod Ports: {', '.join(ports)}" if ports else "Pod does not expose ports"))
        if status.get("phase") != "Running":
            click.echo(f"{_LEVEL}Pod is not Running ({status.get('phase', '')})")
            return
        for kind, field in (("Container", "containerStatuses"), ("Init Container", "initContainerStatuses")):
            for one in status.get(field) or ():
                if not one.get("ready"):
                    click.echo(f"WARNING: Pod {named} {kind} {one['name']} NOT READY")
        if not warn:
            return
        workload = self._index.mesh.workloads.get(key)
        if workload is None or not (workload.captured or any(c["name"] == "istio-proxy" for c in spec["containers"])):
            click.echo(f"WARNING: {named} is not part of mesh; it is not in ambient mode, and has no Istio sidecar")
            return
        if workload.captured:
            click.echo(f"{_LEVEL}Ambient: ztunnel takes what it sends and gets, as {workload.identity}")
        for label, what in ((_NAMED_BY, "name"), (_VERSIONED_BY, "revision")):
            if not any(name in labels for name in label):
                click.echo(f"Suggestion: add required service {what} label for Istio telemetry. See {_REQUIREMENTS}.")

    def _service(
        self, key: Key, obj: Mapping[str, Any], labels: list[Mapping[str, str]], pod: Mapping[str, Any]
    ) -> None:
        index = self._index
        host = index.host(key)
        click.echo(f"Service: {self._named(key)}")
        for port in obj["spec"].get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                name, number, target = port.get("name", ""), port["port"], _target(port, pod)
                click.echo(f"{_LEVEL}Port: {name} {number}/{_protocol(port)} targets pod port {target}")
        shape = index.shapes.get(host)
        service = index.mesh.services.get(host)
        if shape is not None:
            for waypoint, share in service.waypoints if service is not None else ():
                said = "" if share == 100 else f" ({share} % of connections)"
                click.echo(f"{_LEVEL}Waypoint: {self._named(waypoint)}{said}")
            if shape.binding.waypoint is None:
                click.echo(f"{_LEVEL}No waypoint: {shape.binding.why_none}")
        subsets = self._rules(key, host, labels)
        self._routes(key, host, labels, subsets)
        self._policies(host, shape.binding.waypoints if shape is not None else ())

    def _rules(self, key: Key, host: str, labels: list[Mapping[str, str]]) -> dict[str, bool]:
        """The subsets that DestinationRules name, and whether they have one of the pods."""
        from ambientlab.api.kinds import DESTINATIONRULE
        from ambientlab.mesh.index import ObjectRef
        from ambientlab.mesh.index.values import host_matches, host_of

        subsets: dict[str, bool] = {}
        for at, obj in sorted(self._index.sources[DESTINATIONRULE].items()):
            spec = obj["spec"]
            if not host_matches(host_of(spec["host"], at.namespace, self._index.domain), host):
                continue
            click.echo(f'DestinationRule: {self._named(at)} for "{spec["host"]}"')
            found = {
                subset["name"]: any((subset.get("labels") or {}).items() <= one.items() for one in labels)
                for subset in spec.get("subsets") or ()
            }
            _subsets(found)
            subsets |= found
            _traffic_policy(spec.get("trafficPolicy"))
            self._without_effect(ObjectRef("DestinationRule", *at), host)
        return subsets

    def _routes(self, key: Key, host: str, labels: list[Mapping[str, str]], subsets: Mapping[str, bool]) -> None:
        from ambientlab.api.kinds import GRPCROUTE, HTTPROUTE, TCPROUTE, TLSROUTE, VIRTUALSERVICE
        from ambientlab.mesh.index import ObjectRef
        from ambientlab.mesh.index.values import host_matches, host_of

        for at, obj in sorted(self._index.sources[VIRTUALSERVICE].items()):
            hosts = obj["spec"].get("hosts") or ()
            if any(host_matches(host_of(one, at.namespace, self._index.domain), host) for one in hosts):
                click.echo(f"VirtualService: {self._named(at)}")
                for line in _facts(obj["spec"], subsets):
                    click.echo(f"{_LEVEL}{line}")
                self._without_effect(ObjectRef("VirtualService", *at), host)
        for resource in (HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE):
            for at, obj in sorted(self._index.sources[resource].items()):
                if any(_is_parent(ref, at, key) for ref in obj["spec"].get("parentRefs") or ()):
                    click.echo(f"{resource.kind}: {self._named(at)}")
                    for line in _backends(obj["spec"]):
                        click.echo(f"{_LEVEL}{line}")
                    self._without_effect(ObjectRef(resource.kind, *at), host)

    def _policies(self, host: str, waypoints: Iterable[Key]) -> None:
        for waypoint in waypoints:
            guard = self._index.mesh.guards.get((waypoint, host))
            names = [f"{policy.action.value} {self._named(policy.key)}" for policy in guard.policies] if guard else []
            if names:
                click.echo(f"RBAC policies at waypoint {self._named(waypoint)}: {', '.join(names)}")

    def _connections(self, key: Key) -> None:
        enforced = self._index.mesh.enforced.get(key) or ()
        reader = self._index.graph.reader()
        names = []
        for policy in enforced:
            origin = self._index.security.ztunnel.origin(reader, key, policy.key)
            if origin is not None:
                shown = self._named(Key(origin.namespace, origin.name))
                names.append(f"{policy.action.value} {shown}{_kind(origin)}")
        if names:
            click.echo(f"RBAC policies at ztunnel: {', '.join(dict.fromkeys(names))}")

    def _without_effect(self, ref: ObjectRef, host: str) -> None:
        """What the index says of it that concerns this host."""
        said = [d for d in self._index.diagnostics() if d.object == ref and d.host in ("", host)]
        for text in dict.fromkeys(d.text for d in said if _negative(d.condition, d.reason)):
            click.echo(f"{_LEVEL}WARNING: {text}")

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
        levels = [
            [p for p in peers if p.wide and p.of_root],
            [p for p in peers if p.wide and not p.of_root],
            [p for p in peers if not p.wide and not p.of_root],
        ]
        mode = "PERMISSIVE"
        for level in levels:
            first = peerauthentications.oldest(level)
            if first is not None and first.mode != peerauthentications.UNSET:
                mode = first.mode
        click.echo("Effective PeerAuthentication:")
        click.echo(f"{_LEVEL}Workload mTLS mode: {mode}")
        workload = peerauthentications.oldest(levels[2])
        if workload is not None and workload.ports:
            click.echo(f"{_LEVEL}Port Level mTLS mode:")
            for port, of_port in workload.ports:
                click.echo(f"{_LEVEL * 2}{port}: {of_port}")
        if peers:
            click.echo("Applied PeerAuthentication:")
            click.echo(_LEVEL + ", ".join(f"{peer.key.name}.{peer.key.namespace}" for peer in peers))

    def _gateways(self) -> None:
        from ambientlab.api.kinds import POD

        found = [p for p in self._index.sources[POD].values() if _is_ingress(p)]
        why = "they are not part of this description" if found else "no ingress gateway pods"
        click.echo(f"Skipping Gateway information ({why})")

    def _named(self, key: Key) -> str:
        return key.name if key.namespace == self._namespace else f"{key.name}.{key.namespace}"


_ENROL = "istio.io/dataplane-mode=ambient"


def _kind(origin: ObjectRef) -> str:
    return "" if origin.kind == "AuthorizationPolicy" else f" ({origin.kind})"


def _negative(condition: str, reason: str) -> bool:
    """What is said of an object without its being told that all is well."""
    return not condition or reason not in ("Accepted", "ResolvedRefs", "WaypointAccepted")


def _is_ingress(pod: Mapping[str, Any]) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get("istio") == "ingressgateway")


def _not_tcp(port: Mapping[str, Any]) -> str:
    protocol = port.get("protocol", "TCP")
    return "" if protocol == "TCP" else f"/{protocol}"


def _target(port: Mapping[str, Any], pod: Mapping[str, Any]) -> Any:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for one in container.get("ports") or ():
            if one.get("name") == target:
                return one["containerPort"]
    return target


def _protocol(port: Mapping[str, Any]) -> str:
    from ambientlab.mesh.index.services import app_protocol
    from ambientlab.mesh.ir import AppProtocol

    found = app_protocol(port)
    if found is AppProtocol.UNDECLARED:
        return "auto-detect" if not (port.get("name") or port.get("appProtocol")) else "UnsupportedProtocol"
    return str(found.value).upper()


def _subsets(found: Mapping[str, bool]) -> None:
    if not found:
        return
    matching = [name for name, has in found.items() if has]
    others = [name for name, has in found.items() if not has]
    if not matching:
        words = f"WARNING POD DOES NOT MATCH ANY SUBSETS.  (Non matching subsets {','.join(others)})"
        click.echo(f"{_LEVEL}{words}")
    click.echo(f"{_LEVEL}Matching subsets: {','.join(matching)}")
    if others:
        click.echo(f"{_LEVEL * 2}(Non-matching subsets {','.join(others)})")


_SHORT: Mapping[str, str] = {
    "loadBalancer": "load balancer",
    "connectionPool": "connection pool",
    "outlierDetection": "outlier detection",
}


def _traffic_policy(policy: Mapping[str, Any] | None) -> None:
    if policy is None:
        click.echo(f"{_LEVEL}No Traffic Policy")
        return
    if policy.get("tls"):
        click.echo(f"{_LEVEL}Traffic Policy TLS Mode: {policy['tls'].get('mode', 'DISABLE')}")
    if words := [word for name, word in _SHORT.items() if policy.get(name)]:
        click.echo(f"{_LEVEL}Policies: {'/'.join(words)}")
    if policy.get("portLevelSettings"):
        click.echo(f"{_LEVEL}Port Level Settings:")
        for one in policy["portLevelSettings"]:
            click.echo(f"{_LEVEL * 2}{one['port']['number']}:")
            if one.get("tls"):
                click.echo(f"{_LEVEL * 3}TLS Mode: {one['tls'].get('mode', 'DISABLE')}")
            if words := [word for name, word in _SHORT.items() if one.get(name)]:
                click.echo(f"{_LEVEL * 3}Policies: {'/'.join(words)}")


def _facts(spec: Mapping[str, Any], subsets: Mapping[str, bool]) -> Iterator[str]:
    """What a VirtualService's rules do, in order."""
    for rule in spec.get("http") or ():
        for route in rule.get("route") or ():
            to, subset = route["destination"], route["destination"].get("subset")
            if subset and subset not in subsets:
                yield f"WARNING: Route to subset {subset} but NO DESTINATION RULE defining subsets!"
                continue
            weight = route.get("weight", 100 if len(rule["route"]) == 1 else 0)
            of_subset = f' subset "{subset}"' if subset else ""
            yield f'Route to host "{to["host"]}"{of_subset} with weight {weight}%'
        conditions = [_match(one) for one in rule.get("match") or ()]
        if rule.get("fault"):
            conditions.insert(0, f"Fault injection {', '.join(sorted(rule['fault']))}")
        if conditions:
            yield ", ".join(conditions)
    for protocol in ("tls", "tcp"):
        if spec.get(protocol):
            yield f"{len(spec[protocol])} {protocol.upper()} route(s)"


def _match(match: Mapping[str, Any]) -> str:
    text = "Match: " + _string(match.get("uri"))
    if headers := match.get("headers"):
        text += " when headers are " + "; ".join(f"{name}={_string(value)}" for name, value in headers.items())
    return text.strip()


def _string(match: Mapping[str, str] | None) -> str:
    if not match:
        return ""
    [(kind, value)] = list(match.items())[:1]
    return {"exact": value, "prefix": f"{value}*"}.get(kind, f"{kind}:{value}")


def _is_parent(ref: Mapping[str, Any], route: Key, service: Key) -> bool:
    where = Key(ref.get("namespace", route.namespace), ref["name"])
    return ref.get("kind", "Gateway") == "Service" and ref.get("group", "") in ("", "core") and where == service


def _backends(spec: Mapping[str, Any]) -> Iterator[str]:
    for rule in spec.get("rules") or ():
        refs = rule.get("backendRefs") or ()
        total = sum(ref.get("weight", 1) for ref in refs)
        for ref in refs:
            share = 100 * ref.get("weight", 1) / total if total else 0
            yield f'Route to {ref.get("kind", "Service")} "{ref["name"]}" port {ref.get("port", "")} with {share:g}%'
        if rule.get("filters"):
            yield f"Filters: {', '.join(one['type'] for one in rule['filters'])}"
        if paths := [_path(one) for one in rule.get("matches") or ()]:
            yield ", ".join(paths)


def _path(match: Mapping[str, Any]) -> str:
    path = match.get("path") or {}
    text = f"Match: {path.get('value', '')}{'*' if path.get('type') == 'PathPrefix' else ''}"
    if headers := match.get("headers"):
        text += " when headers are " + "; ".join(f"{one['name']}={one['value']}" for one in headers)
    return text.strip()


Render = Callable[[], None]
