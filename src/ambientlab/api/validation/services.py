"""Services and endpoint slices (pkg/apis/core/validation, pkg/apis/discovery/validation)."""

from __future__ import annotations

from ambientlab.api.fielderrors import Errors, child, duplicate, forbidden, invalid, required
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, scalars
from ambientlab.api.validation.addresses import check_ordinary, family_of

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
    for index, one in enumerate(spec.get("externalIPs") or ()):
        where = f"spec.externalIPs[{index}]"
        if not family_of(one):
            errors.append(invalid(where, one, _ADDRESS))
        check_ordinary(where, one, errors)
    if kind != "ExternalName":
        _addresses(spec, errors)
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
    """ValidateServiceClusterIPsRelatedFields. What the cluster has of it is the allocator's concern."""
    first = spec.get("clusterIP") or ""
    ips = _listed(spec, "clusterIPs")
    if first and ips[0] != first:
        errors.append(invalid("spec.clusterIPs", ips, "first value must match `clusterIP`"))
    elif ips and not first:
        errors.append(invalid("spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified"))
    families: list[str] = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        scalars.one_of(f"spec.ipFamilies[{index}]", family, _FAMILIES, errors)
        if family in families[:index]:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
    scalars.one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), _FAMILY_POLICIES, errors, needed=False)
    wrong: Errors = []
    for index, ip in enumerate(ips):
        if index == 0 and ip == "None":
            if len(ips) > 1:
                wrong.append(invalid("spec.clusterIPs", ips, "'None' must be the first and only value"))
        elif not family_of(ip):
            wrong.append(invalid(f"spec.clusterIPs[{index}]", ip, _ADDRESS))
    errors += wrong
    if len(ips) > 2:
        errors.append(invalid("spec.clusterIPs", ips, "may only hold up to 2 values"))
    if wrong:
        return
    if len(ips) > 1 and len(set(map(family_of, ips))) == 1:
        errors.append(invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family"))
    for index, (ip, family) in enumerate(zip(ips, families, strict=False)):
        if first != "None" and family in _FAMILIES and family_of(ip) != family:
            article = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            errors.append(invalid(f"spec.clusterIPs[{index}]", ip, article))


def _update(spec: Object, old: Object, errors: Errors) -> None:
    """validateUpgradeDowngradeClusterIPs and validateUpgradeDowngradeIPFamilies: what is second may come and go, with
    the policy that says so."""
    if "ExternalName" in (old.get("type"), spec.get("type")):
        return
    headless = [one.get("clusterIP") == "None" for one in (spec, old)]
    for field, one in (("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")):
        if all(headless) or (field == "ipFamilies" and any(headless)):
            continue
        after, before = _listed(spec, field), _listed(old, field)
        where = f"spec.{field}"
        if before and not after:
            if field == "clusterIPs":
                errors.append(invalid(f"{where}[0]", after, f"primary {one} can not be unset"))
            continue
        for index, (now, then) in enumerate(zip(after, before, strict=False)):
            if now != then:
                errors.append(invalid(f"{where}[{index}]", after, "may not change once set"))
        if len(after) < len(before) and spec.get("ipFamilyPolicy") != "SingleStack":
            why = f"must be set to 'SingleStack' when releasing the secondary {one}"
            errors.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), why))


def _listed(spec: Object, field: str) -> list[str]:
    """An address may be written in the older field alone."""
    only = spec.get("clusterIP") if field == "clusterIPs" else None
    return spec.get(field) or ([only] if only else [])


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
        if not endpoint.get("addresses"):
            errors.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
        for at, address in enumerate(endpoint.get("addresses") or () if kind in _FAMILIES else ()):
            where = f"endpoints[{index}].addresses[{at}]"
            if family_of(address) != kind:
                errors.append(invalid(where, address, f"must be a valid {kind} address"))
            check_ordinary(where, address, errors)
        if hostname := endpoint.get("hostname"):
            meta.check(f"endpoints[{index}].hostname", hostname, meta.dns_label, errors)
