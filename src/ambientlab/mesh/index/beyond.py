"""What ServiceEntries name and a mesh of ambientlab cannot reach: it has no way out of its machine.

On any other cluster there is one, so that nothing is said there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ambientlab.api.kinds import NAMESPACE, NODE, SERVICEENTRY
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import HOST_NAME, NODE_NAME, POD_CIDR, POD_CIDR_6, RUNTIME, SERVICE_CIDR, SERVICE_CIDR_6
from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, unsupported
from ambientlab.mesh.index.serviceentries import KIND, resolution_of
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.values import Addresses, host_matches, service_host
from ambientlab.mesh.ir import Key, Resolution

_NETWORKS = tuple(map(ipaddress.ip_network, (POD_CIDR, POD_CIDR_6, SERVICE_CIDR, SERVICE_CIDR_6)))
_NODE = Key("", NODE_NAME)


class Beyond:
    """`findings` of each ServiceEntry; `holds` says it of any address or name."""

    def __init__(
        self,
        graph: Graph,
        sources: Mapping[Resource, Source[Key, Object]],
        shapes: Collection[str, Shape],
        domain: str,
        known: Addresses,
    ) -> None:
        self._namespaces, self._shapes = sources[NAMESPACE], shapes
        self._domain, self._known = domain, known
        self._own: Collection[Key, bool] = graph.derive("nodes of ambientlab", sources[NODE], _own)
        self.findings: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "what ServiceEntries name beyond the machine", sources[SERVICEENTRY], self._found
        )

    def holds(self, ctx: Context, name: str, namespace: str) -> bool:
        """Whether nothing leads to what is called so in a namespace."""
        return ctx.fetch(self._own, _NODE) is not None and not self._reached(ctx, name, namespace)

    def _found(self, ctx: Context, key: Key, obj: Object) -> Mapping[Key, tuple[Diagnostic, ...]]:
        ref = ObjectRef(KIND, key.namespace, key.name)
        notes = []
        for field, name, host in _named(obj):
            if self.holds(ctx, name, key.namespace):
                why = f"nothing leads to {name}, out of this machine; an endpoint at {HOST_NAME} is a server on it"
                notes.append(replace(unsupported(ref, field, why), host=host))
        return {key: tuple(notes)} if notes else {}

    def _reached(self, ctx: Context, name: str, namespace: str) -> bool:
        """A name may be a service's, or a pod's of it, that a pod's search domains complete."""
        if (single := self._known.single(name)) is not None:
            address = ipaddress.ip_address(single)
            return address.is_loopback or any(address in network for network in _NETWORKS)
        name = name.rstrip(".").lower()
        last = name.rpartition(".")[2]
        return (
            last in (name, "svc")
            or name.endswith(f".{self._domain}")
            or host_matches(name, HOST_NAME)
            or ctx.fetch(self._namespaces, Key("", last)) is not None
            or ctx.fetch(self._shapes, service_host(Key(namespace, last), self._domain)) is not None
        )


def _own(_: Context, key: Key, node: Object) -> Mapping[Key, bool]:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return {key: True} if str(info.get("containerRuntimeVersion") or "").startswith(RUNTIME) else {}


def _named(obj: Object) -> Iterator[tuple[str, str, str]]:
    """(path, what is called there, host that it is for, if for one alone)."""
    spec, resolution = obj["spec"], resolution_of(obj)
    endpoints = spec.get("endpoints") or []
    if resolution is Resolution.NONE or spec.get("workloadSelector") is not None:
        return
    if resolution is Resolution.DYNAMIC_DNS or (resolution.by_name and not endpoints):
        yield from ((f"spec.hosts[{i}]", host, host) for i, host in enumerate(spec["hosts"]))
        return
    for i, endpoint in enumerate(endpoints):
        address = endpoint.get("address") or ""
        if address and not address.startswith("unix:"):
            yield f"spec.endpoints[{i}].address", address, ""
