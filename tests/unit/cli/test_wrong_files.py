"""Files whose JSON is not of the shape that a command reads: one line that names the file and the field."""

from __future__ import annotations

import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli import istioctl
from support.mutations import GONE, mutated, places, told

TYPE = "type.googleapis.com/envoy.admin.v3."
ADDRESS = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
ISTIO = {"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/a/destination-rule/r"}}}
ROUTES = {
    "name": "r",
    "virtual_hosts": [
        {
            "name": "v",
            "domains": ["a.svc", "b.svc"],
            "routes": [{"match": {"safe_regex": {"regex": "a"}}, "route": {"cluster": "c"}, "metadata": ISTIO}],
        }
    ],
}
FILTERS = [
    {"name": "envoy.filters.network.http_connection_manager", "typed_config": {"rds": {"route_config_name": "r"}}},
    {"name": "envoy.filters.network.http_connection_manager", "typed_config": {"route_config": ROUTES}},
    {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": "c"}},
]
CHAIN_MATCH = {
    "server_names": ["a"],
    "transport_protocol": "tls",
    "application_protocols": ["h2"],
    "destination_port": 80,
    "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
}
LEADS = {"action": {"name": "one"}}
BY_ADDRESS = {"range_matchers": [{"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "on_match": LEADS}]}
BY_PORT = {"input": {"name": "port"}, "exact_match_map": {"map": {"80": LEADS}}}
LISTENER = {
    "name": "l",
    "address": ADDRESS,
    "additional_addresses": [{"address": ADDRESS}],
    "filter_chains": [{"name": "one", "filters": FILTERS[:1], "filter_chain_match": CHAIN_MATCH}],
    "default_filter_chain": {"name": "two", "filters": FILTERS[1:]},
    "filter_chain_matcher": {
        "on_no_match": {"matcher": {"matcher_tree": BY_PORT}},
        "matcher_tree": {"input": {"name": "ip"}, "custom_match": {"typed_config": BY_ADDRESS}},
    },
}
PEM = {"inline_bytes": "eA=="}
SECRETS = [
    {"name": "s", "secret": {"tls_certificate": {"certificate_chain": PEM}}},
    {"name": "t", "secret": {"validation_context": {"trusted_ca": PEM}}},
]
HOST = {"endpoint": {"address": ADDRESS}, "health_status": "HEALTHY"}
ASSIGNMENT = {"cluster_name": "c", "endpoints": [{"locality": {"region": "r"}, "lb_endpoints": [HOST]}]}
BUILD = {"version": {"major_number": 1}, "metadata": {"build.label": "x"}}
NODE = {"metadata": {"ISTIO_VERSION": "1.31", "ISTIO_PROXY_SHA": "a:b"}, "user_agent_build_version": BUILD}
SECTIONS: dict[str, dict[str, Any]] = {
    "BootstrapConfigDump": {"bootstrap": {"node": NODE}},
    "ClustersConfigDump": {
        "dynamic_active_clusters": [{"cluster": {"name": "outbound|80||a.a", "type": "EDS", "metadata": ISTIO}}],
        "static_clusters": [{"cluster": {"name": "c", "cluster_type": {"name": "t"}}}],
    },
    "ListenersConfigDump": {
        "dynamic_listeners": [{"active_state": {"listener": LISTENER}}],
        "static_listeners": [{"listener": {"name": "m", "address": {"pipe": {"path": "/p"}}}}],
    },
    "RoutesConfigDump": {"dynamic_route_configs": [{"route_config": ROUTES, "last_updated": "2026-11-26T00:00:00Z"}]},
    "SecretsConfigDump": {"dynamic_active_secrets": SECRETS},
    "EcdsConfigDump": {"ecds_filters": [{"ecds_filter": {"name": "e", "typed_config": {"@type": "x/y"}}}]},
    "EndpointsConfigDump": {"dynamic_endpoint_configs": [{"endpoint_config": ASSIGNMENT}]},
}


def dump(*kinds: str) -> dict[str, Any]:
    return {"configs": [{"@type": f"{TYPE}{kind}", **SECTIONS[kind]} for kind in kinds]}


ENVOY = dump(*SECTIONS)
STATUS = {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
CLUSTERS = {"cluster_statuses": [{"name": "c", "host_statuses": [{"address": ADDRESS, "health_status": STATUS}]}]}
CERTIFICATE = {"serialNumber": "1", "validFrom": "2026-01-01T00:00:00Z", "expirationTime": "2027-01-01T00:00:00Z"}
CONNECTION = {"src": "10.0.0.1:4", "originalDst": "10.9.0.1:80", "actualDst": "10.0.0.2:80", "protocol": "HBONE"}
ZTUNNEL = {
    "workloads": [{"name": "w", "workloadIps": ["10.0.0.1"], "waypoint": {"destination": "/10.9.0.1"}, "capacity": 1}],
    "services": [
        {"name": "s", "vips": ["/10.9.0.1"], "ports": {"80": 80}, "endpoints": {"u": {"workloadUid": "u"}}},
    ],
    "policies": [{"name": "p", "rules": [[[{"destinationPorts": [80], "principals": [{"Exact": "x"}]}]]]}],
    "certificates": [{"identity": "i", "state": "Available", "certChain": [CERTIFICATE], "rootCerts": []}],
    "workloadState": {"1": {"info": {"name": "w"}, "connections": {"inbound": [CONNECTION], "outbound": [CONNECTION]}}},
}

READ = [
    (ENVOY, "pc", "all"),
    (dump("EndpointsConfigDump"), "pc", "eds"),
    (dump("EcdsConfigDump"), "pc", "ecds"),
    (dump("ListenersConfigDump"), "pc", "listener", "--waypoint"),
    (CLUSTERS, "pc", "endpoint"),
    (ZTUNNEL, "zc", "all"),
]


def run(path: Path, document: Any, *command: str) -> Result:
    path.write_text(json.dumps(document))
    return CliRunner().invoke(istioctl.cli, [*command, "-f", str(path)])


@pytest.mark.parametrize(("document", "command"), [(one, rest) for one, *rest in READ], ids=lambda v: str(v)[:20])
def test_every_part_may_be_of_another_type_or_missing(document: Any, command: list[str], tmp_path: Path) -> None:
    """That is fine where nobody reads a part, or it may be anything."""
    path = tmp_path / "dump.json"
    assert run(path, document, *command).exit_code == 0
    missing = cycle([None, GONE])
    for place, given in places(document):
        for value in ([[]] if isinstance(given, str | int) else "x", next(missing)):
            done = run(path, mutated(document, place, value), *command)
            assert isinstance(done.exception, SystemExit | None), (place, value, done.exception)
            if done.exit_code:
                assert done.stderr.count("\n") == 1, done.stderr


LISTENER_AT = ("configs", 2, "dynamic_listeners", 0, "active_state", "listener")


@pytest.mark.parametrize(
    ("command", "document", "place", "value", "words"),
    [
        ("pc cluster", ENVOY, ("configs",), {}, "expected a list, found an object"),
        ("pc cluster", ENVOY, ("configs", 1, "static_clusters", 0, "cluster", "name"), 7, "expected a string, found a"),
        ("pc route", ENVOY, (*LISTENER_AT, "filter_chains", 0, "filters"), {}, "expected a list, found an object"),
        ("pc listener", ENVOY, (*LISTENER_AT, "address"), [], "expected an object, found a list"),
        ("pc listener", ENVOY, (*LISTENER_AT, "filter_chains", 0), None, "expected an object, found null"),
        ("pc ep", CLUSTERS, ("cluster_statuses", 0, "host_statuses", 0, "address"), "x", "expected an object, found a"),
        ("zc workload", ZTUNNEL, ("workloads", 0, "workloadIps", 0), {}, "expected a string, found an object"),
        ("zc service", ZTUNNEL, ("services", 0, "ports", "80"), True, "expected a whole number, found a boolean"),
        ("zc all", ZTUNNEL, ("workloadState", "1", "connections"), [], "expected an object, found a list"),
    ],
)
def test_the_file_and_the_field_are_named(
    command: str, document: Any, place: tuple[str | int, ...], value: Any, words: str, tmp_path: Path
) -> None:
    done = run(path := tmp_path / "dump.json", mutated(document, place, value), *command.split())
    said = rf"Error: {path}: error unmarshalling config dump response from \w+: {re.escape(told(place))}: {words}.*\n"
    assert (done.exit_code, bool(re.fullmatch(said, done.stderr))) == (1, True), done.stderr


def test_null_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    """In JSON of protobuf, which Envoy's is."""
    document = mutated(ENVOY, ("configs", 1, "static_clusters", 0, "cluster", "cluster_type"), None)
    last = run(tmp_path / "dump.json", document, "pc", "cluster").stdout.splitlines()[-1]
    assert last.split() == ["c", "-", "-", "-", "STATIC"]
