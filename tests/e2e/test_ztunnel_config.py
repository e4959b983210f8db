"""What people see of ztunnel in a whole mesh: `istioctl ztunnel-config`, its levels and its metrics."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ambientlab.host import tools
from support.mesh import Mesh
from support.waiting import eventually, first

HOST = "helloworld.hello.svc.cluster.local"
COLUMNS = r"(POD|SERVICE|POLICY|CERTIFICATE) NAME|SERVICE VIP|REMOTE TARGET|VALID CERT|SERIAL NUMBER|NOT \w+|\w+"
CURL = ("exec", "curl", "-n", "test", "--", "curl", "-sS")
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-curl, namespace: hello}
spec:
  selector: {matchLabels: {app: helloworld}}
  action: DENY
  rules: [{from: [{source: {namespaces: [test]}}]}]
"""
IDENTITY = "spiffe://cluster.local/ns/{}/sa/{}"


@pytest.fixture(scope="module")
def hello(hello_behind_waypoint: Mesh) -> Mesh:
    lab = hello_behind_waypoint
    lab.kubectl("create", "service", "clusterip", "direct", "-n", "hello", "--tcp=5000")
    lab.kubectl("label", "service", "direct", "-n", "hello", "istio.io/use-waypoint=none")
    selector = {"spec": {"selector": {"app": "helloworld"}}}
    lab.kubectl("patch", "service", "direct", "-n", "hello", "-p", json.dumps(selector))
    # until the Service has endpoints, connections are refused, and curl fails
    answer = (*CURL, "http://direct.hello:5000/hello")
    eventually(lambda: "Hello" in lab.kubectl(*answer, check=False), "an answer")
    return lab


def zc(mesh: Mesh, *arguments: str) -> str:
    done = mesh.ambientlab("istioctl", "zc", *arguments)
    assert done.code == 0, done.text
    return done.out


def rows(mesh: Mesh, *arguments: str) -> list[list[str]]:
    """The cells of a table, by line."""
    head, *lines = zc(mesh, *arguments).splitlines()
    starts = [match.start() for match in re.finditer(COLUMNS, head)]
    return [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]


def names(mesh: Mesh, selector: str, namespace: str) -> list[tuple[str, str]]:
    """Pods and their addresses."""
    items = mesh.json("get", "pods", "-n", namespace, "-l", selector)["items"]
    return [(one["metadata"]["name"], addresses(one)) for one in items]


def addresses(pod: Any) -> str:
    """Those of both families, as they are shown."""
    return ",".join(each["ip"] for each in pod["status"]["podIPs"])


@pytest.mark.parametrize("how", ["", "ds/ztunnel", "ds/ztunnel.istio-system", "pod", "--node"])
def test_workloads(hello: Mesh, how: str) -> None:
    [(ztunnel, _)] = names(hello, "app=ztunnel", "istio-system")
    which = {"": [], "pod": [f"{ztunnel}.istio-system"], "--node": ["--node", "ambientlab"]}.get(how, [how])
    found = rows(hello, "workload", *which, "--workload-namespace", "hello")
    waypoint = "gateway.networking.k8s.io/gateway-name=waypoint"
    expected = [["hello", *pod, "ambientlab", "None", "HBONE"] for pod in names(hello, "app=helloworld", "hello")]
    expected += [["hello", *pod, "ambientlab", "None", "TCP"] for pod in names(hello, waypoint, "hello")]
    assert found == sorted(expected)


def test_of_a_workload_its_own(hello: Mesh) -> None:
    ips = addresses(hello.json("get", "pod", "curl", "-n", "test"))
    assert rows(hello, "w", "curl.test") == [["test", "curl", ips, "ambientlab", "None", "HBONE"]]
    refused = hello.ambientlab("istioctl", "zc", "w", "nobody.test")
    assert 'failed to get pod nobody.test: pods "nobody" not found' in refused.err


def test_services(hello: Mesh) -> None:
    found = {row[1]: row for row in rows(hello, "service", "--service-namespace", "hello")}
    vip = hello.json("get", "service", "helloworld", "-n", "hello")["spec"]["clusterIP"]
    assert found["helloworld"] == ["hello", "helloworld", vip, "waypoint", "2/2"]
    assert found["waypoint"][3:] == ["None", "1/1"]
    assert found["direct"][3:] == ["None", "2/2"]
    [one] = [s for s in json.loads(zc(hello, "svc", "-o", "json")) if s["hostname"] == HOST]
    assert one["waypoint"] == {"destination": "hello/waypoint.hello.svc.cluster.local"}


