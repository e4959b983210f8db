"""STRICT, and who is shut out by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ambientlab.api.kinds import GATEWAY_NAME_LABEL, NAMESPACE, POD
from ambientlab.api.objects import annotations_of
from ambientlab.mesh.analysis import codes
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.naming import names
from ambientlab.mesh.enrolment import EXCLUDED_NAMESPACES, SIDECAR_STATUS, should_capture
from ambientlab.mesh.explain import remedies
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.peerauthentications import static_strict
from ambientlab.mesh.ir import Key, Protocol, Workload

_MOST_CAPTURED = 3


def analyse(index: MeshIndex) -> Iterator[Finding]:
    outsiders = [workload for _, workload in sorted(index.workloads.items()) if _outside(index, workload)]
    if not outsiders:
        return
    for ref, pods in sorted(_strict(index).items()):
        message = (
            f"{names(w.key for w in outsiders)} cannot connect to {names(sorted(pods))}: they are not in the mesh, and"
            " have no mutual TLS"
        )
        one_each = {workload.namespace: workload for workload in reversed(outsiders)}
        cures = [remedies.capture(index, workload.key) for _, workload in sorted(one_each.items())]
        yield Finding(codes.STRICT_OUTSIDERS, ref, message, "spec", tuple(cures[:_MOST_CAPTURED]))


def _strict(index: MeshIndex) -> Mapping[ObjectRef, list[Key]]:
    """Pods of which ztunnel takes nothing but tunnels, by the PeerAuthentication that says so."""
    strict = static_strict(index.home.root)
    found: dict[ObjectRef, list[Key]] = {}
    for key, policies in index.mesh.enforced.items():
        workload = index.workloads.get(key)
        if strict in policies and workload is not None and workload.protocol is Protocol.HBONE:
            ref = index.security.ztunnel.origin(index.graph.reader(), key, strict.key)
            if ref is not None:
                found.setdefault(ref, []).append(key)
    return found


def _outside(index: MeshIndex, workload: Workload) -> bool:
    """Pods of people's own that may be clients: neither parts of Kubernetes or the mesh, nor gateways, which have
    identities of their own. Nor those that are on their way into the mesh: what keeps them from connecting ends by
    itself, and is not STRICT."""
    pod = index.sources[POD][workload.key]
    home = index.sources[NAMESPACE].get(Key("", workload.namespace))
    return (
        workload.protocol is Protocol.TCP
        and workload.namespace not in {index.home.root, index.home.config.namespace, *EXCLUDED_NAMESPACES}
        and GATEWAY_NAME_LABEL not in dict(workload.labels)
        and SIDECAR_STATUS not in annotations_of(pod)
        and not should_capture(pod, home)
    )
