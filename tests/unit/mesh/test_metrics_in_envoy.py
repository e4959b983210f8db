"""Metrics counted by a real Envoy, as they are served: what each Telemetry makes of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ambientlab.cluster import CLUSTER_ID
from ambientlab.dataplane import prometheus
from ambientlab.mesh.ir import EVERYTHING, MetricChange, Telemetry
from ambientlab.mesh.xds import access_log, labels, metrics
from support.envoy import as_json, extension, free_ports, http_get, loopback, static_envoy
from support.waiting import until

BACKEND = "backend.json"
HCM = "envoy.filters.network.http_connection_manager"
ROUTER = extension("envoy.filters.http.router", "filters.http.router.v3.Router")
GRPC_STATS = extension(
    "envoy.filters.http.grpc_stats", "filters.http.grpc_stats.v3.FilterConfig", emit_filter_state=True
)
SOURCE = labels.peer(
    labels.names(workload="w", service="s", revision="r", namespace="n"), "spiffe://cluster.local/ns/n/sa/a"
)
SERIES = re.compile(r"(istio_\w+)\{(.*)\} (\S+)")
Series = list[tuple[str, dict[str, str], float]]


def listener(port: int, filters: list[Any], route: dict[str, Any], **manager: Any) -> dict[str, Any]:
    routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]}
    config = extension(
        HCM,
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="x",
        route_config=routes,
        http_filters=[*filters, ROUTER],
        **manager,
    )
    return {"name": f"{port}", "address": loopback(port), "filter_chains": [{"filters": [config]}]}


@asynccontextmanager
async def counting(directory: Path, telemetry: Telemetry) -> AsyncIterator[tuple[int, Callable[[], Any]]]:
    """The port that takes requests, and a function that scrapes."""
    front, back, served = free_ports(3)
    serve_by(directory, "", back)
    logs = [*metrics.http(telemetry), *access_log.waypoint_requests(telemetry)]
    state = {
        "object_key": metrics.SOURCE_LABELS,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": SOURCE}},
    }
    filters = [
        extension(
            "envoy.filters.http.set_filter_state",
            "filters.http.set_filter_state.v3.Config",
            on_request_headers=[state],
        ),
        GRPC_STATS,
    ]
    spelled = extension(
        "envoy.filters.http.lua", "filters.http.lua.v3.Lua", default_source_code={"inline_string": prometheus.script()}
    )
    admin = str(directory / "admin.sock")
    config = {
        "admin": {"address": {"pipe": {"path": admin}}},
        "stats_flush_interval": "0.05s",
        "static_resources": {
            "listeners": [
                listener(
                    front,
                    filters,
                    {"route": {"cluster": "b"}},
                    access_log=[as_json(log) for log in logs],
                ),
                listener(back, [], {"direct_response": {"status": 200}}),
                listener(served, [spelled], {"route": {"cluster": prometheus.clusters(admin)[0]["name"]}}),
            ],
            "clusters": [
                {
                    "name": "b",
                    "alt_stat_name": labels.group(["svc"] * 3),
                    "type": "EDS",
                    "eds_cluster_config": {"eds_config": {"path_config_source": {"path": str(directory / BACKEND)}}},
                },
                *prometheus.clusters(admin),
            ],
        },
    }

    async def scrape() -> Series:
        _, body = await http_get(served, "/stats/prometheus?filter=istio")
        found = (SERIES.fullmatch(line) for line in body.decode().splitlines())
        return [(m[1], dict(re.findall(r'(\w+)="([^"]*)"', m[2])), float(m[3])) for m in found if m]

    async with static_envoy(directory, config, front, back, served):
        yield front, scrape


def serve_by(directory: Path, workload: str, port: int = 0) -> None:
    """Who the one endpoint is said to be; `port` is that of the last call if it is 0."""
    path = directory / BACKEND
    if not port:
        found = json.loads(path.read_text())["resources"][0]["endpoints"][0]["lb_endpoints"][0]
        port = found["endpoint"]["address"]["socket_address"]["port_value"]
    endpoint = {"address": loopback(port), "hostname": workload}
    assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "b",
        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
    }
    new = directory / "new.json"
    new.write_text(json.dumps({"resources": [assignment]}))
    new.rename(path)


async def call(port: int, messages: int) -> None:
    """A gRPC call, of as many messages, on a connection of its own."""
    frames = b"".join(b"\0\0\0\0\1x" for _ in range(messages))
    head = "POST /s/m HTTP/1.1\r\nhost: t\r\ncontent-type: application/grpc\r\nconnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}content-length: {len(frames)}\r\n\r\n".encode() + frames)
    await reader.read()
    writer.close()


def only(found: Series, name: str) -> tuple[dict[str, str], float]:
    [(had, value)] = [(had, value) for n, had, value in found if n == name]
    return had, value


async def test_everything_is_counted_with_every_label(tmp_path: Path) -> None:
    async with counting(tmp_path, EVERYTHING) as (port, scrape):
        await http_get(port)
        await http_get(port)
        had, value = only(await scrape(), "istio_requests_total")
    assert value == 2
    assert had.keys() == ALL
    assert (had["source_app"], had["destination_service"], had["response_code"]) == ("s", "svc", "200")
    assert had["destination_workload"] == "unknown", "the endpoint says nothing of it"
    assert had["grpc_response_status"] == ""


async def test_another_workload_at_the_same_address_is_counted_apart(tmp_path: Path) -> None:
    """Envoy keeps an endpoint whose address stays, with what it knew of it, unless its hostname changes."""
    found: dict[str, dict[str, str]] = {}
    async with counting(tmp_path, EVERYTHING) as (port, scrape), asyncio.timeout(10):
        for workload in ("unknown", "first", "second"):
            if workload != "unknown":
                about = labels.peer(labels.names(workload=workload, service="s", revision="", namespace="n"), "p")
                serve_by(tmp_path, about)
            while workload not in found:
                await http_get(port)
                found |= {had["destination_workload"]: had for name, had, _ in await scrape() if "total" in name}
    had = found["second"]
    assert (had["destination_app"], had["destination_version"]) == ("s", "unknown")
    assert (had["destination_cluster"], had["destination_principal"]) == (CLUSTER_ID, "p")
    assert found["unknown"]["destination_cluster"] == "unknown"


async def test_values_may_look_like_what_is_around_them(tmp_path: Path) -> None:
    change = MetricChange("istio_requests_total", labels=(("odd", """'a"b", c="d"} 1 {istio="'"""),))
    async with counting(tmp_path, Telemetry(changes=(change,))) as (port, scrape):
        await http_get(port)
        had, value = only(await scrape(), "istio_requests_total")
    assert (had.keys() - ALL, value, had["odd"]) == ({"odd"}, 1, "a\\")


async def test_messages_of_grpc_are_added_up(tmp_path: Path) -> None:
    async with counting(tmp_path, EVERYTHING) as (port, scrape):
        for messages in (1, 3, 3):
            await call(port, messages)
        found = await scrape()
    had, value = only(found, "istio_request_messages_total")
    assert (value, had["request_protocol"]) == (7, "grpc")
    assert only(found, "istio_response_messages_total")[1] == 0
    requests, value = only(found, "istio_requests_total")
    assert value == 3
    assert requests["grpc_response_status"] != ""


async def test_labels_are_left_out_replaced_and_added(tmp_path: Path) -> None:
    gone = tuple((name, None) for name in ("source_principal", "destination_workload", "connection_security_policy"))
    change = MetricChange(
        "istio_requests_total",
        labels=(
            *gone,
            ("source_app", "'me'"),
            ("path", "request.path"),
            ("nothing", ""),
            ("missing", "request.headers['no']"),
        ),
    )
    async with counting(tmp_path, Telemetry(changes=(change,))) as (port, scrape):
        for path in ("/a", "/b", "/a"):
            await http_get(port, path)
        found = await scrape()
    counted = {had["path"]: value for name, had, value in found if name == "istio_requests_total"}
    assert counted == {"/a": 2, "/b": 1}
    had = next(had for name, had, _ in found if name == "istio_requests_total")
    assert not had.keys() & {"source_principal", "destination_workload", "connection_security_policy"}
    assert (had["source_app"], had["nothing"], had["missing"]) == ("me", "unknown", "unknown")
    others = next(had for name, had, _ in found if name == "istio_request_bytes_count")
    assert others["source_principal"] == "spiffe://cluster.local/ns/n/sa/a"


async def test_what_becomes_the_same_is_added_up(tmp_path: Path) -> None:
    change = MetricChange("istio_request_duration_milliseconds", labels=(("response_code", None), ("path", None)))
    everything = tuple((name, None) for name in sorted(ALL))
    bare = MetricChange("istio_requests_total", labels=everything)
    by_path = MetricChange("istio_request_bytes", labels=(("path", "request.path"),))
    async with counting(tmp_path, Telemetry(changes=(change, bare, by_path))) as (port, scrape):
        await http_get(port, "/a")
        await http_get(port, "/b")
        async with asyncio.timeout(10):
            while True:
                found = await scrape()
                if only(found, "istio_request_duration_milliseconds_count")[1] == 2:
                    break
                await asyncio.sleep(0.02)
    buckets = [(had["le"], v) for name, had, v in found if name == "istio_request_duration_milliseconds_bucket"]
    assert buckets[-1] == ("+Inf", 2)
    assert len(buckets) == len(dict(buckets))
    assert only(found, "istio_requests_total") == ({}, 2)
    assert len([1 for name, _, _ in found if name == "istio_request_bytes_count"]) == 2


ALL = {
    "reporter",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    *(
        f"{side}_{what}"
        for side in ("source", "destination")
        for what in ("workload", "workload_namespace", "principal", "app", "version", "cluster")
    ),
    *(f"{side}_canonical_{what}" for side in ("source", "destination") for what in ("service", "revision")),
}


async def test_what_is_disabled_is_not_counted(tmp_path: Path) -> None:
    change = MetricChange("istio_request_bytes", disabled=True)
    async with counting(tmp_path, Telemetry(changes=(change,))) as (port, scrape):
        await http_get(port)
        names = {name for name, _, _ in await scrape()}
    assert "istio_requests_total" in names
    assert "istio_request_bytes_count" not in names
    assert [*metrics.http(Telemetry(metrics=False)), *metrics.tcp(Telemetry(metrics=False))] == []


@pytest.mark.parametrize(
    ("telemetry", "logged"),
    [
        (EVERYTHING, ["/a", "/b"]),
        (Telemetry(log=False), []),
        (Telemetry(log_filter="request.path == '/b'"), ["/b"]),
    ],
)
async def test_what_is_logged(tmp_path: Path, telemetry: Telemetry, logged: list[str]) -> None:
    async with counting(tmp_path, telemetry) as (port, scrape):
        await http_get(port, "/a")
        await http_get(port, "/b")
        await scrape()
        await until(lambda: re.findall(r'"GET (\S+) ', (tmp_path / "envoy.log").read_text()) == logged, "the log")