def test_certificates(hello: Mesh) -> None:
    found = rows(hello, "certificate")
    for identity in (IDENTITY.format("test", "default"), IDENTITY.format("hello", "default")):
        kinds = [row[1:4] for row in found if row[0] == identity]
        assert kinds == [["Leaf", "Available", "true"], ["Root", "Available", "true"]], found
    assert "PRIVATE" not in zc(hello, "all", "-o", "json")


def test_levels(hello: Mesh) -> None:
    [(ztunnel, _)] = names(hello, "app=ztunnel", "istio-system")
    assert zc(hello, "log") == f"{ztunnel}.istio-system:\ncurrent log level is info\n\n"
    before = hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel")
    assert "current log level is error" in zc(hello, "log", f"{ztunnel}.istio-system", "--level", "error")
    hello.curl("http://direct.hello:5000/hello")
    hello.kubectl(*CURL, "http://direct.hello:5000/hello", check=False)
    failed = "no service for target address: 10.96.255.1:80"
    hello.kubectl(*CURL, "http://10.96.255.1", check=False)
    assert "current log level is info" in zc(hello, "o", "-r")
    hello.curl("http://direct.hello:5000/hello")
    after = first(
        lambda: hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel").removeprefix(before),
        lambda text: "direct.hello" in text,
        "line",
    )
    assert failed not in after, "a warning, below what was shown"
    assert after.count('direction="outbound"') == 1


