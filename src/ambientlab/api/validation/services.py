"""Services and endpoint slices (pkg/apis/core/validation, pkg/apis/discovery/validation)."""

from __future__ import annotations

import ipaddress

from ambientlab.api.fielderrors import Errors, child, duplicate, forbidden, invalid, required
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, scalars

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_MAX_AFFINITY_SECONDS = 86_400


def service(obj: Object, old: Object | None, errors: Errors) -> None:
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    scalars.one_of("spec.type", kind, _TYPES, errors)
    if kind == "ExternalName":
        _external_name(spec, errors)
    elif not spec.get("ports") and not headless:
        errors.append(required("spec.ports"))
    if headless and kind in ("NodePort", "LoadBalancer"):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    _ports(spec, kind, errors)
    meta.check_labels(spec.get("selector") or {}, "spec.selector", errors)
    scalars.one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"), errors)
    client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    if (
        spec.get("sessionAffinity") == "ClientIP"
        and not 0 < client_ip.get("timeoutSeconds", 1) <= _MAX_AFFINITY_SECONDS
    ):
        errors.append(
            invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                client_ip["timeoutSeconds"],
                f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}",
            )
        )
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        scalars.one_of(child("spec", field), spec.get(field), _POLICIES, errors, needed=False)
    scalars.one_of("spec.trafficDistribution", spec.get("trafficDistribution"), _DISTRIBUTIONS, errors, needed=False)
    if spec.get("externalTrafficPolicy") and kind not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
        errors.append(
            invalid(
                "spec.externalTrafficPolicy",
                spec["externalTrafficPolicy"],
                "may only be set for externally-accessible services",
            )
        )
    _addresses(spec, errors)
    if kind != "ExternalName":
        _families(spec, errors)
    if old is not None:
        _update(spec, old.get("spec") or {}, errors)


def _external_name(spec: Object, errors: Errors) -> None:
    if name := spec.get("externalName"):
        meta.check("spec.externalName", name.removesuffix("."), meta.dns_subdomain, errors)
    else:
        errors.append(required("spec.externalName"))
    if spec.get("clusterIP"):
        errors.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))


def _ports(spec: Object, kind: str | None, errors: Errors) -> None:
    ports = spec.get("ports") or []
    names: set[str] = set()
    seen: set[tuple[int, str]] = set()
    for index, one in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = one.get("name") or ""
        if not name and len(ports) > 1:
            errors.append(required(child(where, "name")))
        elif name:
            meta.check(child(where, "name"), name, meta.dns_label, errors)
            if name in names:
                errors.append(duplicate(child(where, "name"), name))
            names.add(name)
        number = one.get("port", 0)
        scalars.port(child(where, "port"), number, errors)
        scalars.one_of(child(where, "protocol"), one.get("protocol"), _PROTOCOLS, errors)
        if "targetPort" in one:
            scalars.port_or_name(child(where, "targetPort"), one["targetPort"], errors)
        if one.get("appProtocol"):
            meta.check(child(where, "appProtocol"), one["appProtocol"], meta.qualified_name, errors)
        if one.get("nodePort"):
            if kind in ("ClusterIP", "ExternalName"):
                errors.append(forbidden(child(where, "nodePort"), f"may not be used when `type` is '{kind}'"))
            else:
                scalars.port(child(where, "nodePort"), one["nodePort"], errors)
        key = (number, one.get("protocol", "TCP"))
        if key in seen:
            errors.append(duplicate(where, {"port": key[0], "protocol": key[1]}))
        seen.add(key)


def _addresses(spec: Object, errors: Errors) -> None:
    address = spec.get("clusterIP")
    if address and address != "None" and not _is_address(address):
        errors.append(invalid("spec.clusterIPs[0]", address, _ADDRESS))
    for index, one in enumerate(spec.get("externalIPs") or ()):
        if not _is_address(one):
            errors.append(invalid(f"spec.externalIPs[{index}]", one, _ADDRESS))


def _families(spec: Object, errors: Errors) -> None:
    """As a cluster with IPv4 alone does it (pkg/registry/core/service/storage/alloc.go, initIPFamilyFields): only a
    Service without an address and a selector may be of another family, which is then somebody else's concern."""
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    scalars.one_of("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES, errors, needed=False)
    for index, family in enumerate(families):
        scalars.one_of(f"spec.ipFamilies[{index}]", family, _FAMILIES, errors)
        if family in families[:index]:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if policy == "SingleStack" and len(families) > 1:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        errors.append(invalid("spec.ipFamilyPolicy", policy, why))
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        return
    if policy == "RequireDualStack":
        errors.append(invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
    elsewhere = [index for index, family in enumerate(families) if family == "IPv6"]
    if not elsewhere and ":" in (spec.get("clusterIP") or ""):
        elsewhere = [0]
    errors += [invalid(f"spec.ipFamilies[{index}]", "IPv6", "not configured on this cluster") for index in elsewhere]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _update(spec: Object, old: Object, errors: Errors) -> None:
    before, after = old.get("clusterIP"), spec.get("clusterIP")
    if old.get("type") == "ExternalName" or spec.get("type") == "ExternalName" or not before:
        return
    if after != before:
        errors.append(invalid("spec.clusterIPs[0]", after, "may not change once set"))


def endpoint_slice(obj: Object, old: Object | None, errors: Errors) -> None:
    kind = obj.get("addressType")
    scalars.one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"), errors)
    if old is not None and old.get("addressType") != kind:
        errors.append(invalid("addressType", kind, "field is immutable"))
    names: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        where = f"ports[{index}]"
        if name := port.get("name"):
            meta.check(child(where, "name"), name, meta.dns_label, errors)
        if port.get("name", "") in names:
            errors.append(duplicate(child(where, "name"), port.get("name", "")))
        names.add(port.get("name", ""))
        scalars.one_of(child(where, "protocol"), port.get("protocol"), _PROTOCOLS, errors)
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        where = f"endpoints[{index}].addresses"
        if not endpoint.get("addresses"):
            errors.append(required(where, "must contain at least 1 address"))
        for at, address in enumerate(endpoint.get("addresses") or ()):
            if kind in ("IPv4", "IPv6") and not _is_address(address):
                errors.append(invalid(f"{where}[{at}]", address, _ADDRESS))
