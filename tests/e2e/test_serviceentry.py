"""Hosts that are no Services, called by a client in the mesh.

What is behind them are pods of the namespaces hello and outside, which are not part of the mesh. Whatever passed a
waypoint bears its name in the header `server`; in the namespace egress there is one for all.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
from collections.abc import Iterator

import pytest
from cryptography import x509

from support.certificates import self_signed
from support.mesh import Mesh
from support.splits import fits
from support.waiting import eventually, first

INFO = ["-o", "/dev/null", "-w", "%{http_code} %{remote_ip} %header{server}\\n"]
HELLO = "helloworld.hello.svc.cluster.local"


def entry(name: str, namespace: str, host: str, spec: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: ["{host}"]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 5000}}]
{spec}
"""


def pod_ips(lab: Mesh) -> dict[str, str]:
    pods = lab.json("get", "pods", "-n", "hello", "-l", "app=helloworld")["items"]
    return {pod["metadata"]["labels"]["version"]: pod["status"]["podIP"] for pod in pods}


def versions(lab: Mesh, url: str, count: int = 100) -> list[str]:
    lines = lab.sample(url, count)
    return [found[1] if (found := re.match(r"Hello version: (v\d)", line)) else line for line in lines]


def answers(lab: Mesh, url: str, expected: str, *arguments: str) -> None:
    """DNS, proxies and resolvers each follow a change in their own time."""
    ask = ("exec", "curl", "-n", "test", "--", "curl", "-sS", "-m", "20", *arguments, url)
    first(
        lambda: lab.kubectl(*ask, check=False),
        lambda seen: re.search(expected, seen),
        f"answer like {expected!r} from {url}",
    )


@pytest.fixture(scope="module")
def lab(lab: Mesh) -> Mesh:
    lab.helloworld()
    for namespace in ("egress", "outside"):
        lab.kubectl("create", "namespace", namespace)
    lab.kubectl("label", "namespace", "egress", "istio.io/use-waypoint=waypoint")
    lab.waypoint("egress")
    return lab


def test_listed_endpoints_get_an_address_and_take_their_shares(lab: Mesh) -> None:
    ips = pod_ips(lab)
    endpoints = f"[{{address: {ips['v1']}, weight: 3}}, {{address: {ips['v2']}, weight: 1}}]"
    lab.apply(entry("static", "test", "static.example.com", f"  resolution: STATIC\n  endpoints: {endpoints}"))
    answers(lab, "http://static.example.com/hello", r"200 240\.240\.\d+\.\d+ ", *INFO)
    fits(versions(lab, "http://static.example.com/hello"), {"v1": 75.0, "v2": 25.0})
    status = lab.json("get", "serviceentry", "static", "-n", "test")["status"]
    assert {item["host"] for item in status["addresses"]} == {"static.example.com"}


def test_the_node_proxy_resolves_names(lab: Mesh) -> None:
    lab.apply(entry("dns", "test", "dns.example.com", f"  resolution: DNS\n  endpoints: [{{address: {HELLO}}}]"))
    answers(lab, "http://dns.example.com/hello", "Hello version")


API = entry("api", "egress", "api.example.com", f"  resolution: DNS\n  endpoints: [{{address: {HELLO}}}]")


def test_a_waypoint_resolves_names(lab: Mesh) -> None:
    lab.apply(API)
    answers(lab, "http://api.example.com/hello", r"200 240\.240\.\d+\.\d+ istio-envoy", *INFO)
    bound = "--for=jsonpath={.status.conditions[?(@.type=='istio.io/WaypointBound')].reason}=WaypointAccepted"
    lab.kubectl("wait", "-n", "egress", bound, "serviceentry/api", "--timeout=20s")


def test_connections_go_on_to_the_address_they_are_for(lab: Mesh) -> None:
    ips = pod_ips(lab)
    for name, namespace, version, server in (("plain", "test", "v1", ""), ("through", "egress", "v2", "istio-envoy")):
        spec = f"  addresses: [{ips[version]}]\n  resolution: NONE"
        text = entry(name, namespace, f"{name}.example.com", spec).replace("number: 80", "number: 5000")
        lab.apply(text)
        url = f"http://{name}.example.com:5000/hello"
        answers(lab, url, f"200 {ips[version]} .*{server}", *INFO)
        assert versions(lab, url, 3) == [version] * 3


