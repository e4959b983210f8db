"""What a waypoint tells of the traffic it carries: its log and its metrics, after real requests."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from support.mesh import Mesh
from support.waiting import eventually, first

HELLO = "http://helloworld.hello:5000"
WORLD = """
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{name: tcp, port: 7000, targetPort: 5000}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: hello}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: closed, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{name: http, port: 80, targetPort: 81}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: faults, namespace: hello}
spec:
  hosts: [helloworld]
  http:
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: helloworld}}]
  - match: [{uri: {prefix: /old}, statPrefix: of-old}]
    name: renamed
    rewrite: {uri: /hello}
    route: [{destination: {host: helloworld}}]
  - route: [{destination: {host: helloworld}}]
"""
FAILURES_ONLY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: failures, namespace: hello}
spec:
  targetRefs: [{kind: Service, group: "", name: helloworld}]
  accessLogging:
  - providers: [{name: envoy}]
    filter: {expression: response.code >= 400}
  metrics:
  - overrides:
    - match: {metric: REQUEST_COUNT}
      tagOverrides: {response_flags: {operation: REMOVE}, method: {value: request.method}}
"""
POD = r"10\.244\.\d+\.\d+"
VIP = r"\d+\.\d+\.\d+\.\d+"
TIME = r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\]"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
INNER = "envoy://internal_client_address/"
SERIES = re.compile(r"(istio_\w+)\{(.*)\} (\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def hello(hello_behind_waypoint: Mesh) -> Mesh:
    lab = hello_behind_waypoint
    lab.apply(WORLD)
    bound = "--for=jsonpath={.status.conditions[?(@.type=='istio.io/WaypointBound')].status}=True"
    lab.kubectl("wait", "-n", "hello", bound, "service", "helloworld", "raw", "nobody", "closed")
    settled(lab)
    return lab


def settled(lab: Mesh) -> None:
    """Wait until ztunnel sends through the waypoint, which answers in its own name."""
    eventually(
        lambda: "istio-envoy" in lab.curl("-o", "/dev/null", "-D", "-", f"{HELLO}/abort"), "answer through the waypoint"
    )


def log(lab: Mesh) -> list[str]:
    return lab.kubectl("logs", "-n", "hello", "deploy/waypoint").splitlines()


def logged(lab: Mesh, pattern: str) -> None:
    """Envoy flushes its log when it has the time."""
    first(
        lambda: log(lab)[-10:], lambda lines: any(re.fullmatch(pattern, line) for line in lines), f"line like {pattern}"
    )


def scrape(lab: Mesh) -> list[tuple[str, dict[str, str], float]]:
    """As Prometheus does: from another pod, where the annotations say."""
    pod = lab.json("get", "pods", "-n", "hello", "-l", "gateway.networking.k8s.io/gateway-name")["items"][0]
    said = pod["metadata"]["annotations"]
    assert said["prometheus.io/scrape"] == "true"
    url = f"http://{pod['status']['podIP']}:{said['prometheus.io/port']}{said['prometheus.io/path']}"
    return series(lab.curl(url))


def series(text: str) -> list[tuple[str, dict[str, str], float]]:
    found = [match for line in text.splitlines() if (match := SERIES.fullmatch(line))]
    return [(match[1], dict(LABEL.findall(match[2])), float(match[3])) for match in found]


def total(found: list[tuple[str, dict[str, str], float]], name: str, **labels: str) -> float:
    return sum(value for n, had, value in found if n == name and labels.items() <= had.items())


def test_a_request_has_one_line_in_istios_format(hello: Mesh) -> None:
    """What was forwarded for an address is taken to come from it, as by Istio's waypoints (no use_remote_address)."""
    hello.curl("-A", "me/1", f"{HELLO}/hello?line=1")
    hello.curl("-A", "me/1", "-H", "x-forwarded-for: 192.0.2.1", f"{HELLO}/hello?line=2")
    address = rf'"envoy://connect_originate/{POD}:5000" inbound-vip\|5000\|http\|helloworld\.hello\.svc\.cluster\.local'
    for line, forwarded, source in (("1", "-", rf"{POD}:\d+"), ("2", "192.0.2.1", "192.0.2.1:0")):
        logged(
            hello,
            rf'{TIME} "GET /hello\?line={line} HTTP/1\.1" 200 - via_upstream - "-" 0 60 \d+ \d+ "{forwarded}" "me/1" '
            rf'"{UUID}" "helloworld\.hello:5000" {address} {INNER} {VIP}:5000 {source} - -',
        )
    assert sum("/hello?line=1 " in line for line in log(hello)) == 1


def test_the_original_path_and_the_routes_name(hello: Mesh) -> None:
    hello.curl(f"{HELLO}/old")
    logged(hello, rf'{TIME} "GET /old HTTP/1\.1" 200 - via_upstream .* - renamed')


def test_what_the_waypoint_answers_itself_says_why(hello: Mesh) -> None:
    hello.curl("-A", "a", f"{HELLO}/abort")
    hello.curl("-A", "n", "http://nobody.hello/")
    hello.curl("-A", "c", "http://closed.hello/")
    logged(
        hello,
        rf'{TIME} "GET /abort HTTP/1\.1" 418 FI fault_filter_abort - "-" 0 18 \d+ - "-" "a" "{UUID}" '
        rf'"helloworld\.hello:5000" "-" inbound-vip\|5000\|http\|helloworld\.hello\.svc\.cluster\.local - '
        rf"{VIP}:5000 {POD}:\d+ - -",
    )
    logged(
        hello,
        rf'{TIME} "GET / HTTP/1\.1" 503 UH no_healthy_upstream - "-" 0 19 \d+ - "-" "n" "{UUID}" "nobody\.hello" "-" '
        rf"inbound-vip\|80\|http\|nobody\.hello\.svc\.cluster\.local - {VIP}:80 {POD}:\d+ - default",
    )
    logged(hello, rf'{TIME} "GET / HTTP/1\.1" 503 UC upstream_reset_before_response_started\S+ .* - default')


def test_a_connection_has_one_line_when_it_ends(hello: Mesh) -> None:
    before = sum("raw.hello" in line for line in log(hello))
    hello.curl("http://raw.hello:7000/hello")
    logged(
        hello,
        rf'{TIME} "- - -" 0 - - - "-" \d+ \d+ \d+ - "-" "-" "-" "-" "envoy://connect_originate/{POD}:5000" '
        rf"inbound-vip\|7000\|tcp\|raw\.hello\.svc\.cluster\.local {INNER} {VIP}:7000 {POD}:\d+ - -",
    )
    hello.curl(f"{HELLO}/hello?after=raw")
    logged(hello, r'.* "GET /hello\?after=raw HTTP/1\.1" 200 .*')
    assert sum("raw.hello" in line for line in log(hello)) == before + 1


def test_requests_are_counted_by_both_ends(hello: Mesh) -> None:
    before = scrape(hello)
    answers = Counter(line.split()[2] for line in hello.sample(f"{HELLO}/hello", 10))
    hello.sample(f"{HELLO}/nope", 3, "-o", "/dev/null", "-w", "%{http_code}\\n")
    hello.sample(f"{HELLO}/abort", 2, "-o", "/dev/null", "-w", "%{http_code}\\n")
    found = scrape(hello)
    more = {"reporter": "waypoint", "source_workload": "curl"}
    for version in ("v1", "v2"):
        here = {**more, "destination_version": version, "response_code": "200"}
        counted = total(found, "istio_requests_total", **here) - total(before, "istio_requests_total", **here)
        assert counted == answers[f"{version},"]
    for code, times in (("404", 3), ("418", 2)):
        here = {**more, "response_code": code}
        assert total(found, "istio_requests_total", **here) - total(before, "istio_requests_total", **here) == times


def test_the_labels_are_istios(hello: Mesh) -> None:
    hello.curl(f"{HELLO}/hello")
    hello.curl(f"{HELLO}/abort")
    found = [had for name, had, _ in scrape(hello) if name == "istio_requests_total"]
    known = {
        "reporter": "waypoint",
        "source_workload": "curl",
        "source_canonical_service": "curl",
        "source_canonical_revision": "latest",
        "source_workload_namespace": "test",
        "source_principal": "spiffe://cluster.local/ns/test/sa/default",
        "source_app": "curl",
        "source_version": "latest",
        "source_cluster": "Kubernetes",
        "destination_workload_namespace": "hello",
        "destination_principal": "spiffe://cluster.local/ns/hello/sa/default",
        "destination_app": "helloworld",
        "destination_canonical_service": "helloworld",
        "destination_service": "helloworld.hello.svc.cluster.local",
        "destination_service_name": "helloworld",
        "destination_service_namespace": "hello",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "grpc_response_status": "",
        "connection_security_policy": "mutual_tls",
    }
    by_version = {
        "destination_workload": "helloworld-v1",
        "destination_version": "v1",
        "destination_canonical_revision": "v1",
    }
    assert {**known, **by_version, "response_code": "200", "response_flags": "-"} in found
    nowhere = {name: "unknown" for name in {**known, **by_version} if name.startswith("destination_")}
    service = {name: value for name, value in known.items() if name.startswith("destination_service")}
    assert {**known, **nowhere, **service, "response_code": "418", "response_flags": "FI"} in found


def test_durations_and_sizes_are_histograms(hello: Mesh) -> None:
    hello.curl(f"{HELLO}/hello")
    requests = total(scrape(hello), "istio_requests_total")
    # Envoy merges histograms every five seconds
    found = first(
        lambda: scrape(hello),
        lambda series: total(series, "istio_request_duration_milliseconds_count") >= requests,
        "histogram of all requests",
    )
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        assert total(found, f"{name}_count") == total(found, f"{name}_bucket", le="+Inf") == requests
    bounds = {had["le"] for name, had, _ in found if name == "istio_request_duration_milliseconds_bucket"}
    assert {"0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "+Inf"} <= bounds


def test_connections_are_counted_with_their_bytes(hello: Mesh) -> None:
    raw = {"request_protocol": "tcp", "destination_service_name": "raw", "source_workload": "curl"}
    before = scrape(hello)
    sizes = "%{size_request} %{size_header} %{size_download}"
    sent, *received = map(int, hello.curl("-o", "/dev/null", "-w", sizes, "http://raw.hello:7000/hello").split())

    def changed() -> dict[str, float]:
        found = scrape(hello)
        return {
            name: total(found, f"istio_tcp_{name}_total", **raw) - total(before, f"istio_tcp_{name}_total", **raw)
            for name in ("connections_opened", "connections_closed", "sent_bytes", "received_bytes")
        }

    change = first(changed, lambda counted: counted["connections_closed"] > 0, "closed connection that is counted")
    assert (change["connections_opened"], change["connections_closed"]) == (1, 1)
    assert (change["received_bytes"], change["sent_bytes"]) == (sent, sum(received))


def test_a_telemetry_chooses_what_is_told_of_a_service(hello: Mesh) -> None:
    hello.apply(FAILURES_ONLY)

    def labelled() -> bool:
        hello.curl("-X", "PUT", f"{HELLO}/abort")
        return any("method" in had for name, had, _ in scrape(hello) if name == "istio_requests_total")

    eventually(labelled, "request with the label `method`")
    hello.curl(f"{HELLO}/hello?quiet=1")
    hello.curl(f"{HELLO}/abort?quiet=2")
    logged(hello, r'.* "GET /abort\?quiet=2 HTTP/1\.1" 418 FI .*')
    assert not [line for line in log(hello) if "GET /hello?quiet=1" in line]
    changed = [had for name, had, _ in scrape(hello) if name == "istio_requests_total" and "method" in had]
    assert {had["method"] for had in changed} == {"GET", "PUT"}
    assert not [had for had in changed if "response_flags" in had or had["destination_service_name"] != "helloworld"]
    hello.kubectl("delete", "-n", "hello", "telemetry", "failures")


def test_a_route_has_the_statistics_it_asks_for(hello: Mesh) -> None:
    """As `statPrefix` names them; those without have none."""
    at = ["exec", "-n", "hello", "deploy/waypoint", "--", "curl", "-sS", "localhost:15090/stats/prometheus"]

    def counted() -> dict[str, float]:
        lines = (line for line in hello.kubectl(*at).splitlines() if line.startswith("envoy_vhost"))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    before = counted()
    assert before
    assert all('envoy_route="of-old"' in name for name in before)
    hello.curl(f"{HELLO}/old/one")
    hello.curl(f"{HELLO}/hello")
    of_old = 'envoy_virtual_host="inbound|http|5000",envoy_route="of-old"'
    total = f"envoy_vhost_route_upstream_rq_total{{{of_old}}}"
    found = counted()
    assert found[total] == before[total] + 1
    assert found[f'envoy_vhost_route_upstream_rq{{envoy_response_code="404",{of_old}}}'] > 0


def test_istios_own_ports(hello: Mesh) -> None:
    at = ["exec", "-n", "hello", "deploy/waypoint", "--", "curl", "-sS"]
    assert 'istio_build{component="proxy",tag="1.31.0"} 1' in hello.kubectl(*at, "localhost:15090/stats/prometheus")
    assert hello.kubectl(*at, "localhost:15000/ready") == "LIVE\n"
    refused = hello.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{address(hello)}:15020/quitquitquit")
    assert refused == "404"
    with pytest.raises(AssertionError, match=r"Connection reset|Empty reply"):  # nobody listens: ztunnel ends it
        hello.curl(f"http://{address(hello)}:15000/ready")


def test_a_prometheus_in_a_pod_finds_the_metrics_of_istios_own_pods(hello: Mesh) -> None:
    """Where their annotations say, and istiod's by its Service; nobody's are told twice."""
    pods = [pod for of in ("istio-system", "hello") for pod in hello.json("get", "pods", "-n", of)["items"]]
    found = {}
    for pod in pods:
        given = pod["metadata"].get("annotations", {})
        if given.get("prometheus.io/scrape") == "true":
            path = given.get("prometheus.io/path", "/metrics")
            text = hello.curl(f"http://{pod['status']['podIP']}:{given['prometheus.io/port']}{path}")
            [component] = re.findall(r'^istio_build{component="(\w+)"', text, re.MULTILINE)
            found[component] = given["prometheus.io/port"], "istio_tcp_" in text or "istio_requests_" in text
    assert found == {"pilot": ("15014", False), "ztunnel": ("15020", True), "proxy": ("15020", True)}
    istiod = "http://istiod.istio-system:15014"
    assert "pilot_xds{" in hello.curl(f"{istiod}/metrics")
    assert hello.curl(f"{istiod}/version") == "1.31.0-ambientlab-Clean"
    for page in ("syncz", "config_dump?proxyID=ztunnel.istio-system", "anything"):
        assert hello.curl("-o", "/dev/null", "-w", "%{http_code}", f"{istiod}/debug/{page}") == "401"


def address(lab: Mesh) -> str:
    pods = lab.json("get", "pods", "-n", "hello", "-l", "gateway.networking.k8s.io/gateway-name")["items"]
    ip: str = pods[0]["status"]["podIP"]
    return ip
