"""Which hosts of a ServiceEntry are given addresses (istio/istio, pilot/pkg/networking/serviceentry and
pilot/pkg/controllers/ipallocate)."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.objects import Object, labels_of

ENABLE_AUTOALLOCATE = "networking.istio.io/enable-autoallocate-ip"


def is_autoallocated(obj: Object) -> bool:
    """Whether its hosts are given addresses: it names none itself, and connections do not go on to the one they are
    for."""
    spec = obj["spec"]
    declined = labels_of(obj).get(ENABLE_AUTOALLOCATE, "").lower() == "false"
    return (spec.get("resolution") or "NONE") != "NONE" and not spec.get("addresses") and not declined


def hosts_to_address(obj: Object) -> list[str]:
    """A wildcard gets an address only if the proxy finds out which host is meant."""
    if not is_autoallocated(obj):
        return []
    wildcards = obj["spec"]["resolution"] == "DYNAMIC_DNS"
    return [host for host in dict.fromkeys(obj["spec"]["hosts"]) if wildcards or not host.startswith("*")]


def assigned(obj: Object) -> Iterator[tuple[str, str]]:
    """Hosts with the addresses that `status.addresses` has for them. Istio's CRD has no schema of it, so that anything
    may be there."""
    found = (obj.get("status") or {}).get("addresses")
    for item in found if isinstance(found, list) else ():
        host, value = (item.get("host"), item.get("value")) if isinstance(item, dict) else ("", "")
        if host and value and isinstance(host, str) and isinstance(value, str):
            yield host, value
