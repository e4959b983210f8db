"""Status of Gateways (pilot/pkg/config/kube/gateway/conversion.go, reportGatewayStatus)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.waypoints import HBONE_PORT
from ambientlab.mesh.ir import Service
from ambientlab.mesh.status.conditions import Condition, merge

NO_INGRESS = (
    "ambientlab runs waypoints (gatewayClassName istio-waypoint) and no ingress or egress gateways: "
    "nothing listens for this Gateway"
)
_FINE = "No errors found"


def gateway_status(obj: Object, host: str, service: Service | None, now: datetime) -> Object:
    """`service` is the one at `host` in front of the waypoint's instances, if there is one yet.

    An address, once reported, is never taken back: traffic keeps going to the waypoint while it restarts.
    """
    status: dict[str, Any] = dict(obj.get("status") or {})
    generation = obj["metadata"].get("generation", 1)
    listeners = obj["spec"].get("listeners") or []
    internal, warnings, usable = _resolve(host, service, [listener["port"] for listener in listeners])
    accepted = Condition("Accepted", True, "Accepted", "Resource accepted")
    status["conditions"] = merge(
        status.get("conditions") or [], [accepted, _programmed(internal, warnings, usable)], generation, now
    )
    if internal and service is not None:
        addresses = [{"type": "IPAddress", "value": vip} for vip in service.vips]
        status["addresses"] = [*addresses, {"type": "Hostname", "value": host}]
    before = {entry["name"]: entry for entry in status.get("listeners") or []}
    status["listeners"] = [_listener(item, before.get(item["name"]) or {}, generation, now) for item in listeners]
    return status


def ingress_status(obj: Object, now: datetime) -> Object:
    """Of a class that Istio deploys a gateway for at the edge of the mesh."""
    status: dict[str, Any] = dict(obj.get("status") or {})
    wanted = [Condition(type_, False, "Unsupported", NO_INGRESS) for type_ in ("Accepted", "Programmed")]
    generation = obj["metadata"].get("generation", 1)
    status["conditions"] = merge(status.get("conditions") or [], wanted, generation, now)
    return status


def _resolve(host: str, service: Service | None, ports: list[int]) -> tuple[list[str], list[str], bool]:
    """The addresses that serve, what is wrong with those that do not, and whether that can mend itself."""
    if service is None:
        return [], [f'hostname "{host}" not found'], False
    internal, warnings, usable = [], [], True
    for port in ports:
        if any(endpoint.target(port) for endpoint in service.endpoints):
            internal.append(f"{host}:{port}")
        elif service.endpoints:
            warnings.append(f'port {port} not found for hostname "{host}"')
            usable = False
        else:
            warnings.append(f'no instances found for hostname "{host}"')
    return internal, warnings, usable


def _programmed(internal: list[str], warnings: list[str], usable: bool) -> Condition:
    if not warnings:
        message = (
            f"Resource programmed, assigned to service(s) {_join(internal)}" if internal else "Resource programmed"
        )
        return Condition("Programmed", True, "Programmed", message)
    reason = "AddressNotAssigned" if usable else "AddressNotUsable"
    problems = "; ".join(warnings)
    if internal:
        message = (
            f"Assigned to service(s) {_join(internal)}, but failed to assign to all requested addresses: {problems}"
        )
    else:
        message = f"Failed to assign to any requested addresses: {problems}"
    return Condition("Programmed", False, reason, message)


def _listener(item: Mapping[str, Any], before: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """A waypoint's routes are attached to Services, so that its listener has none and supports no kinds."""
    accepted = Condition("Accepted", True, "Accepted", _FINE)
    if item["port"] != HBONE_PORT or item["protocol"] != "HBONE":
        message = f'Expected a single listener on port {HBONE_PORT} with protocol "HBONE"'
        accepted = Condition("Accepted", False, "UnsupportedProtocol", message)
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs", _FINE)
    if (item.get("allowedRoutes") or {}).get("kinds"):
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
        "supportedKinds": [],
        "conditions": merge(before.get("conditions") or [], wanted, generation, now),
    }


def _join(names: list[str]) -> str:
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"
