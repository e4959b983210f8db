"""Cluster IPs and node ports: handed out here, remembered by the Services that hold them.

kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation: dynamic addresses come at random from the upper
part of the range first, so that explicit ones, usually low, seldom collide.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Sequence

from ambientlab.api.endpoints import vips
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.kinds import SERVICE
from ambientlab.api.objects import Object, name
from ambientlab.apiserver import families
from ambientlab.apiserver.families import IPV4, IPV6
from ambientlab.apiserver.refusals import invalid
from ambientlab.cluster import SERVICE_CIDR, SERVICE_CIDR_6

_NETWORKS = {IPV4: ipaddress.ip_network(SERVICE_CIDR), IPV6: ipaddress.ip_network(SERVICE_CIDR_6)}
NODE_PORTS = range(30000, 32768)
# min(max(16, size / 16), 256), the size of the band kept for explicit addresses.
_BAND = 256


def inherit(service: Object, old: Object) -> None:
    """An update that leaves addresses out keeps those the Service has, in place (patchAllocatedValues)."""
    spec, before = service.setdefault("spec", {}), old["spec"]
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if spec.get("clusterIP") == before.get("clusterIP"):
        if not spec.get("clusterIPs") and before.get("clusterIPs"):
            spec["clusterIPs"] = before["clusterIPs"]
    elif spec.get("clusterIPs") == before.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]  # by a client that knows of one


class Addresses:
    """Both allocators. `taken` state is rebuilt from the Services at start, and follows the store. `configured` are the
    families of the cluster, the default one first."""

    def __init__(self, chooser: random.Random | None = None, configured: Sequence[str] = (IPV4,)) -> None:
        self._random = chooser or random.SystemRandom()
        self._configured = configured
        self._ips: set[str] = set()
        self._ports: set[int] = set()

    def rebuild(self, services: Iterable[Object]) -> None:
        self._ips.clear()
        self._ports.clear()
        for service in services:
            self.hold(service)

    def hold(self, service: Object) -> None:
        self._ips.update(_ips(service))
        self._ports.update(_node_ports(service))

    def release(self, service: Object, successor: Object | None = None) -> None:
        self._ips.difference_update(_ips(service))
        self._ports.difference_update(_node_ports(service))
        if successor is not None:
            self.hold(successor)

    def allocate(self, service: Object, old: Object | None = None) -> None:
        """Fill in `service`'s addresses and ports, in place. Raises 422 for one that is taken, out of range or of a
        family that the cluster does not have.

        Nothing is held yet: that is for whoever stores the Service.
        """
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        families.settle(service, old, self._configured)
        self._allocate_ips(service, old)
        unwanted = spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False
        if spec.get("type") in ("NodePort", "LoadBalancer") and not unwanted:
            self._allocate_ports(service, old)

    def _allocate_ips(self, service: Object, old: Object | None) -> None:
        spec = service["spec"]
        if spec.get("clusterIP") == "None":
            spec["clusterIPs"] = ["None"]
            return
        held = _ips(old) if old else set()
        given = spec.get("clusterIPs") or ()
        ips = []
        for index, family in enumerate(spec["ipFamilies"]):
            wanted = given[index] if index < len(given) else ""
            if not wanted:
                wanted = self._free_ip(family)
            elif str(ipaddress.ip_address(wanted)) not in held:
                self._check_ip(service, wanted, family)
            ips.append(wanted)
        spec["clusterIP"], spec["clusterIPs"] = ips[0], ips

    def _check_ip(self, service: Object, wanted: str, family: str) -> None:
        network = _NETWORKS[family]
        if ipaddress.ip_address(wanted) not in network:
            detail = (
                "failed to allocate IP "
                f"{wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {network}"
            )
        elif str(ipaddress.ip_address(wanted)) in self._ips:
            detail = f"failed to allocate IP {wanted}: provided IP is already allocated"
        else:
            return
        given = ",".join(f'"{ip}"' for ip in service["spec"]["clusterIPs"])
        message = f"Invalid value: [{given}]: {detail}"
        raise invalid(SERVICE, name(service), Cause("FieldValueInvalid", message, "spec.clusterIPs"))

    def _free_ip(self, family: str) -> str:
        network = _NETWORKS[family]
        size = network.num_addresses - 2
        for low, high in ((_BAND + 1, size), (1, _BAND)):
            for _ in range(64):
                address = str(network[self._random.randint(low, high)])
                if address not in self._ips:
                    return address
        for offset in range(1, size + 1):
            address = str(network[offset])
            if address not in self._ips:
                return address
        raise StatusError(
            500, "InternalError", "Internal error occurred: failed to allocate a serviceIP: range is full"
        )

    def _allocate_ports(self, service: Object, old: Object | None) -> None:
        before = _node_ports(old) if old else set()
        chosen: set[int] = set()
        inherited = {
            (port.get("name", ""), port["port"]): port["nodePort"]
            for port in (old or {}).get("spec", {}).get("ports", ())
            if port.get("nodePort")
        }
        for index, port in enumerate(service["spec"].get("ports") or ()):
            wanted = port.get("nodePort") or inherited.get((port.get("name", ""), port["port"]))
            if not wanted:
                wanted = next(p for p in self._shuffled_ports() if p not in self._ports and p not in chosen)
            elif wanted not in NODE_PORTS or (wanted in self._ports and wanted not in before):
                detail = (
                    "provided port is already allocated"
                    if wanted in NODE_PORTS
                    else "provided port is not in the valid range. The range of valid ports is 30000-32767"
                )
                cause = Cause(
                    "FieldValueInvalid", f"Invalid value: {wanted}: {detail}", f"spec.ports[{index}].nodePort"
                )
                raise invalid(SERVICE, name(service), cause)
            port["nodePort"] = wanted
            chosen.add(wanted)

    def _shuffled_ports(self) -> list[int]:
        return self._random.sample(NODE_PORTS, len(NODE_PORTS))


def _ips(service: Object) -> set[str]:
    """However they are written."""
    return {str(ipaddress.ip_address(ip)) for ip in vips(service)}


def _node_ports(service: Object) -> set[int]:
    return {port["nodePort"] for port in service["spec"].get("ports") or () if port.get("nodePort")}
