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
    absent={
        "check-inject": "nothing here runs sidecars",
        "config": "there is no configuration of the command line; flags say everything",
        "envoy-stats": "`kubectl exec` and `istioctl dashboard proxy` lead to Envoy's own pages",
        "injector": "nothing here runs sidecars",
        "internal-debug": "istiod's pages are at `istioctl dashboard istiod-debug`",
        "metrics": "there is no Prometheus here; proxies serve theirs at port 15020",
        "precheck": "a mesh comes with its Istio, and is not upgraded apart from it",
        "workload": "there are no workloads outside of the cluster to set up",
    },
    help="Experimental commands that may be modified or deprecated",
)
