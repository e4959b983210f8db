"""`istioctl proxy-status POD`: what istiod wants beside what Envoy runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ambientlab.cli import istioctl
from ambientlab.cli.istio.istiod import proxies
from ambientlab.cli.proxy_config.dump import Dump
from ambientlab.cli.proxy_status import compared
from ambientlab.host import tools

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


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"configs": {}}, "configs: expected a list, found an object"),
        ({"configs": [{"@type": 1}]}, "configs[0].@type: expected a string, found a number"),
    ],
)
def test_a_file_of_another_shape_is_named(
    document: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl, file = tmp_path / "kubectl", tmp_path / "dump.json"
    kubectl.write_text("#!/bin/sh\necho '{\"metadata\": {}}'\n")
    kubectl.chmod(0o755)
    monkeypatch.setattr(tools, "kubectl", lambda: kubectl)
    file.write_text(json.dumps(document))
    done = CliRunner().invoke(istioctl.cli, ["proxy-status", "p.ns", "--file", str(file)])
    why = f"{file}: error unmarshalling config dump response from Envoy: {words}"
    assert (done.exit_code, done.stderr) == (1, f"Error: could not contact sidecar: {why}\n")


def test_what_an_istiod_leaves_out_is_empty() -> None:
    assert proxies('[{"proxy": "a.b", "cluster_id": null}]') == [{"proxy": "a.b", "resources": {}}]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("404 page not found", "Extra data: line 1 column 5"),
        ("{}", "expected a list, found an object"),
        ('[{"resources": {"x": []}}]', r"\[0\].resources.x: expected an object, found a list"),
    ],
)
def test_what_is_no_istiod_is_said_to_be_none(answer: str, why: str) -> None:
    with pytest.raises(click.ClickException, match=f"what answers at port 15014 is no istiod: {why}"):
        proxies(answer)
