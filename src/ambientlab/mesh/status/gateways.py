"""Status of Gateways (pilot/pkg/config/kube/gateway/conversion.go, reportGatewayStatus)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ambientlab.api.kinds import GATEWAY_GROUP
from ambientlab.api.objects import Object, annotations_of
from ambientlab.cluster import HBONE_PORT
from ambientlab.mesh.index.diagnostics import ACCEPTED, Diagnostic
from ambientlab.mesh.index.gatewayobjects import Place
from ambientlab.mesh.ir import Service
from ambientlab.mesh.status import findings
from ambientlab.mesh.status.conditions import Condition, merge

NO_INGRESS = (
    "ambientlab runs waypoints (gatewayClassName istio-waypoint) and no ingress or egress gateways: "
    "nothing listens for this Gateway"
)
_FINE = "No errors found"
_NOWHERE = Condition("Programmed", False, "UnsupportedAddress", "Failed to assign to any requested addresses")
_ADDRESS_TYPE = "networking.istio.io/address-type"
_PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TCP": ("TCPRoute",),
    "TLS": ("TLSRoute",),
    "HBONE": (),
}
"""The protocols that Istio knows, and the kinds of routes that go with them (generateGatewaySupportedKinds)."""


def gateway_status(
    obj: Object, place: Place, services: Sequence[Service | None], found: Sequence[Diagnostic], now: datetime
) -> Object:
    """`services` are those of `place`, as far as they are there; `found` is what the index has to say.

    An address, once reported, is never taken back: traffic keeps going to the waypoint while it restarts.
    """
    status: dict[str, Any] = dict(obj.get("status") or {})
    generation = obj["metadata"].get("generation", 1)
    listeners = obj["spec"].get("listeners") or []
    resolved = _resolve(place, services, [listener["port"] for listener in listeners])
    unsaid = findings.conditions([one for one in found if not one.condition])
    wanted = [
        _accepted(place, listeners, found),
        _programmed(resolved) if place.hosts else _NOWHERE,
        Condition("ResolvedRefs", True, "ResolvedRefs", "All references resolved"),
        *unsaid,
    ]
    current = findings.without_resolved(status.get("conditions") or [], unsaid)
    status["conditions"] = merge(current, wanted, generation, now)
    if resolved.serving:
        status["addresses"] = _addresses(annotations_of(obj).get(_ADDRESS_TYPE, ""), services, resolved)
    before = {entry["name"]: entry for entry in status.get("listeners") or []}
    status["listeners"] = [_listener(item, before.get(item["name"]) or {}, generation, now) for item in listeners]
    return status


def _accepted(place: Place, listeners: Sequence[Mapping[str, Any]], found: Sequence[Diagnostic]) -> Condition:
    if place.wrong:
        message = f"only Hostname is supported, ignoring [{' '.join(place.wrong)}]"
        return Condition("Accepted", False, "UnsupportedAddress", message)
    if refused := next((one for one in found if one.condition == ACCEPTED), None):
        return Condition("Accepted", False, refused.reason, refused.message)
    valid = sum(listener["protocol"] in _PROTOCOLS for listener in listeners)
    if not valid and listeners:
        return Condition("Accepted", False, "ListenersNotValid", "None of the Gateway's listeners are valid")
    if valid < len(listeners):
        message = "One or more of the Gateway's listeners are invalid"
        return Condition("Accepted", True, "ListenersNotValid", message)
    return Condition("Accepted", True, "Accepted", "Resource accepted")


def _addresses(kind: str, services: Sequence[Service | None], resolved: _Resolved) -> list[dict[str, str]]:
    """`kind` narrows them to one type, "" does not."""
    hosts = dict.fromkeys(assigned.rpartition(":")[0] for assigned in resolved.serving)
    vips = [vip for service in services if service is not None and service.host in hosts for vip in service.vips]
    ips = [{"type": "IPAddress", "value": vip} for vip in vips if kind != "Hostname"]
    return [*ips, *({"type": "Hostname", "value": host} for host in hosts if kind != "IPAddress")]


def ingress_status(obj: Object, now: datetime) -> Object:
    """Of a class that Istio deploys a gateway for at the edge of the mesh."""
    status: dict[str, Any] = dict(obj.get("status") or {})
    wanted = [Condition(type_, False, "Unsupported", NO_INGRESS) for type_ in ("Accepted", "Programmed")]
    generation = obj["metadata"].get("generation", 1)
    status["conditions"] = merge(status.get("conditions") or [], wanted, generation, now)
    return status


@dataclass(slots=True)
class _Resolved:
    """The addresses that serve, what is wrong with those that do not, and whether that can mend itself."""

    serving: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    usable: bool = True


def _resolve(place: Place, services: Sequence[Service | None], ports: Sequence[int]) -> _Resolved:
    result = _Resolved()
    for host, service in zip(place.hosts, services, strict=True):
        if service is None:
            result.warnings.append(f'hostname "{host}" not found')
            result.usable = False
            continue
        for port in ports:
            if any(endpoint.target(port) for endpoint in service.endpoints):
                result.serving.append(f"{host}:{port}")
            elif service.endpoints:
                result.warnings.append(f'port {port} not found for hostname "{host}"')
                result.usable = False
            else:
                result.warnings.append(f'no instances found for hostname "{host}"')
    return result


def _programmed(resolved: _Resolved) -> Condition:
    serving, warnings = resolved.serving, resolved.warnings
    if not warnings:
        message = f"Resource programmed, assigned to service(s) {_join(serving)}" if serving else "Resource programmed"
        return Condition("Programmed", True, "Programmed", message)
    reason = "AddressNotAssigned" if resolved.usable else "AddressNotUsable"
    problems = "; ".join(warnings)
    if serving:
        message = (
            f"Assigned to service(s) {_join(serving)}, but failed to assign to all requested addresses: {problems}"
        )
    else:
        message = f"Failed to assign to any requested addresses: {problems}"
    return Condition("Programmed", False, reason, message)


def _listener(item: Mapping[str, Any], before: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """A waypoint's routes are attached to Services, so that its listener has none; that for HBONE supports no kinds."""
    accepted = Condition("Accepted", True, "Accepted", _FINE)
    if item["port"] != HBONE_PORT or item["protocol"] != "HBONE":
        message = f'Expected a single listener on port {HBONE_PORT} with protocol "HBONE"'
        accepted = Condition("Accepted", False, "UnsupportedProtocol", message)
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs", _FINE)
    supported = [{"group": GATEWAY_GROUP, "kind": kind} for kind in _PROTOCOLS.get(item["protocol"], ())]
    if allowed := (item.get("allowedRoutes") or {}).get("kinds"):
        asked = [(kind.get("group", GATEWAY_GROUP), kind["kind"]) for kind in allowed]
        supported = [kind for kind in supported if (kind["group"], kind["kind"]) in asked]
    if allowed and len(supported) != len(allowed):
        resolved = Condition("ResolvedRefs", False, "InvalidRouteKinds", "Invalid route kinds")
    wanted = [
        accepted,
        Condition("Conflicted", False, "NoConflicts", _FINE),
        Condition("Programmed", True, "Programmed", _FINE),
        resolved,
    ]
    return {
        "name": item["name"],
        "attachedRoutes": 0,
        "supportedKinds": supported,
        "conditions": merge(before.get("conditions") or [], wanted, generation, now),
    }


def _join(names: list[str]) -> str:
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"
