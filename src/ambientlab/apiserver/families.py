"""Which families of IP a Service has: pkg/registry/core/service/storage/alloc.go of Kubernetes, initIPFamilyFields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ambientlab.api.fielderrors import Errors, invalid, raise_invalid
from ambientlab.api.kinds import SERVICE
from ambientlab.api.objects import Object, name

IPV4, IPV6 = "IPv4", "IPv6"
_OTHER = {IPV4: IPV6, IPV6: IPV4}
_FIELDS = ("clusterIPs", "ipFamilies")
_WORDS = {"clusterIPs": "cluster IP", "ipFamilies": "IP family"}
_PLURALS = {"clusterIPs": "cluster IPs", "ipFamilies": "IP families"}


def family_of(ip: str) -> str:
    return IPV6 if ":" in ip else IPV4


def settle(service: Object, old: Object | None, configured: Sequence[str]) -> None:
    """Fill in the policy and the families of a valid Service that is no ExternalName, in place. `configured` are the
    cluster's, its default first. Raises 422 for what they do not allow."""
    spec: dict[str, Any] = service["spec"]
    before: dict[str, Any] = (old or {}).get("spec") or {}
    if _stays_as_preferred(spec, before):
        return
    bare = spec.get("clusterIP") == "None" and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or ("RequireDualStack" if bare else "SingleStack")
    policy = spec["ipFamilyPolicy"]
    errors: Errors = []
    if old is not None:
        _reduce(spec, before, errors)
    for field in _FIELDS:
        if policy == "SingleStack" and len(spec.get(field) or ()) == 2:
            why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {_PLURALS[field]} are specified"
            errors.append(invalid("spec.ipFamilyPolicy", policy, why))
    families: list[str] = list(spec.get("ipFamilies") or ())
    ips = [ip for ip in spec.get("clusterIPs") or () if ip != "None"]
    for index, ip in enumerate(ips[len(families) :], len(families)):
        if family_of(ip) in configured:
            families.append(family_of(ip))
        else:
            why = f"{family_of(ip)} is not configured on this cluster"
            errors.append(invalid(f"spec.clusterIPs[{index}]", ips, why))
    raise_invalid(SERVICE, name(service), errors)
    if not bare:
        if policy == "RequireDualStack" and len(configured) < 2:
            why = "this cluster is not configured for dual-stack services"
            errors.append(invalid("spec.ipFamilyPolicy", policy, why))
        errors += [
            invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
            for index, family in enumerate(families)
            if family not in configured
        ]
        raise_invalid(SERVICE, name(service), errors)
    families = families or [configured[0]]
    if policy != "SingleStack" and len(families) == 1 and (bare or len(configured) == 2):
        families.append(_OTHER[families[0]])
    spec["ipFamilies"] = families


def _stays_as_preferred(spec: dict[str, Any], before: dict[str, Any]) -> bool:
    """A cluster that gets or loses a family changes no Service that prefers both."""
    same = all((spec.get(field) or []) == (before.get(field) or []) for field in ("type", "ipFamilyPolicy", *_FIELDS))
    return bool(before) and same and spec.get("ipFamilyPolicy") == "PreferDualStack"


def _reduce(spec: dict[str, Any], before: dict[str, Any], errors: Errors) -> None:
    """Asking for a single stack is asking for what is second to go; it does not go otherwise."""
    for field in _FIELDS:
        values, had = spec.get(field) or [], before.get(field) or []
        if spec["ipFamilyPolicy"] == "SingleStack":
            if values == had and len(values) > 1:
                spec[field] = values[:1]
        elif values and len(values) < len(had):
            why = f"must be 'SingleStack' to release the secondary {_WORDS[field]}"
            errors.append(invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], why))