def test_pods_and_workload_entries_are_selected(lab: Mesh) -> None:
    ips = pod_ips(lab)
    workload = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "vm", "namespace": "egress"},
        "spec": {"address": ips["v1"], "labels": {"app": "vm"}, "ports": {"http": 5000}},
    }
    lab.apply(json.dumps(workload))
    spec = "  location: MESH_INTERNAL\n  resolution: STATIC\n  workloadSelector: {labels: {app: vm}}"
    lab.apply(entry("selected", "egress", "selected.example.com", spec))
    answers(lab, "http://selected.example.com/hello", "Hello version: v1")
    lab.kubectl("delete", "workloadentry", "vm", "-n", "egress")
    answers(lab, "http://selected.example.com/hello", "503", *INFO)


ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed, namespace: egress}
spec:
  hosts: [routed.example.com]
  http:
  - match: [{uri: {prefix: /moved}}]
    rewrite: {uri: /hello}
    route: [{destination: {host: routed.example.com, subset: v2}}]
  - route: [{destination: {host: api.example.com}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: routed, namespace: egress}
spec:
  host: routed.example.com
  subsets: [{name: v2, labels: {version: v2}}]
"""


def test_routes_and_subsets_apply(lab: Mesh) -> None:
    ips = pod_ips(lab)
    listed = [f"{{address: {ip}, labels: {{version: {version}}}}}" for version, ip in ips.items()]
    lab.apply(
        entry("routed", "egress", "routed.example.com", f"  resolution: STATIC\n  endpoints: [{', '.join(listed)}]")
    )
    lab.apply(API)
    lab.apply(ROUTE)
    answers(lab, "http://routed.example.com/moved", "Hello version: v2")
    assert set(versions(lab, "http://routed.example.com/moved", 10)) == {"v2"}
    answers(lab, "http://routed.example.com/hello", "Hello version")


KUBERNETES_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: egress}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: parent}]
  rules:
  - matches: [{path: {value: /moved}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /hello}}}]
    backendRefs: [{group: networking.istio.io, kind: Hostname, name: behind.example.com, port: 80}]
"""


def test_routes_of_gateway_api_apply(lab: Mesh) -> None:
    spec = f"  resolution: DNS\n  endpoints: [{{address: {HELLO}}}]"
    for name in ("parent", "behind"):
        lab.apply(entry(name, "egress", f"{name}.example.com", spec))
    lab.apply(KUBERNETES_ROUTE)
    answers(lab, "http://parent.example.com/moved", "Hello version")
    answers(lab, "http://parent.example.com/hello", "404 .* istio-envoy", *INFO)
    for kind in ("Accepted", "ResolvedRefs"):
        found = f"--for=jsonpath={{.status.parents[0].conditions[?(@.type=='{kind}')].status}}=True"
        lab.kubectl("wait", "-n", "egress", found, "httproute/api", "--timeout=20s")


OUTSIDE = """
apiVersion: v1
kind: Pod
metadata: {name: httpbin, namespace: outside}
spec:
  containers: [{name: httpbin, image: kennethreitz/httpbin}]
---
apiVersion: v1
kind: Pod
metadata: {name: secure, namespace: outside, labels: {app: secure}}
spec:
  volumes: [{name: certificate, secret: {secretName: certificate}}]
  containers:
  - name: echo
    image: gcr.io/k8s-staging-gateway-api/echo-advanced
    args: [--port=8443, --tls=8443, --crt=/tls/tls.crt, --key=/tls/tls.key]
    volumeMounts: [{name: certificate, mountPath: /tls}]
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: outside}
spec:
  selector: {app: secure}
  ports: [{name: https, port: 443, targetPort: 8443}]
"""

ANY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any, namespace: egress}
spec:
  hosts: ["*.outside.pod.cluster.local"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DYNAMIC_DNS
"""

SECURE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure, namespace: egress}
spec:
  hosts: [secure.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DNS
  endpoints: [{address: secure.outside.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: egress}
spec:
  host: secure.example.com
  trafficPolicy: {tls: {mode: SIMPLE, sni: secure.example.com, subjectAltNames: [NAME], credentialName: authority}}
"""


def secret(name: str, namespace: str, data: dict[str, bytes]) -> str:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


@pytest.fixture(scope="module")
def outside(lab: Mesh) -> Mesh:
    certificate, key = self_signed(x509.DNSName("secure.example.com"))
    lab.apply(secret("certificate", "outside", {"tls.crt": certificate, "tls.key": key}))
    lab.apply(secret("authority", "egress", {"ca.crt": certificate}))
    lab.apply(OUTSIDE)
    lab.kubectl("wait", "-n", "outside", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
    return lab


def test_a_waypoint_resolves_the_names_that_a_wildcard_covers(outside: Mesh) -> None:
    outside.apply(ANY)
    ip = outside.json("get", "pod", "httpbin", "-n", "outside")["status"]["podIP"].replace(".", "-")
    answers(outside, f"http://{ip}.outside.pod.cluster.local/get", r"200 240\.240\.\d+\.\d+ istio-envoy", *INFO)


def test_a_waypoint_originates_tls_and_checks_who_answers(outside: Mesh) -> None:
    outside.apply(SECURE.replace("NAME", "secure.example.com"))
    answers(outside, "http://secure.example.com/", r"200 240\.240\.\d+\.\d+ istio-envoy", *INFO)
    outside.apply(SECURE.replace("NAME", "other.example.com"))
    answers(outside, "http://secure.example.com/", "503 .* istio-envoy", *INFO)


def test_tls_of_clients_passes_through(outside: Mesh) -> None:
    text = SECURE.partition("---")[0].replace("name: secure,", "name: through,")
    text = text.replace("secure.example.com", "tls.example.com")
    outside.apply(text.replace("number: 80, name: http, protocol: HTTP", "number: 443, name: tls, protocol: TLS"))
    answers(outside, "https://tls.example.com/", r"200 240\.240\.\d+\.\d+ ", "-k", *INFO)


def test_a_new_address_leaves_connections_alone(outside: Mesh) -> None:
    ip = outside.json("get", "pod", "httpbin", "-n", "outside")["status"]["podIP"]
    ask = ["exec", "curl", "-n", "test", "--", "curl", "-sS", f"http://{ip}/drip?duration=3&numbytes=4&delay=0"]
    with outside.background(*ask, "-w", "\\n%{http_code}\\n") as slow:
        spec = f"  addresses: [192.0.2.7]\n  resolution: STATIC\n  endpoints: [{{address: {pod_ips(outside)['v1']}}}]"
        outside.apply(entry("fixed", "test", "fixed.example.com", spec))
        answers(outside, "http://fixed.example.com/hello", r"200 192\.0\.2\.7 ", *INFO)
        assert slow.process.poll() is None, "the update came while the answer was under way"
        assert slow.finish() == ["****", "200"]


MACHINE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: machine, namespace: NAMESPACE}
spec:
  hosts: [machine.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: PORT}]
  resolution: DNS
  endpoints: [{address: host.ambientlab.internal}]
