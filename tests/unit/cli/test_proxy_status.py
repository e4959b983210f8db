"""`istioctl proxy-status POD`: what istiod wants beside what Envoy runs."""

from __future__ import annotations

import json
from typing import Any

from ambientlab.cli.proxy_config.dump import Dump
from ambientlab.cli.proxy_status import compared

ADMIN = "type.googleapis.com/envoy.admin.v3"


def dump(timeout: str, *, version: str, routes: str = "") -> Dump:
    clusters = [{"version_info": version, "cluster": {"name": name, "connect_timeout": timeout}} for name in ("b", "a")]
    listener = {"name": "l", "active_state": {"version_info": version, "listener": {"name": "l"}}}
    route: dict[str, Any] = {"version_info": version, "route_config": {"name": "r"}}
    configs = [
        {"@type": f"{ADMIN}.ClustersConfigDump", "dynamic_active_clusters": clusters},
        {"@type": f"{ADMIN}.ListenersConfigDump", "dynamic_listeners": [listener]},
        {"@type": f"{ADMIN}.RoutesConfigDump", "dynamic_route_configs": [{**route, "last_updated": routes}]},
    ]
    return Dump(json.dumps({"configs": configs}))


def test_versions_and_order_are_of_no_account() -> None:
    clusters, listeners, routes = compared(
        dump("1s", version="2"), dump("1s", version="1", routes="2026-11-25T12:00:00.5Z")
    )
    assert (clusters, listeners) == ("Clusters Match", "Listeners Match")
    assert routes.startswith("Routes Match (RDS last loaded at Wed, 25 Nov 2026 ")


def test_differences_are_shown() -> None:
    found = list(compared(dump("1s", version="1"), dump("2s", version="1")))
    assert found[:3] == ["Clusters Don't Match", "--- Istiod Clusters", "+++ Envoy Clusters"]
    assert '-        "connect_timeout": "1s",' in found
    assert '+        "connect_timeout": "2s",' in found
    assert found[-2:] == ["Listeners Match", "Routes Match (RDS last loaded at never)"]
