"""`istioctl` on a whole mesh with a real waypoint, through the kubeconfig alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from ambientlab.host.kubectl import Kubectl
from support.mesh import Mesh, Result
from support.waiting import eventually

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: versions, namespace: hello}
spec:
  host: helloworld
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, namespace: hello}
spec:
  hosts: [helloworld]
  http: [{match: [{uri: {prefix: /hello}}], route: [{destination: {host: helloworld, subset: v1}}]}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{backendRefs: [{name: NAME, port: 5000}]}]
"""
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: l7, namespace: hello}
spec:
  targetRefs: [{kind: Service, group: "", name: helloworld}]
  rules: [{to: [{operation: {methods: [GET]}}]}, {to: [{operation: {paths: [/x]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: l4, namespace: hello}
spec: {selector: {matchLabels: {version: v1}}, action: DENY, rules: [{from: [{source: {namespaces: [nowhere]}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: hello}
spec: {mtls: {mode: STRICT}}
"""
OUTSIDE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: unheard, namespace: httpbin}
spec: {rules: [{from: [{source: {namespaces: [hello]}}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: outside, namespace: httpbin}
spec: {containers: [{name: c, image: curlimages/curl, command: [sleep, inf]}]}
"""
HOST_OF_ISTIOD = "istiod.istio-system.svc"
HOST = "helloworld.hello.svc.cluster.local"
CHAIN = f"inbound-vip|5000|http|{HOST}"


@pytest.fixture(scope="module")
def hello(hello_behind_waypoint: Mesh) -> Mesh:
    hello_behind_waypoint.apply(SUBSETS)
    return hello_behind_waypoint


def pc(lab: Mesh, *arguments: str) -> list[list[str]]:
    """The cells of what is printed, by line."""
    return [re.split(r" {2,}", line.rstrip()) for line in output(lab, *arguments).splitlines()]


def output(lab: Mesh, *arguments: str) -> str:
    done = istioctl(lab, "proxy-config", *arguments)
    assert done.code == 0, done.text
    return done.out


def istioctl(lab: Mesh, *arguments: str) -> Result:
    return lab.ambientlab("istioctl", *arguments)


def pod(lab: Mesh) -> str:
    selector = "gateway.networking.k8s.io/gateway-name=waypoint"
    name: str = lab.json("get", "pods", "-n", "hello", "-l", selector)["items"][0]["metadata"]["name"]
    return name


def test_clusters(hello: Mesh) -> None:
    header, *rows = pc(hello, "cluster", "deploy/waypoint.hello")
    assert header == ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]
    assert [HOST, "5000", "http", "inbound-vip", "EDS", "versions.hello"] in rows
    assert [HOST, "5000", "http/v1", "inbound-vip", "EDS", "versions.hello"] in rows
    assert ["connect_originate", "-", "-", "-", "ORIGINAL_DST"] in rows
    chosen = ["--fqdn", HOST, "--subset", "v1", "--port", "5000"]
    [found] = json.loads(output(hello, "c", f"{pod(hello)}.hello", *chosen, "-o", "json"))
    assert found["name"] == f"inbound-vip|5000|http/v1|{HOST}"
    assert found["edsClusterConfig"]["edsConfig"]["ads"] == {}


def test_listeners(hello: Mesh) -> None:
    header, *rows = [line.split(maxsplit=3) for line in output(hello, "listener", "deploy/waypoint.hello").splitlines()]
    assert header == ["ADDRESSES", "PORT", "MATCH", "DESTINATION"]
    assert ["0", "ALL", "Route:", CHAIN] in rows
    found = {(address.split(",")[0], port, leads) for address, port, _, leads in rows}
    assert ("0.0.0.0", "15008", "Route: connect_terminate") in found
    assert ("0.0.0.0", "15021", "Inline Route: /healthz/ready*") in found
    assert ("0.0.0.0", "15090", "Inline Route: /stats/prometheus*") in found
    tree = output(hello, "listeners", "deploy/waypoint", "-n", "hello", "--waypoint")
    vip = hello.json("get", "service", "helloworld", "-n", "hello")["spec"]["clusterIP"]
    assert re.search(rf"envoy://main_internal +{re.escape(CHAIN)} +ip={vip} -> port=5000 +Route: ", tree)


def test_routes(hello: Mesh) -> None:
    header, *rows = pc(hello, "route", "deploy/waypoint.hello")
    assert header == ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]
    assert any(row[0] == CHAIN and row[3] == "/hello*" for row in rows), rows
    [found] = json.loads(output(hello, "routes", "deploy/waypoint.hello", "--name", CHAIN, "-o", "json"))
    assert found["virtualHosts"][0]["routes"][0]["route"]["cluster"] == f"inbound-vip|5000|http/v1|{HOST}"


def test_endpoints(hello: Mesh) -> None:
    header, *rows = pc(hello, "endpoint", "deploy/waypoint.hello", "--cluster", f"inbound-vip|5000|http/v1|{HOST}")
    assert header == ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]
    pods = hello.json("get", "pods", "-n", "hello", "-l", "version=v1")["items"]
    address = f"envoy://connect_originate/{pods[0]['status']['podIP']}:5000"
    assert rows == [[address, "HEALTHY", "OK", f"inbound-vip|5000|http/v1|{HOST}"]]


def test_no_dump_shows_a_private_key_or_a_token(hello: Mesh) -> None:
    header, *rows = pc(hello, "secret", "deploy/waypoint.hello")
    names = ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]
    assert header[:7] == names
    assert {row[0]: row[1:4] for row in rows} == {
        "default": ["Cert Chain", "ACTIVE", "true"],
        "ROOTCA": ["CA", "ACTIVE", "true"],
    }
    dump = json.loads(output(hello, "secret", "deploy/waypoint.hello", "-o", "json"))
    certificate = next(one for one in dump["dynamicActiveSecrets"] if one["name"] == "default")
    assert certificate["secret"]["tlsCertificate"]["privateKey"]["inlineBytes"] == "W3JlZGFjdGVkXQ=="  # "[redacted]"
    everything = output(hello, "all", "deploy/waypoint.hello", "-o", "json")
    assert "eyJ" not in everything, "the proxy's token"


def test_bootstrap_and_everything(hello: Mesh) -> None:
    node = json.loads(output(hello, "b", "deploy/waypoint.hello"))["bootstrap"]["node"]
    assert node["cluster"] == "waypoint.hello"
    assert node["userAgentBuildVersion"]["version"]["minorNumber"] == 40
    text = output(hello, "all", "deploy/waypoint.hello", "--with-headers")
    heads = ["BOOTSTRAP", "CLUSTER", "LISTENER", "ROUTE", "SECRET", "ENDPOINTS"]
    assert re.findall(r"------ (\w+) INFO ------", text) == heads
    assert "\nIstio Version: 1.31.0\nEnvoy Version: 1.40.0/" in text
    assert f"cluster/{CHAIN} " in text
    assert "endpoint/envoy://connect_originate/" in text


def test_log_levels_are_read_and_set(hello: Mesh) -> None:
    after = output(hello, "log", "deploy/waypoint.hello", "--level", "info,rbac:debug")
    assert after.startswith(f"{pod(hello)}.hello:\nactive loggers:\n")
    assert "  rbac: debug\n" in after
    assert "  http: info\n" in after
    assert set(re.findall(r": (\w+)$", output(hello, "log", "deploy/waypoint.hello", "-r"), re.M)) == {"warning"}


def test_what_is_not_there_is_told_in_istioctls_words(hello: Mesh) -> None:
    done = istioctl(hello, "pc", "cluster", "nobody.hello")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: failed to execute command on nobody.hello sidecar: failure running port forward")
    words = 'building port forwarded: failed retrieving: pods "nobody" not found in the "hello" namespace\n'
    assert done.err.endswith(words)
    done = istioctl(hello, "pc", "cluster", "deploy/nobody.hello")
    assert done.err == 'Error: failed retrieving: deployments.apps "nobody" not found in the "hello" namespace\n'


def test_proxy_status(hello: Mesh) -> None:
    istiod = hello.json("get", "pods", "-n", "istio-system", "-l", "app=istiod")["items"][0]["metadata"]["name"]
    done = istioctl(hello, "proxy-status")
    assert done.code == 0, done.text
    header, waypoint, ztunnel = (re.split(r" {2,}", line) for line in done.out.splitlines())
    assert header == ["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"]
    assert waypoint == [f"{pod(hello)}.hello", "Kubernetes", istiod, "1.31.0", "6 (CDS,LDS,EDS,RDS,ECDS,SDS)"]
    assert ztunnel[0].startswith("ztunnel-")
    one = istioctl(hello, "ps", "ds/ztunnel.istio-system").out
    assert one == f"Sync diff is not available for ztunnel pod {ztunnel[0]}\n"
    compared = istioctl(hello, "ps", "deploy/waypoint.hello").text.splitlines()
    assert compared[:2] == ["Clusters Match", "Listeners Match"], "\n".join(compared)
    assert compared[2].startswith("Routes Match (RDS last loaded at ")
    only = istioctl(hello, "ps", "-n", "hello", "-v", "1").out.splitlines()
    assert len(only) == 2
    assert re.split(r" {2,}", only[0])[2:7] == ["CDS", "ECDS", "EDS", "LDS", "RDS"]
    assert re.match(r"SYNCED \(\d+m?s?\d*s?\)", re.split(r" {2,}", only[1])[2])
    said = json.loads(istioctl(hello, "ps", "-n", "hello", "-o", "json").out)
    [found] = said["resources"]
    assert found["node"]["id"] == f"{pod(hello)}.hello"
    assert found["node"]["metadata"] == {"CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0", "NAMESPACE": "hello"}
    assert {one["configStatus"] for one in found["genericXdsConfigs"]} == {"SYNCED"}
    assert json.loads(said["controlPlane"]["identifier"])["ID"] == istiod


def test_extensions(hello: Mesh) -> None:
    header, *rows = pc(hello, "ecds", "deploy/waypoint.hello")
    assert header == ["ECDS NAME", "TYPE"]
    assert [f"http|{HOST}", "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig"] in rows


def test_versions(hello: Mesh) -> None:
    plain = "client version: 1.31.0\ncontrol plane version: 1.31.0\ndata plane version: 1.31.0 (2 proxies)\n"
    assert istioctl(hello, "version").out == plain
    found = json.loads(istioctl(hello, "x", "version", "-o=json", "--context", "ambientlab-ambientlab").out)
    assert found["clientVersion"]["revision"] == "ambientlab"
    [istiod] = found["meshVersion"]
    assert (istiod["Component"], istiod["Revision"], istiod["Info"]["version"]) == ("pilot", "default", "1.31.0")
    assert sorted(one["Type"] for one in found["dataPlaneVersion"]) == ["waypoint", "ztunnel"]
    nowhere = istioctl(hello, "version", "-i", "nowhere")
    assert (nowhere.code, nowhere.out) == (0, "client version: 1.31.0\n")
    assert 'no running Istio pods in namespace "nowhere"' in nowhere.err
    somebody = istioctl(hello, "waypoint", "list", "--as", "ada")
    assert somebody.code == 1
    assert 'User "ada" cannot list resource "gateways" in API group "gateway.networking.k8s.io"' in somebody.err


def test_installing_says_what_runs(hello: Mesh) -> None:
    verified = istioctl(hello, "verify-install")
    assert verified.code == 0, verified.text
    assert "✔ DaemonSet: ztunnel.istio-system checked successfully\n" in verified.out
    elsewhere = istioctl(hello, "verify-install", "-i", "hello")
    assert elsewhere.code == 1
    assert "✘ DaemonSet: ztunnel.hello checked unsuccessfully: it is missing or not ready\n" in elsewhere.out
    for command in (["install", "-y"], ["upgrade"], ["uninstall", "--purge", "-y"]):
        done = istioctl(hello, *command)
        assert (done.code, "This mesh runs Istio 1.31.0" in done.out) == (0, True), done.text
    demo = istioctl(hello, "install", "--set", "profile=demo")
    assert "profile=demo has no effect: there is one profile here, ambient" in demo.err
    kinds = [line for line in istioctl(hello, "manifest", "generate").out.splitlines() if line.startswith("kind:")]
    assert kinds == ["kind: Deployment", "kind: DaemonSet", "kind: DaemonSet", "kind: ConfigMap"]


def test_tags_are_listed_and_not_made(hello: Mesh) -> None:
    assert istioctl(hello, "tag", "list").out == "TAG REVISION NAMESPACES\n    default  \n"
    refused = istioctl(hello, "tag", "set", "prod", "--revision", "default")
    assert (refused.code, "tags choose what injects sidecars" in refused.err) == (1, True)
    unknown = istioctl(hello, "tag", "set", "prod", "--revision", "x")
    assert 'cannot find MutatingWebhookConfiguration or Service with revision "x"' in unknown.err
    tagged = {"metadata": {"labels": {"istio.io/tag": "prod", "istio.io/rev": "default"}}}
    hello.kubectl("create", "service", "clusterip", "istiod-revision-tag-prod", "-n", "istio-system", "--tcp=15012")
    hello.kubectl("patch", "service", "istiod-revision-tag-prod", "-n", "istio-system", "-p", json.dumps(tagged))
    hello.kubectl("label", "ns", "test", "istio.io/rev=prod")
    assert istioctl(hello, "tag", "list").out == "TAG  REVISION NAMESPACES\nprod default  test\n"
    hello.kubectl("label", "ns", "test", "istio.io/rev-")
    hello.kubectl("delete", "service", "istiod-revision-tag-prod", "-n", "istio-system")


@pytest.mark.parametrize(
    ("page", "path", "shown", "number", "status"),
    [
        (["proxy", "deploy/waypoint.hello"], "/ready", b"LIVE", signal.SIGINT, 0),
        (["istiod-debug", "deploy/istiod"], "", b"/debug/syncz", signal.SIGTERM, 128 + signal.SIGTERM),
    ],
)
def test_dashboards_lead_to_pages(
    hello: Mesh, page: list[str], path: str, shown: bytes, number: signal.Signals, status: int
) -> None:
    """And leave no port-forward behind."""
    command = [sys.executable, "-m", "ambientlab.cli.istioctl", "dashboard", *page, "--browser=false"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=hello.env, preexec_fn=_as_in_a_terminal
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
            assert shown in answer.read()
        [forward] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(10) == status
        assert process.stdout.read() == "skipping opening a browser\n"
    assert not Path("/proc", forward).exists()


def _as_in_a_terminal() -> None:
    """Ctrl-C ends it, even where these tests run in the background of a shell, whose jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_what_has_no_page_says_so(hello: Mesh) -> None:
    assert "no pods found with selector app=kiali" in istioctl(hello, "dashboard", "kiali").err
    assert "has no ControlZ at port 9876" in istioctl(hello, "dashboard", "controlz", "deploy/istiod").err


def test_analyze(hello: Mesh) -> None:
    clean = istioctl(hello, "analyze", "-n", "hello")
    assert (clean.code, clean.out) == (0, "\n"), clean.text
    assert clean.err == "✔ No validation issues found when analyzing namespace: hello.\n"
    extra = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: hello-world}\n"
    )
    done = hello.ambientlab("istioctl", "analyze", "-n", "hello", "-", stdin=extra)
    words = "The host hello-world defined in the DestinationRule does not match any services in the mesh."
    assert done.out == f"Warning [IST0174] (DestinationRule hello/d -:4) {words}\n"
    hello.kubectl("annotate", "deployment", "helloworld-v1", "-n", "hello", "istio.io/foo=bar")
    unknown = "Warning [IST0108] (Deployment hello/helloworld-v1) Unknown annotation: istio.io/foo\n"
    assert istioctl(hello, "analyze", "-n", "hello").out == unknown
    hello.kubectl("annotate", "deployment", "helloworld-v1", "-n", "hello", "istio.io/foo-")
    hello.apply(ROUTE.replace("NAME", "nobody"))
    message = "type=ResolvedRefs, reason=BackendNotFound, message=backend(nobody.hello.svc.cluster.local) not found."
    said = f"Warning [IST0171] (HTTPRoute hello/r) A condition with a negative status is present: {message}\n"
    eventually(lambda: istioctl(hello, "analyze", "-n", "hello").out == said, "the finding")
    assert istioctl(hello, "analyze", "-n", "hello", "--failure-threshold", "Warning").code == 79
    hello.kubectl("delete", "httproute", "r", "-n", "hello")
    everywhere = istioctl(hello, "analyze", "-A").out
    assert "Info [IST0102] (Namespace httpbin) The namespace is not enabled for Istio injection. " in everywhere
    assert "(Namespace hello)" not in everywhere
    assert istioctl(hello, "analyze", "-n", "nowhere").err == 'namespace "nowhere" not found\n'


@pytest.fixture(scope="module")
def guarded(hello: Mesh) -> Iterator[Mesh]:
    hello.apply(POLICIES)
    table = "ACTION   AuthorizationPolicy   RULES\nALLOW    l7.hello              2\n"
    checked = ["x", "authz", "check", "deploy/waypoint", "-n", "hello"]
    eventually(lambda: istioctl(hello, *checked).out == table, "the policy in Envoy")
    yield hello
    hello.kubectl("delete", "-f", "-", stdin=POLICIES)


def test_policies_of_a_pod_in_ambient_mode(guarded: Mesh) -> None:
    done = istioctl(guarded, "authz", "check", "deploy/helloworld-v1.hello")
    ztunnel, waypoint = done.out.split("\n\n")
    head, _, *policies = ztunnel.splitlines()
    assert re.fullmatch(r"ztunnel, for connections to helloworld-v1-\S+\.hello:", head)
    assert [line.split() for line in policies] == [
        ["DENY", "istio_converted_static_strict.istio-system", "1"],
        ["DENY", "l4.hello", "1"],
    ]
    assert waypoint.splitlines() == [
        f"waypoint hello/waypoint, for requests to {HOST}:",
        "ACTION   AuthorizationPolicy   RULES",
        "ALLOW    l7.hello              2",
    ]
    other = istioctl(guarded, "authz", "check", "deploy/helloworld-v2.hello").out
    assert ("l4.hello" in other, "istio_converted_static_strict" in other) == (False, True)
    outside = istioctl(guarded, "authz", "check", "deploy/istiod", "-n", "istio-system")
    assert "it is not in the mesh" in outside.err


def test_descriptions(guarded: Mesh) -> None:
    guarded.apply(OUTSIDE)
    guarded.kubectl("wait", "pod/outside", "-n", "httpbin", "--for=condition=Ready")
    service = istioctl(guarded, "x", "describe", "service", "helloworld.hello").out
    assert service == (
        "Service: helloworld.hello\n"
        "   Port: http 5000/HTTP targets pod port 5000\n"
        "   Waypoint: waypoint.hello\n"
        'DestinationRule: versions.hello for "helloworld"\n'
        "   Matching subsets: v1\n"
        "   Policies: load balancer\n"
        "VirtualService: first.hello\n"
        '   Route to host "helloworld" subset "v1" with weight 100%\n'
        "   Match: /hello*\n"
        "RBAC policies at waypoint waypoint.hello: ALLOW l7.hello\n"
        "Skipping Gateway information (no ingress gateway pods)\n"
    )
    [v2] = guarded.json("get", "pods", "-n", "hello", "-l", "version=v2")["items"]
    name = v2["metadata"]["name"]
    pod = istioctl(guarded, "x", "des", "po", name, "-n", "hello").out
    assert pod.startswith(f"Pod: {name}\n   Pod Revision: \n   Pod Ports: 5000 (helloworld)\n   Ambient: ztunnel takes")
    assert "   WARNING POD DOES NOT MATCH ANY SUBSETS.  (Non matching subsets v1)\n" in pod
    assert "RBAC policies at ztunnel: DENY strict (PeerAuthentication)\n" in pod
    assert "   Workload mTLS mode: STRICT\nApplied PeerAuthentication:\n   strict.hello\n" in pod
    outside = istioctl(guarded, "x", "describe", "pod", "outside.httpbin").out
    assert "WARNING: outside.httpbin is not part of mesh; it is not in ambient mode" in outside
    assert "RBAC policies" not in outside
    missing = istioctl(guarded, "x", "describe", "pod", "nobody.hello")
    assert (missing.code, missing.err) == (1, 'Error: pods "nobody" not found\n')


def test_a_bug_report_has_nobodys_secrets(hello: Mesh, tmp_path: Path) -> None:
    hello.kubectl("create", "secret", "generic", "canary", "-n", "hello", "--from-literal=key=CANARY-IN-A-SECRET")
    token = hello.kubectl("create", "token", "default", "-n", "hello").strip()
    hello.kubectl(
        "run", "leaky", "-n", "hello", "--image=busybox", "--env=DB_PASSWORD=CANARY-IN-A-VARIABLE", "--command", "--",
        "sh", "-c", f"echo {token}; sleep inf",
    )  # fmt: skip
    tried = istioctl(hello, "bug-report", "--dry-run", "--include", "hello", "--output-dir", str(tmp_path))
    assert "would fetch proxies/hello/waypoint-" in tried.out
    assert ("istiod/" in tried.out, list(tmp_path.iterdir())) == (False, [])
    done = istioctl(hello, "bug-report", "--output-dir", str(tmp_path), "--duration", "10m", "--skip-analyze")
    assert (done.code, done.err) == (0, ""), done.text
    with tarfile.open(tmp_path / "bug-report.tar.gz") as archive:
        found = {one.name: archive.extractfile(one).read().decode() for one in archive.getmembers()}  # type: ignore[union-attr]  # all are files
    of_pod = r"(-[a-z0-9]{8,10})?-[a-z0-9]{5}(?=/[^/]*$)"
    paths = {re.sub(of_pod, "", path.removeprefix("bug-report/")) for path in found}
    expected = ["istiod/istio-system/istiod/discovery.log", "proxies/hello/waypoint/config_dump"]
    expected += [f"proxies/istio-system/ztunnel/{name}" for name in ("istio-proxy.log", "config_dump")]
    assert paths >= set(expected)
    assert "hello          canary            Opaque" in found["bug-report/cluster/secrets"]
    assert "leaky" in found["bug-report/cluster/k8s-resources.yaml"]
    assert "VirtualService" in found["bug-report/cluster/istio.yaml"]
    credentials = yaml.safe_load(Path(hello.env["KUBECONFIG"]).read_text())["users"][0]["user"]
    root = hello.json("get", "secret", "istio-ca-secret", "-n", "istio-system")["data"]["ca-key.pem"]
    never = ["CANARY", "PRIVATE KEY", token, token.split(".")[2], root[:60], *map(str, credentials.values())]
    everything = "\n".join(found.values())
    assert [secret for secret in never if secret in everything] == []
    assert istioctl(hello, "bug-report", "--full-secrets").code == 1
    hello.kubectl("delete", "pod", "leaky", "-n", "hello", "--wait=false")


def test_what_istios_own_istioctl_asks_for(hello: Mesh) -> None:
    """Lists that it waits for, and istiod's xDS with a token, which it takes for granted."""
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        assert hello.json("get", kind)["items"] == []
    webhook = "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: w}\n"
    refused = hello.kubectl("create", "-f", "-", stdin=webhook, check=False)
    assert "mutatingwebhookconfigurations.admissionregistration.k8s.io, and takes none" in refused
    token = hello.kubectl("create", "token", "default", "-n", "istio-system", "--audience=istio-ca").strip()
    roots = hello.json("get", "configmap", "istio-ca-root-cert", "-n", "istio-system")["data"]["root-cert.pem"]
    credentials = grpc.ssl_channel_credentials(roots.encode())
    [istiod] = hello.json("get", "pods", "-n", "istio-system", "-l", "app=istiod,istio.io/rev=default")["items"]
    name = istiod["metadata"]["name"]
    with (
        Kubectl(Path(hello.env["KUBECONFIG"])).forward(name, "istio-system", 15012) as port,
        grpc.secure_channel(
            f"127.0.0.1:{port}", credentials, [("grpc.ssl_target_name_override", HOST_OF_ISTIOD)]
        ) as channel,
    ):
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        request = DiscoveryRequest(type_url="istio.io/debug/syncz")
        [response] = stub.StreamAggregatedResources(iter([request]), metadata=[("authorization", f"Bearer {token}")])
    assert len(response.resources) == 2
    assert json.loads(response.control_plane.identifier)["ID"] == name
