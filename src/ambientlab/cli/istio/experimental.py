"""`istioctl experimental`: commands of which Istio says that they may change."""

from __future__ import annotations

from ambientlab.cli.istio.command import Group, Place

_ISTIO = "ambientlab.cli.istio"
experimental = Group(
    "experimental",
    aliases={"describe": ("des",), "proxy-status": ("ps",)},
    places={
        "authz": Place(f"{_ISTIO}.authz", "authz", "Inspect Istio AuthorizationPolicy"),
        "describe": Place(f"{_ISTIO}.describe", "describe", "Describe resource and related Istio configuration"),
        "proxy-status": Place(
            "ambientlab.cli.proxy_status",
            "proxy_status",
            "Retrieves the synchronization status of each Envoy in the mesh",
        ),
        "version": Place(f"{_ISTIO}.version", "version", "Prints out build version information"),
    },
    help="Experimental commands that may be modified or deprecated",
)
