"""`istioctl proxy-config` over dumps: what it finds in them, and how it writes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambientlab.cli import goyaml, istioctl, tabwriter
from ambientlab.cli.proxy_config import clusters, endpoints, listeners, loggers, routes, secrets
from ambientlab.cli.proxy_config.dump import Dump, DumpError, Message, as_json
from ambientlab.mesh.serve.ca import CertificateAuthority

HTTP = "envoy.filters.network.http_connection_manager"
TCP = "envoy.filters.network.tcp_proxy"


def test_columns_are_go_tabwriters(capsys: pytest.CaptureFixture[str]) -> None:
    tabwriter.columns([["A", "BB", "C"], ["long", "b", ""]], padding=2)
    assert capsys.readouterr().out == "A     BB  C\nlong  b   \n"


def test_clusters_of_services_are_taken_apart_and_sorted() -> None:
    rule = {"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/a/destination-rule/r"}}}
    made: list[Message] = [
        {"name": "encap", "type": "STATIC"},
        {"name": "inbound-vip|80|http/v1|b.a.svc.cluster.local", "type": "EDS", "metadata": rule},
        {"name": "inbound-vip|80|http|a.a.svc.cluster.local", "type": "EDS"},
        {"name": "outbound|90||a.a.svc.cluster.local"},
    ]
    configs = [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": [{"cluster": {"@type": "x", **one}} for one in made[1:]],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "static_clusters": [{"cluster": {"@type": "x", **made[0]}}],
        },
    ]
    found = Dump(json.dumps({"configs": configs})).clusters()
    assert clusters.rows(found) == [
        ["a.a.svc.cluster.local", "90", "-", "outbound", "STATIC", ""],
        ["a.a.svc.cluster.local", "80", "http", "inbound-vip", "EDS", ""],
        ["b.a.svc.cluster.local", "80", "http/v1", "inbound-vip", "EDS", "r.a"],
        ["encap", "-", "-", "-", "STATIC", ""],
    ]

    def names(chosen: clusters.ClusterFilter) -> list[str]:
        return [one["name"] for one in found if chosen.admits(one)]

    assert names(clusters.ClusterFilter(port=90)) == ["outbound|90||a.a.svc.cluster.local"]
    assert names(clusters.ClusterFilter(fqdn="b.a", subset="v1", direction="inbound-vip")) == [made[1]["name"]]


@pytest.mark.parametrize("text", ["", "[]", "1", '{"configs"', '{"configs": 1}', "[" * 100_000])
def test_what_is_no_dump_is_said_to_be_none(text: str) -> None:
    for read in (Dump, endpoints.parse):
        with pytest.raises(DumpError, match="error unmarshalling config dump"):
            read(text)


def test_what_of_a_dump_is_no_text_is_shown_all_the_same() -> None:
    done = CliRunner().invoke(istioctl.cli, ["pc", "all", "-f", "-", "-o", "json"], input=b'{"configs": ["\xff"]}')
    assert (done.exit_code, done.stdout) == (0, '{"configs": ["\ufffd"]}\n')


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("cluster", "config dump has no configuration type type.googleapis.com/envoy.admin.v3.ClustersConfigDump"),
        ("listener", "listener dump: config dump has no configuration type type.googleapis.com/envoy.admin.v3.Listen"),
        ("secret", "config dump has no configuration type type.googleapis.com/envoy.admin.v3.SecretsConfigDump"),
        ("bootstrap", "config dump has no configuration type type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"),
        ("all", "config dump has no configuration type type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"),
    ],
)
def test_what_a_dump_has_not_is_named(command: str, kind: str) -> None:
    """As of a ztunnel, whose dump is of another form."""
    done = CliRunner().invoke(istioctl.cli, ["pc", command, "-f", "-"], input='{"workloads": []}')
    assert (done.exit_code, done.stderr.startswith(f"Error: {kind}")) == (1, True), done.stderr


def test_eds_has_localities_and_all_is_the_dump_as_it_is() -> None:
    address = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
    endpoint = {"endpoint": {"address": address}, "health_status": "HEALTHY"}
    assignment = {
        "cluster_name": "c",
        "endpoints": [{"locality": {"region": "r", "zone": "z"}, "lb_endpoints": [endpoint]}],
    }
    part = {
        "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
        "dynamic_endpoint_configs": [{"endpoint_config": assignment}],
    }

    def said(*arguments: str) -> str:
        dump = json.dumps({"configs": [part]})
        return CliRunner().invoke(istioctl.cli, ["pc", *arguments, "-f", "-"], input=dump).stdout

    assert said("eds").splitlines()[1].split() == ["10.0.0.1:80", "HEALTHY", "r/z", "c"]
    assert said("eds", "--cluster", "d").splitlines()[1:] == []
    assert json.loads(said("eds", "--status", "healthy", "-o", "json"))[0]["clusterName"] == "c"
    assert json.loads(said("eds", "--port", "81", "-o", "json")) == []
    assert "dynamic_endpoint_configs:" in said("all", "-o", "yaml")


def test_yaml_is_written_as_go_writes_it() -> None:
    given = {"b": "1", "a": ["", "*", "x y", "true", "a: b", "2026-11-26", "one\ntwo\n"], "n": {"10": None, "9": {}}}
    lines = ["a:", '- ""', "- '*'", "- x y", '- "true"', "- 'a: b'", '- "2026-11-26"', "- |", "  one", "  two"]
    assert goyaml.text(given).splitlines() == [*lines, 'b: "1"', "n:", '  "9": {}', '  "10": null']


def test_json_has_json_names_but_for_what_is_data() -> None:
    given = {
        "type_url": "a_b",
        "typed_per_filter_config": {"envoy.x_y": {"@type": "t", "some_field": 1}},
        "metadata": {"filter_metadata": {"my_space": {"my_key": {"deep_key": 1}}}},
        "match": {"path_separated_prefix": "/", "headers": [{"string_match": {"safe_regex": {}}}]},
        "transport_socket_matches": [{"match": {"my_key": "v"}, "transport_socket": {}}],
        "exact_match_map": {"map": {"10.0.0.1": {"on_no_match": {}}}},
    }
    assert json.loads(as_json(given)) == {
        "typeUrl": "a_b",
        "typedPerFilterConfig": {"envoy.x_y": {"@type": "t", "someField": 1}},
        "metadata": {"filterMetadata": {"my_space": {"my_key": {"deep_key": 1}}}},
        "match": {"pathSeparatedPrefix": "/", "headers": [{"stringMatch": {"safeRegex": {}}}]},
        "transportSocketMatches": [{"match": {"my_key": "v"}, "transportSocket": {}}],
        "exactMatchMap": {"map": {"10.0.0.1": {"onNoMatch": {}}}},
    }


def test_listeners_say_whom_they_are_for_and_where_they_lead() -> None:
    inline = {"virtual_hosts": [{"domains": ["a", "b"], "routes": [{"match": {"prefix": "/x"}}]}]}
    through = {"virtual_hosts": [{"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}
    match = {
        "server_names": ["s"],
        "transport_protocol": "tls",
        "application_protocols": ["http/1.0", "http/1.1", "h2c"],
        "destination_port": 81,
        "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
    }

    def chain(kind: str, **config: object) -> Message:
        return {"filters": [{"name": kind, "typed_config": config}]}

    made: Message = {
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "filter_chains": [
            chain(HTTP, route_config=inline),
            chain(HTTP, route_config=through),
            {**chain(HTTP, rds={"route_config_name": "r"}), "filter_chain_match": match},
            chain(TCP, cluster="PassthroughCluster"),
        ],
        "default_filter_chain": chain("other"),
    }
    assert listeners.rows(made) == [
        ["0.0.0.0", "80", "SNI: s; Trans: tls; App: HTTP; Addr: 10.0.0.0/8:81", "Route: r"],
        ["0.0.0.0", "80", "ALL", "PassthroughCluster"],
        ["0.0.0.0", "80", "ALL", "Non-HTTP/Non-TCP"],
        ["0.0.0.0", "80", "ALL", "Inline Route: a/b /x*"],
        ["0.0.0.0", "80", "ALL", "Cluster: c"],
    ]
    assert listeners.brief(made) == ["0.0.0.0", "80", "HTTP+TCP"]
    assert listeners.ListenerFilter("0.0.0.0", 80, "http+tcp").admits(made)
    assert not listeners.ListenerFilter(port=81).admits(made)


def test_routes_show_paths_and_the_domains_that_matter() -> None:
    many = ["a", "a.b", "a.b.svc", "a.b.svc.cluster.local", "a:80", "10.0.0.1", "10.0.0.2"]
    config: Message = {
        "name": "r",
        "virtual_hosts": [
            {"name": "h", "domains": many, "routes": [{"match": {"safe_regex": {"regex": "x"}}}, {"match": {}}]},
            {"name": "none", "domains": ["*"]},
            {"name": "out", "domains": ["*"], "routes": [{"match": {}, "route": {"cluster": "PassthroughCluster"}}]},
        ],
    }
    assert routes.rows(config) == [
        ["r", "h", "a, a.b + 2 more...", "regex x", ""],
        ["r", "h", "a, a.b + 2 more...", "", ""],
        ["r", "none", "*", "/*", "404"],
    ]


def test_endpoints_are_sorted_and_chosen() -> None:
    socket = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
    internal = {"envoy_internal_address": {"server_listener_name": "l", "endpoint_id": "10.0.0.2:80"}}
    healthy, failed = {"eds_health_status": "HEALTHY"}, {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
    statuses: list[Message] = [
        {"name": "c", "host_statuses": [{"address": internal, "health_status": failed}]},
        {"name": "b", "host_statuses": [{"address": socket, "health_status": healthy}]},
        {"name": "a"},
    ]
    found = endpoints.parse(json.dumps({"cluster_statuses": statuses}))
    assert endpoints.rows(found, endpoints.EndpointFilter()) == [
        ["10.0.0.1:80", "HEALTHY", "OK", "b"],
        ["envoy://l/10.0.0.2:80", "HEALTHY", "FAILED", "c"],
    ]
    assert [one["name"] for one in endpoints.with_hosts(found, endpoints.EndpointFilter(port=80))] == ["b"]
    assert endpoints.rows(found, endpoints.EndpointFilter(status="draining")) == []


def test_secrets_show_certificates_and_no_key() -> None:
    import base64

    ca = CertificateAuthority.create()
    root = base64.b64encode(ca.root_pem).decode()
    section: Message = {
        "dynamic_active_secrets": [
            {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": root}}}},
            {"name": "broken", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": "eA=="}}}},
        ]
    }
    now = datetime.now(UTC)
    header, [valid, broken] = secrets.rows(section, now)
    assert header == secrets.HEADER
    assert valid[:4] == ["ROOTCA", "CA", "ACTIVE", "true"]
    assert broken == ["broken", "", "ACTIVE", "false", "", "", ""]
    _, [expired, _] = secrets.rows(section, now + timedelta(days=100_000))
    assert expired[3] == "false"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", {}),
        ("warn", {"level": "warning"}),
        ("rbac:debug,level:info,http=trace", {"level": "info", "rbac": "debug", "http": "trace"}),
    ],
)
def test_levels(text: str, result: dict[str, str]) -> None:
    assert loggers.wanted(text, "active loggers:\n  rbac: warning\n  http: warning\n") == result
    assert list(loggers.wanted(text, "rbac http"))[:1] in ([], ["level"])


@pytest.mark.parametrize(("text", "words"), [("loud", "logging level: loud"), ("nobody:info", "logger name: nobody")])
def test_other_levels_are_refused(text: str, words: str) -> None:
    with pytest.raises(click.ClickException, match=f"unrecognized {words}"):
        loggers.wanted(text, "rbac")


@pytest.mark.parametrize("name", ["cluster", "c", "listeners", "r", "ep", "secrets", "b", "a"])
def test_a_file_stands_for_a_pod(name: str) -> None:
    done = CliRunner().invoke(istioctl.cli, ["pc", name, "-f", "-"], input="[]")
    assert done.exit_code == 1
    assert "error unmarshalling config dump response from Envoy" in done.output
    both = CliRunner().invoke(istioctl.cli, ["proxy-config", name, "a.b", "-f", "-"], input="{}")
    assert "requires pod name or --file parameter" in both.output


@pytest.mark.parametrize("command", [("proxy-config", "listener"), ("ztunnel-config", "workload")])
def test_a_file_that_cannot_be_read_is_named(command: tuple[str, str], tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.json", "open {}: no such file"), (tmp_path, "read {}: is a directory")):
        done = CliRunner().invoke(istioctl.cli, [*command, "-f", str(path)])
        assert (done.exit_code, words.format(path) in done.output) == (1, True)
