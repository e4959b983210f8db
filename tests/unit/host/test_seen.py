"""Connections as ztunnel's log tells of them."""

from __future__ import annotations

import json

import pytest

from ambientlab.host.kubeapi import KubeApi
from ambientlab.host.seen import connections
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Connection
from support.decisions import indexed, world
from support.istio_pods import istio
from support.object_server import ObjectServer, Page

LOG = "/api/v1/namespaces/istio-system/pods/ztunnel-7kq2x/log?sinceSeconds=300&tailLines=5000"
HELLO = "helloworld.hello.svc.cluster.local"
FIELDS = {
    "src.addr": "10.244.0.10:41414",
    "src.workload": "curl",
    "src.namespace": "test",
    "dst.addr": "10.244.0.21:15008",
    "dst.hbone_addr": "10.96.0.20:5000",
    "dst.service": HELLO,
    "direction": "outbound",
}


def plain(**changed: str) -> str:
    fields = " ".join(f"{name}={json.dumps(value)}" for name, value in (FIELDS | changed).items())
    return f"2026-11-26T01:02:03.000004Z\tinfo\taccess\tconnection complete\t{fields} bytes_sent=1"


def as_json(scope: str = "access", **changed: str) -> str:
    return json.dumps({"level": "info", "scope": scope, "message": "connection complete", **FIELDS, **changed})


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ([plain(), plain(), "2026\tinfo\tproxy\tready"], 2),
        ([as_json(), as_json(scope="proxy"), "{", as_json(error="refused")], 1),
        ([plain(error="refused"), plain(direction="inbound"), plain(**{"src.workload": "nobody"})], 0),
        ([plain(**{"dst.hbone_addr": "what", "dst.addr": "10.244.0.21"})], 0),
        ([plain(**{"dst.hbone_addr": "10.96.0.20:\u00b2"})], 0),
    ],
)
def test_connections_are_counted_by_client_and_service(lines: list[str], count: int) -> None:
    index = indexed(*world(), *istio())
    server = ObjectServer({LOG: (200, Page("\n".join(lines)))})
    with KubeApi(server.access) as api:
        found, unseen = connections(api, index, index.mesh)
    server.close()
    assert unseen == []
    assert found == [Connection(Key("test", "curl"), HELLO, 5000, count)][:count]


def test_a_log_that_may_not_be_read_is_told() -> None:
    index = indexed(*world(), *istio())
    server = ObjectServer({LOG: (403, {})})
    with KubeApi(server.access) as api:
        found, [unseen] = connections(api, index, index.mesh)
    server.close()
    assert (found, unseen.why) == ([], "not permitted")
