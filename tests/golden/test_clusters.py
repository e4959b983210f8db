"""Clusters of Istio 1.24 and 1.31 that were not made here: what the commands say of their recorded objects.

AMBIENTLAB_REFRESH_GOLDENS=1 writes it anew, to be read before it is committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli
from ambientlab.host.listing import LISTED
from support.object_server import ObjectServer
from support.recorded import CLUSTERS, recorded

REFRESH = bool(os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"))
QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "istio-1.24": {
        "through_the_waypoint": ("explain", "cart.shop/items", "--from", "web/front"),
        "of_a_sidecar": ("explain", "cart.shop/items", "--from", "legacy/reports"),
        "to_a_sidecar": ("explain", "reports.legacy:8080/", "--from", "web/front"),
        "from_a_nodes_network": (
            "explain",
            "cart.shop.svc.cluster.local/items",
            "--from",
            "kube-system/node-exporter-gxk2m",
        ),
        "to_a_nodes_network": ("explain", "node-exporter.kube-system:9100/metrics", "--from", "web/front"),
    },
    "istio-1.31": {
        "by_anybody": ("explain", "ledger.pay.svc.corp.example/v2/entries"),
        "denied_everywhere": ("explain", "ledger.pay/v2", "-X", "DELETE", "--from", "app/shop"),
    },
}
ALL = [(name, question) for name, questions in QUESTIONS.items() for question in questions]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], ObjectServer]]:
    made: list[ObjectServer] = []

    def start(name: str) -> ObjectServer:
        made.append(ObjectServer(recorded(name)))
        made[-1].kubeconfig(tmp_path)
        return made[-1]

    yield start
    for server in made:
        server.close()


def run(tmp_path: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")})
    return runner.invoke(cli, [arguments[0], "--context", "test", *arguments[1:]])


@pytest.mark.parametrize(("name", "question"), ALL, ids=[f"{name}-{question}" for name, question in ALL])
def test_what_is_said_of_recorded_clusters(
    name: str, question: str, serve: Callable[[str], ObjectServer], tmp_path: Path
) -> None:
    server = serve(name)
    done = run(tmp_path, *QUESTIONS[name][question])
    assert done.stderr == ""
    path = CLUSTERS / f"{name}.{question}.txt"
    if REFRESH:
        path.write_text(done.stdout)
    assert done.stdout == path.read_text()
    _asked_once(server)


@pytest.mark.parametrize(
    ("name", "findings"),
    [
        ("istio-1.24", {"NeedsWaypoint AuthorizationPolicy no-deletes", "Shadowed VirtualService cart"}),
        ("istio-1.31", {"NotBuilt ConfigMap istio"}),
    ],
)
def test_what_is_found_in_recorded_clusters(
    name: str, findings: set[str], serve: Callable[[str], ObjectServer], tmp_path: Path
) -> None:
    server = serve(name)
    done = run(tmp_path, "analyze", "-o", "json", "--fail-on", "never")
    found = json.loads(done.stdout)["findings"]
    assert findings <= {f"{one['name']} {one['object']['kind']} {one['object']['name']}" for one in found}
    assert not {"HostNotFound", "Invalid"} & {one["name"] for one in found}
    _asked_once(server)


def _asked_once(server: ObjectServer) -> None:
    """Each list once, on one connection, and never one of Secrets."""
    assert server.connections == 1
    assert len(server.asked) == len(set(server.asked)) <= len(LISTED) + 15
    assert not any("secrets" in path for path in server.asked)
