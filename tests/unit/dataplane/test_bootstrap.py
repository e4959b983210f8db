"""What Envoy is started with, judged by Envoy."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path

import pytest

from ambientlab.api.objects import Object
from ambientlab.dataplane import bootstrap
from ambientlab.dataplane.bootstrap import Startup, bootstrap_for_waypoint, bootstrap_for_ztunnel
from ambientlab.dataplane.envoy import binary

POD: Object = {
    "metadata": {
        "name": "waypoint-5787f49bd8-ln7qr",
        "namespace": "hello",
        "uid": "u1",
        "labels": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
    },
    "spec": {},
    "status": {"podIP": "10.244.0.9"},
}
NODE_PATHS = {"envoy": "/opt/envoy", "xds_socket": "/run/ambientlab/xds/istiod.sock"}
ZTUNNEL = bootstrap_for_ztunnel(POD, "a-token", **NODE_PATHS)
WAYPOINT = bootstrap_for_waypoint(POD, "a-token", **NODE_PATHS)


@pytest.mark.parametrize("startup", [ZTUNNEL, WAYPOINT], ids=["ztunnel", "waypoint"])
async def test_envoy_accepts_its_command_line_and_bootstrap(startup: Startup, tmp_path: Path) -> None:
    [(path, (content, _))] = startup.files.items()
    (tmp_path / "envoy.json").write_bytes(content)
    argv = [str(tmp_path / "envoy.json") if word == path else word for word in startup.argv]
    process = await asyncio.create_subprocess_exec(
        str(binary()), *argv[1:], "--mode", "validate", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"warning" not in output, output.decode()


@pytest.mark.parametrize("startup", [ZTUNNEL, WAYPOINT], ids=["ztunnel", "waypoint"])
def test_the_token_is_in_one_file_only_its_owner_reads(startup: Startup) -> None:
    assert not any("a-token" in word for word in startup.argv)
    [(path, (content, mode))] = startup.files.items()
    assert path == bootstrap.CONFIG
    assert b"Bearer a-token" in content
    assert mode == 0o600


def test_a_proxy_sees_envoy_and_the_control_planes_directory_and_no_more() -> None:
    assert WAYPOINT.binds == (("/opt/envoy", bootstrap.BINARY), ("/run/ambientlab/xds", bootstrap.XDS_DIRECTORY))
    assert WAYPOINT.argv[0] == bootstrap.BINARY
    [(content, _)] = WAYPOINT.files.values()
    assert f"{bootstrap.XDS_DIRECTORY}/istiod.sock".encode() in content


def test_nodes_are_named_as_istio_names_them() -> None:
    nodes = [json.loads(startup.files[bootstrap.CONFIG][0])["node"] for startup in (ZTUNNEL, WAYPOINT)]
    assert [node["id"] for node in nodes] == [
        "ztunnel~10.244.0.9~waypoint-5787f49bd8-ln7qr.hello~hello.svc.cluster.local",
        "waypoint~10.244.0.9~waypoint-5787f49bd8-ln7qr.hello~hello.svc.cluster.local",
    ]
    assert [node["cluster"] for node in nodes] == ["ztunnel", "waypoint.hello"]


def test_an_envoy_turns_connections_away_before_it_runs_out_of_descriptors() -> None:
    descriptors, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (1024, min(4096, hard)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            startup = bootstrap_for_ztunnel(POD, "a-token", **NODE_PATHS)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
        monitors = json.loads(startup.files[bootstrap.CONFIG][0])["overload_manager"]["resource_monitors"]
        most = monitors[0]["typed_config"]["max_active_downstream_connections"]
        assert 0 < 2 * most < limit


def drained(environment: str = "", annotation: str = "") -> str:
    """How long a waypoint goes on for what was taken away, by its ProxyConfig."""
    spec = {"containers": [{"name": "istio-proxy", "env": [{"name": "PROXY_CONFIG", "value": environment}]}]}
    metadata = {**POD["metadata"], "annotations": {"proxy.istio.io/config": annotation}}
    argv = bootstrap_for_waypoint({**POD, "metadata": metadata, "spec": spec}, "a-token", **NODE_PATHS).argv
    return argv[argv.index("--drain-time-s") + 1]


def test_a_waypoint_drains_for_as_long_as_its_configuration_says() -> None:
    for started in (ZTUNNEL, WAYPOINT):
        assert started.argv[started.argv.index("--drain-time-s") + 1] == "1"
    assert drained("{}\n", "concurrency: 2") == "1"
    assert drained('{"drainDuration":"7s"}\n') == "7"
    assert drained('{"drainDuration":"7s"}', "drainDuration: 9s") == "9"


@pytest.mark.parametrize(
    "text", ["drainDuration: 500ms", "drainDuration: 1.5s", "drainDuration: 0s", "drainDuration: 5"]
)
def test_one_that_drains_for_parts_of_seconds_does_not_start(text: str) -> None:
    with pytest.raises(ValueError, match="invalid drain duration"):
        drained(annotation=text)


def test_one_with_a_configuration_that_is_none_does_not_start() -> None:
    with pytest.raises(ValueError, match="failed to unmarshal proxy config"):
        drained("{")
