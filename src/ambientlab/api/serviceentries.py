"""Which hosts of a ServiceEntry are given addresses (istio/istio, pilot/pkg/networking/serviceentry and
pilot/pkg/controllers/ipallocate)."""

from __future__ import annotations

from ambientlab.api.objects import Object, labels_of

ENABLE_AUTOALLOCATE = "networking.istio.io/enable-autoallocate-ip"


def hosts_to_address(obj: Object) -> list[str]:
    """Those without addresses of the user's choice, unless connections go on to the address they are for. A wildcard
    gets one only if the proxy finds out which host is meant."""
    spec = obj["spec"]
    resolution = spec.get("resolution") or "NONE"
    if resolution == "NONE" or spec.get("addresses") or labels_of(obj).get(ENABLE_AUTOALLOCATE, "").lower() == "false":
        return []
    return [host for host in dict.fromkeys(spec["hosts"]) if not host.startswith("*") or resolution == "DYNAMIC_DNS"]