"""


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Hello from the host\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def machine() -> Iterator[int]:
    """A server on the loopback of the machine; its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def unanswered(lab: Mesh, url: str) -> bool:
    ask = ["exec", "curl", "-n", "test", "--", "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "[%{http_code}]", url]
    return "[000]" in lab.kubectl(*ask, check=False)


def test_the_machine_is_reached_on_ports_that_entries_name(lab: Mesh, machine: int) -> None:
    direct = f"http://host.ambientlab.internal:{machine}/"
    assert unanswered(lab, direct)
    for namespace, server in (("test", "BaseHTTP"), ("egress", "istio-envoy")):
        lab.apply(MACHINE.replace("NAMESPACE", namespace).replace("PORT", str(machine)))
        answers(lab, "http://machine.example.com/", f"200 240\\.240\\.\\d+\\.\\d+ {server}", *INFO)
        answers(lab, "http://machine.example.com/", "Hello from the host")
        lab.kubectl("delete", "serviceentry", "machine", "-n", namespace)
    eventually(lambda: unanswered(lab, direct), "end of the way to the host")


def test_the_machine_is_called_by_its_own_name(lab: Mesh, machine: int) -> None:
    text = MACHINE.partition("  endpoints")[0].replace("machine.example.com", "host.ambientlab.internal")
    text = text.replace("number: 80", f"number: {machine}").replace(", targetPort: PORT", "")
    lab.apply(text.replace("NAMESPACE", "test"))
    answers(lab, f"http://host.ambientlab.internal:{machine}/", "Hello from the host")


SHARED = """
apiVersion: v1
kind: Namespace
metadata: {name: partner, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Pod
metadata: {name: curl, namespace: partner}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
"""


def test_a_name_means_what_the_clients_namespace_says(lab: Mesh) -> None:
    ips = pod_ips(lab)
    lab.apply(SHARED)
    for namespace, version in (("test", "v1"), ("partner", "v2")):
        spec = f"  resolution: STATIC\n  endpoints: [{{address: {ips[version]}}}]"
        lab.apply(entry("shared", namespace, "shared.example.com", spec))
    lab.kubectl("wait", "--for=condition=Ready", "pod/curl", "-n", "partner", "--timeout=20s")

    def asked(namespace: str, host: str) -> str:
        command = ["exec", "curl", "-n", namespace, "--", "curl", "-sS", "-m", "20", f"http://{host}/hello"]
        return lab.kubectl(*command, check=False)

    def gets(namespace: str, version: str) -> None:
        hello = f"Hello version: {version}"
        first(lambda: asked(namespace, "shared.example.com"), lambda seen: seen.startswith(hello), hello)

    for namespace, version in (("test", "v1"), ("partner", "v2")):
        gets(namespace, version)
        address, _ = lab.json("get", "serviceentry", "shared", "-n", namespace)["status"]["addresses"]
        for client in ("test", "partner"):
            assert asked(client, address["value"]).startswith(f"Hello version: {version}")
    listed = json.loads(lab.ambientlab("istioctl", "ztunnel-config", "service", "-o", "json").out)
    assert {one["namespace"] for one in listed if one["hostname"] == "shared.example.com"} == {"test", "partner"}
    explained = lab.ambientlab("explain", "--from", "partner/curl", "http://shared.example.com/hello")
    assert "partner/shared" in explained.out, explained.text
    lab.kubectl("delete", "serviceentry", "shared", "-n", "partner")
    gets("partner", "v1")


def test_that_no_way_leads_out_of_the_machine_is_told(lab: Mesh) -> None:
    def found() -> list[str]:
        status = lab.json("get", "serviceentry", "beyond", "-n", "egress").get("status") or {}
        said = status.get("conditions") or []
        return [each["message"] for each in said if each["type"] == "ambientlab.io/Unsupported"]

    lab.apply(entry("beyond", "egress", "www.example.com", "  resolution: DNS"))
    (message,) = first(found, bool, "condition")
    assert "nothing leads to www.example.com, out of this machine" in message
    for url in ("http://www.example.com/", "http://192.0.2.50/"):
        explained = lab.ambientlab("explain", "--from", "test/curl", url)
        assert re.search(r"100% .* out of reach ", explained.out), explained.text
    assert not re.search("out of reach", lab.ambientlab("explain", "--from", "test/curl", "http://127.0.0.1/").out)


def test_who_is_not_in_the_mesh_knows_nothing_of_it(lab: Mesh) -> None:
    pod = lab.kubectl("get", "pod", "-n", "hello", "-l", "version=v1", "-o", "name").strip()
    script = "import socket; socket.getaddrinfo('api.example.com', 80)"
    assert "gaierror" in lab.kubectl("exec", pod, "-n", "hello", "--", "python3", "-c", script, check=False)
