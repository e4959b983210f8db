"""`istioctl ztunnel-config` over dumps: its tables, its JSON, and what it says of what is no dump."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli import istioctl
from ambientlab.cli.ztunnel_config import tables
from ambientlab.cli.ztunnel_config.dump import Dump

ROOT = {"serialNumber": "255", "validFrom": "2020-01-01T00:00:00Z", "expirationTime": "2120-01-01T00:00:00Z"}
LEAF = {"serialNumber": "10", "validFrom": "2020-01-01T00:00:00Z", "expirationTime": "2021-01-01T00:00:00Z"}
WAYPOINT = {"destination": "hello/waypoint.hello.svc.cluster.local", "hboneMtlsPort": 15008}
DUMP: dict[str, Any] = {
    "workloads": [
        {"uid": "u/b", "workloadIps": ["10.0.0.2"], "name": "b", "namespace": "hello", "node": "n1",
         "status": "Healthy", "protocol": "HBONE", "waypoint": WAYPOINT, "capacity": 1},
        {"uid": "u/a", "workloadIps": ["10.0.0.1"], "name": "a", "namespace": "hello", "node": "n2", "protocol": "TCP",
         "status": "Unhealthy"},
        {"uid": "u/x", "workloadIps": [], "hostname": "x.example", "name": "x", "namespace": "ext", "protocol": "TCP",
         "waypoint": {"destination": "/10.9.9.9"}},
    ],
    "services": [
        {"name": "waypoint", "namespace": "hello", "hostname": "waypoint.hello.svc.cluster.local",
         "vips": ["/10.9.0.8"], "ports": {"15008": 15008}, "endpoints": {}, "ipFamilies": "IPv4"},
        {"name": "app", "namespace": "hello", "hostname": "app.hello.svc.cluster.local",
         "vips": ["/10.9.0.1", "/fd00::1"], "ports": {"80": 8080}, "waypoint": {"destination": "/10.9.0.8"},
         "endpoints": {"u/b": {"workloadUid": "u/b", "port": {"80": 8080}}, "u/a": {"workloadUid": "u/a"}}},
    ],
    "policies": [
        {"name": "p2", "namespace": "hello", "action": "Deny", "scope": "WorkloadSelector", "rules": [
            [[{"notNamespaces": [{"Exact": "x"}], "destinationPorts": [80], "serviceAccounts": []}]]]},
        {"name": "p1", "namespace": "hello", "action": "Allow", "scope": "Namespace", "rules": []},
    ],
    "certificates": [
        {"identity": "spiffe://t/a", "state": "Available", "certChain": [LEAF, ROOT], "rootCerts": [ROOT]},
        {"identity": "spiffe://t/old", "state": "Available", "certChain": [ROOT, ROOT], "rootCerts": []},
        {"identity": "spiffe://t/b", "state": "Unavailable: no reason", "certChain": [], "rootCerts": []},
    ],
    "workloadState": {
        "1": {"state": "Up", "info": {"name": "b", "namespace": "hello", "serviceAccount": "b"}, "connections": {
            "inbound": [{"src": "10.0.0.1:4", "originalDst": None, "actualDst": "10.0.0.2:8080", "protocol": "HBONE"}],
            "outbound": [{"src": "10.0.0.2:5", "originalDst": "10.9.0.1:80", "actualDst": "10.0.0.1:15008",
                          "protocol": "HBONE"}]}},
        "2": {"state": "Up", "info": {"name": "a", "namespace": "hello"}, "connections": {"inbound": [], "outbound": [
            {"src": "10.0.0.1:6", "originalDst": "1.1.1.1:80", "actualDst": "1.1.1.1:80", "protocol": "TCP"}]}},
    },
}  # fmt: skip


def run(*arguments: str, dump: object = DUMP) -> Result:
    return CliRunner().invoke(istioctl.cli, ["zc", *arguments, "-f", "-"], input=json.dumps(dump))


def out(*arguments: str, dump: object = DUMP) -> str:
    done = run(*arguments, dump=dump)
    assert done.exit_code == 0, done.output
    return done.output


TABLES = {
    ("workloads",): """
        NAMESPACE POD NAME ADDRESS   NODE WAYPOINT PROTOCOL
        ext       x        x.example      NA       TCP
        hello     a        10.0.0.1  n2   None     TCP
        hello     b        10.0.0.2  n1   waypoint HBONE
        """,
    ("svc",): """
        NAMESPACE SERVICE NAME SERVICE VIP      WAYPOINT ENDPOINTS
        hello     app          10.9.0.1,fd00::1 waypoint 1/2
        hello     waypoint     10.9.0.8         None     0/0
        """,
    ("pol",): """
        NAMESPACE POLICY NAME ACTION SCOPE
        hello     p1          Allow  Namespace
        hello     p2          Deny   WorkloadSelector
        """,
    ("certs",): """
        CERTIFICATE NAME     TYPE             STATUS          VALID CERT     SERIAL NUMBER     NOT AFTER                NOT BEFORE
        spiffe://t/a         Leaf             Available       false          a                 2021-01-01T00:00:00Z     2020-01-01T00:00:00Z
        spiffe://t/a         Intermediate     Available       true           ff                2120-01-01T00:00:00Z     2020-01-01T00:00:00Z
        spiffe://t/a         Root             Available       true           ff                2120-01-01T00:00:00Z     2020-01-01T00:00:00Z
        spiffe://t/old       Leaf             Available       true           ff                2120-01-01T00:00:00Z     2020-01-01T00:00:00Z
        spiffe://t/old       Root             Available       true           ff                2120-01-01T00:00:00Z     2020-01-01T00:00:00Z
        spiffe://t/b         NA               Unavailable     false          NA                NA                       NA
        """,  # noqa: E501 - a table as it is printed
    ("cons",): """
        WORKLOAD DIRECTION LOCAL        REMOTE        REMOTE TARGET                  PROTOCOL
        a.hello  Outbound  a.hello:6    1.1.1.1:80    1.1.1.1:80                     TCP
        b.hello  Inbound   b.hello:8080 a.hello:4                                    HBONE
        b.hello  Outbound  b.hello:5    a.hello:15008 app.hello.svc.cluster.local:80 HBONE
        """,
    ("connections", "--raw", "--direction", "outbound", "--workload-namespace", "hello"): """
        WORKLOAD DIRECTION LOCAL      REMOTE         REMOTE TARGET PROTOCOL
        a.hello  Outbound  10.0.0.1:6 1.1.1.1:80     1.1.1.1:80    TCP
        b.hello  Outbound  10.0.0.2:5 10.0.0.1:15008 10.9.0.1:80   HBONE
        """,
}


@pytest.mark.parametrize("arguments", TABLES, ids="-".join)
def test_tables_are_istioctls(arguments: tuple[str, ...]) -> None:
    assert out(*arguments) == dedent(TABLES[arguments]).lstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("workload", "--workload-namespace", "HELLO"), ["a", "b"]),
        (("workload", "--address", "10.0.0.2"), ["b"]),
        (("w", "--workload-node", "n2"), ["a"]),
        (("service", "--service-namespace", "ext"), []),
        (("policy", "--policy-namespace", "hello"), ["p1", "p2"]),
    ],
)
def test_filters_choose(arguments: tuple[str, ...], names: list[str]) -> None:
    assert sorted(one["name"] for one in json.loads(out(*arguments, "-o", "json"))) == names


def test_json_has_what_istioctl_knows_and_gos_zero_values() -> None:
    [first, _, _] = json.loads(out("workload", "-o", "json"))
    assert first == {
        "uid": "u/b",
        "workloadIps": ["10.0.0.2"],
        "waypoint": {"destination": WAYPOINT["destination"]},
        "protocol": "HBONE",
        "name": "b",
        "namespace": "hello",
        "serviceAccount": "",
        "workloadName": "",
        "workloadType": "",
        "canonicalName": "",
        "canonicalRevision": "",
        "clusterId": "",
        "locality": {},
        "node": "n1",
        "status": "Healthy",
        "hostname": "",
        "capacity": 1,
        "applicationTunnel": {"protocol": ""},
    }
    [app, _] = json.loads(out("service", "-o", "json"))
    assert app["endpoints"]["u/a"] == {"workloadUid": "u/a", "service": "", "port": None}
    [_, deny] = json.loads(out("policy", "-o", "json"))
    assert deny["rules"] == [[[{"notNamespaces": [{"Exact": "x"}], "destinationPorts": [80]}]]]
    [_, state] = json.loads(out("connections", "-o", "json"))
    assert state["connections"]["inbound"][0]["originalDst"] == ""
    assert out("policy", "-o", "yaml", "--policy-namespace", "none") == "[]\n\n"
    assert json.loads(out("all", "-o", "json")) == DUMP


def test_everything_is_every_table() -> None:
    text = out("all", "--with-headers")
    assert [line for line in text.splitlines() if line.startswith("---")] == [
        f"------ {part} INFO ------" for part in ("WORKLOAD", "SERVICE", "POLICY", "SECRET", "CONNECTIONS")
    ]
    plain = out("all")
    assert plain.startswith("\nNAMESPACE POD NAME")
    assert plain.replace("\n\n", "\n").strip() == "".join(out(part) for part in ("w", "s", "p", "cert", "cons")).strip()


def test_certificates_are_valid_for_a_time() -> None:
    now = datetime(2020, 6, 1, tzinfo=UTC)
    assert tables.certificates(Dump(json.dumps(DUMP)), now)[1][3] == "true"
    assert tables.certificates(Dump(json.dumps(DUMP)), now - timedelta(days=365))[1][3] == "false"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("workload", "-o", "table"), 'output format "table" not supported'),
        (("workload", "pod.ns"), "at most one of --file, --node, or pod name must be passed"),
        (("log", "--level", "loud"), "unrecognized logging level: loud"),
        (("log", "--level", "info", "-r"), "--level cannot be combined with --reset"),
        (("log", "-o", "json"), "--output is not applicable for this command"),
    ],
)
def test_what_is_asked_wrongly_is_refused(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert words in done.output


@pytest.mark.parametrize("dump", ["", "[]", '"x"', '{"workloads": [1]}', "[" * 100_000])
def test_what_is_no_dump_is_said(dump: str) -> None:
    done = CliRunner().invoke(istioctl.cli, ["zc", "workload", "-f", "-"], input=dump)
    assert done.exit_code == 1
    assert "error unmarshalling config dump response from ztunnel" in done.output