def test_what_is_looked_up_is_logged_for_who_wants_to_know(hello: Mesh) -> None:
    look_up = ("exec", "-n", "test", "curl", "--", "getent", "hosts")
    for names_of, level in ((("direct.hello",), "info"), (("direct.hello", "elsewhere.example."), "dns:debug")):
        zc(hello, "log", "--level", level)
        for name in names_of:
            hello.kubectl(*look_up, name, check=False)
    zc(hello, "log", "--reset")
    lines = [line.split("\t", 1)[1] for line in hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel").splitlines()]
    found = [line.removeprefix("debug\tdns\t") for line in lines if line.startswith("debug\tdns\t")]
    source = r'src.workload="curl\S*" src.namespace="test"'
    known = rf'{source} query="A" domain="direct.hello.svc.cluster.local." result="success" endpoints=1'
    unknown = rf'{source} query="A" domain="elsewhere.example." result="forwarding failed" endpoints=0'
    for wanted in (known, unknown):
        assert any(re.fullmatch(wanted, line) for line in found), found
    assert sum(re.fullmatch(known, line) is not None for line in found) == 1, "none at the level that is usual"


def test_open_connections(hello: Mesh) -> None:
    vip = hello.json("get", "service", "direct", "-n", "hello")["spec"]["clusterIP"]
    script = f"exec 3<>/dev/tcp/{vip}/5000; echo open; cat"
    with typing(hello, "exec", "-i", "curl", "-n", "test", "--", "bash", "-c", script):
        wanted = ["curl.test", "Outbound", "direct.hello.svc.cluster.local:5000", "HBONE"]

        [row] = [row for row in rows(hello, "connections", "curl.test") if [*row[:2], *row[4:]] == wanted]
        assert row[2].startswith("curl.test:")
        assert re.fullmatch(r"helloworld-v[12]-\S+\.hello:15008", row[3])
        pod = row[3].removesuffix(":15008")
        inbound = [row for row in rows(hello, "cons", pod, "--direction", "inbound") if row[0] == pod]
        target = "direct.hello.svc.cluster.local"
        assert [[*row[:3], *row[4:]] for row in inbound] == [[pod, "Inbound", f"{pod}:5000", target, "HBONE"]]
        raw = rows(hello, "connections", "--workload-namespace", "test", "--raw", "--direction", "outbound")
        assert [row[4] for row in raw] == [f"{vip}:5000"]
    eventually(lambda: rows(hello, "connections") == [], "end of it")


def test_metrics(hello: Mesh) -> None:
    """Once for each side of a connection, at ztunnel's address and at istiod's."""
    labels = {
        "source_workload": "curl",
        "source_workload_namespace": "test",
        "source_principal": IDENTITY.format("test", "default"),
        "destination_service": "direct.hello.svc.cluster.local",
        "destination_service_name": "direct",
        "destination_service_namespace": "hello",
        "destination_workload_namespace": "hello",
        "destination_principal": IDENTITY.format("hello", "default"),
        "destination_canonical_service": "helloworld",
        "request_protocol": "tcp",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
    }

    def total(text: str, metric: str, reporter: str) -> int:
        wanted = {f'{name}="{value}"' for name, value in {**labels, "reporter": reporter}.items()}
        found = re.findall(rf"^istio_tcp_{metric}_total{{(.*)}} (\d+)$", text, re.MULTILINE)
        return sum(int(value) for given, value in found if wanted <= set(given.split(",")))

    def served() -> str:
        return hello.curl("http://10.244.0.1:15020/stats/prometheus")

    def grown(text: str, metric: str, reporter: str = "source") -> int:
        return total(text, metric, reporter) - total(before, metric, reporter)

    before = served()
    answers = hello.sample("http://direct.hello:5000/hello", 5)
    after = first(served, lambda text: grown(text, "connections_closed") >= 5, "five connections more")
    for metric in ("connections_opened", "connections_closed"):
        assert grown(after, metric) == 5
    assert grown(after, "sent_bytes") > sum(map(len, answers)), "what the server sent"
    assert 0 < grown(after, "received_bytes") < grown(after, "sent_bytes")
    assert 'istio_build{component="ztunnel",tag="1.31.0"} 1' in after
    assert total(after, "connections_closed", "destination") > 0
    with hello.background("port-forward", "-n", "istio-system", "deploy/istiod", ":15014") as forward:
        assert forward.process.stdout is not None
        port = re.findall(r"127\.0\.0\.1:(\d+)", forward.process.stdout.readline())[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            mesh = answer.read().decode()
    assert total(mesh, "connections_closed", "source") == total(after, "connections_closed", "source")
    assert 'istio_build{component="pilot",tag="1.31.0"} 1\n' in mesh
    assert 'pilot_xds{version="1.31.0"} 2\n' in mesh, "ztunnel and a waypoint"


def test_metrics_of_the_dns(hello: Mesh) -> None:
    """What a captured pod has asked: for what ztunnel knows, and for what it would ask another server."""

    def asked(metric: str) -> int:
        text = hello.curl("http://10.244.0.1:15020/metrics")
        wanted = {'request_query_type="a"', 'request_protocol="udp"', 'source_canonical_service="curl"'}
        found = re.findall(rf"^istio_dns_{metric}{{(.*)}} (\d+)$", text, re.MULTILINE)
        return sum(int(value) for labels, value in found if wanted <= set(labels.split(",")))

    metrics = ("requests_total", "upstream_requests_total", "upstream_failures_total")
    duration = "upstream_request_duration_seconds_count"
    before = [asked(metric) for metric in (*metrics, duration)]
    look_up = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    name = "direct.hello.svc.cluster.local."
    assert hello.kubectl("exec", "-n", "test", "curl", "--", "python3", "-c", look_up, name).startswith("10.")
    failed = hello.kubectl(
        "exec", "-n", "test", "curl", "--", "python3", "-c", look_up, "elsewhere.example.", check=False
    )
    assert "gaierror" in failed
    after = [asked(metric) for metric in (*metrics, duration)]
    grown = [now - then for now, then in zip(after, before, strict=True)]
    assert grown[0] == grown[1] + 1
    assert grown[1] == grown[2] == grown[3] >= 1, "a resolver asks again where a server fails"


def test_policies(hello: Mesh) -> None:
    """What one is, and that what it refuses is counted."""
    hello.apply(DENY)
    wanted = ["hello", "no-curl", "Deny", "WorkloadSelector"]
    first(lambda: rows(hello, "policies", "--policy-namespace", "hello"), lambda found: found == [wanted], "the row")
    assert rows(hello, "policy", "--policy-namespace", "test") == []
    request = (*CURL, "http://direct.hello:5000/hello")
    eventually(lambda: "Hello" not in hello.kubectl(*request, check=False), "a refusal")
    refused = r'^istio_tcp_connections_closed_total\{reporter="destination",.*response_flags="DENY".*\} [1-9]'
    address = "http://10.244.0.1:15020/metrics"
    eventually(lambda: re.search(refused, hello.curl(address), re.MULTILINE) is not None, "its count")
    hello.kubectl("delete", "authorizationpolicy", "no-curl", "-n", "hello")
    eventually(lambda: rows(hello, "policies", "--policy-namespace", "hello") == [], "its end")


@contextmanager
def typing(mesh: Mesh, *arguments: str) -> Iterator[None]:
    """`kubectl ARGUMENTS` runs until its input ends."""
    command = [str(tools.kubectl()), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=mesh.env, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield
        finally:
            process.stdin.close()
            process.wait(20)
