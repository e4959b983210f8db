"""DestinationRules, ServiceEntries and Services: hosts, subsets, ports and certificates.

pkg/config/analysis/analyzers/destinationrule, serviceentry and service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ambientlab.api.kinds import DESTINATIONRULE, NODE, POD, SERVICE, SERVICEENTRY
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import EVERYWHERE, Hosts, Item, control_plane, items, scopes, selected
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.index.services import app_protocol
from ambientlab.mesh.ir import AppProtocol

_MANAGED = "gateway.istio.io/managed"
_GATEWAYS = (
    "istio.io-gateway-controller",
    "istio.io-mesh-controller",
    "istio.io-eastwest-controller",
)
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def subsets(index: MeshIndex) -> Iterator[Finding]:
    """That a DestinationRule's host is a service's, and that its subsets have pods anywhere at all."""
    hosts = Hosts(index)
    nodes = {item.ref.name: item.labels for item in items(index, NODE)}
    pods = [_augmented(pod, nodes) for pod in items(index, POD)]
    for rule in items(index, DESTINATIONRULE):
        target = hosts.find(rule.ref.namespace, rule.spec.get("exportTo"), rule.spec["host"])
        if target is None:
            yield codes.UNKNOWN_HOST(rule.ref, rule.spec["host"], field="spec.host")
            continue
        for i, subset in enumerate(rule.spec.get("subsets") or ()):
            wanted = {**target.selector, **(subset.get("labels") or {})}
            if not any(selected(wanted, labels) for labels in pods):
                yield codes.EMPTY_SUBSET(rule.ref, subset["name"], field=f"spec.subsets[{i}]")


def _augmented(pod: Item, nodes: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """With the labels that tell where it is."""
    node = pod.spec.get("nodeName", "")
    where = {name: nodes.get(node, {}).get(name, "") for name in _TOPOLOGY}
    return {**pod.labels, **{k: v for k, v in where.items() if v}, "kubernetes.io/hostname": node}


def certificates(index: MeshIndex) -> Iterator[Finding]:
    """TLS that checks no certificate."""
    for rule in items(index, DESTINATIONRULE):
        policy = rule.spec.get("trafficPolicy") or {}
        mode = _unverified(rule, policy.get("tls"))
        about = (rule.full_name, rule.ref.namespace)
        if mode:
            yield codes.UNVERIFIED(rule.ref, *about, mode, rule.spec["host"], field="spec.trafficPolicy.tls")
        for i, setting in enumerate(policy.get("portLevelSettings") or ()):
            mode = _unverified(rule, setting.get("tls"))
            if mode:
                field = f"spec.trafficPolicy.portLevelSettings[{i}].tls"
                port = f"number:{(setting.get('port') or {}).get('number', 0)}"
                yield codes.UNVERIFIED_PORT(rule.ref, *about, mode, rule.spec["host"], port, field=field)


def _unverified(rule: Item, tls: Mapping[str, Any] | None) -> str:
    """The mode, if it is one in which any certificate passes."""
    mode = (tls or {}).get("mode", "")
    if tls is None or mode not in ("SIMPLE", "MUTUAL") or tls.get("caCertificates"):
        return ""
    return "" if tls.get("credentialName") and rule.spec.get("workloadSelector") else str(mode)


def addresses(index: MeshIndex) -> Iterator[Finding]:
    """TCP by a ServiceEntry that has no address, its own or an allocated one."""
    for entry in items(index, SERVICEENTRY):
        if entry.spec.get("addresses") or (entry.obj.get("status") or {}).get("addresses"):
            continue
        for i, port in enumerate(entry.spec.get("ports") or ()):
            if port.get("protocol", "").upper() in ("", "TCP"):
                yield codes.ADDRESSES_REQUIRED(entry.ref, field=f"spec.ports[{i}]")


def protocols(index: MeshIndex) -> Iterator[Finding]:
    """ServiceEntries of one host and port that disagree."""
    found: dict[tuple[str, str, int], list[tuple[str, Item]]] = defaultdict(list)
    for entry in items(index, SERVICEENTRY):
        for scope in scopes(entry.spec.get("exportTo"), entry.ref.namespace):
            for host in entry.spec.get("hosts") or ():
                for port in entry.spec.get("ports") or ():
                    found[(scope, host, port["number"])].append((port.get("protocol", "").upper(), entry))
    reported = set()
    for (scope, host, number), some in sorted(found.items()):
        all_ = some if scope == EVERYWHERE else [*some, *found.get((EVERYWHERE, host, number), ())]
        kinds = sorted({protocol for protocol, _ in all_})
        if len(kinds) < 2:
            continue
        names = ", ".join(sorted({entry.full_name for _, entry in all_}))
        for _, entry in all_:
            if entry.ref not in reported:
                reported.add(entry.ref)
                yield codes.CONFLICTING_PROTOCOLS(entry.ref, names, host, number, ", ".join(kinds), field="spec.ports")


def port_names(index: MeshIndex) -> Iterator[Finding]:
    for service in items(index, SERVICE):
        if control_plane(service) or service.labels.get(_MANAGED) in _GATEWAYS:
            continue
        external = service.spec.get("type") == "ExternalName"
        for i, port in enumerate(service.spec.get("ports") or ()):
            name = port.get("name", "")
            says = port.get("protocol", "TCP") == "UDP" or app_protocol(port) is not AppProtocol.UNDECLARED
            if says and not (external and name == "tcp"):
                continue
            field = f"spec.ports[{i}]"
            if external:
                yield codes.EXTERNAL_NAME(service.ref, field=field)
            else:
                yield codes.PORT_NAME(service.ref, name, port["port"], port.get("targetPort", 0), field=field)
