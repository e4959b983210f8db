"""TCP and UDP by name and by address, with the cluster's own DNS, probes and rules: inside the mesh and outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

import pytest

from ambientlab.cluster import NODE_IP
from support.mesh import Mesh
from support.waiting import eventually

SERVER = """
import socket, threading
def tcp(family, host):
    listening = socket.create_server((host, 8080), family=family)
    while True:
        peer, address = listening.accept()
        answer = f"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n\\r\\n{socket.gethostname()} {address[0]}\\n"
        try:
            asked = peer.recv(10000)
            print("asked" if asked else "touched", flush=True)
            if asked: peer.sendall(answer.encode())
        except OSError: pass
        peer.close()
def udp():
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("0.0.0.0", 8080))
    while True:
        data, address = bound.recvfrom(100)
        bound.sendto(f"{socket.gethostname()} {address[0]}\\n".encode(), address)
threading.Thread(target=udp).start()
threading.Thread(target=tcp, args=(socket.AF_INET6, "::")).start()
tcp(socket.AF_INET, "0.0.0.0")
"""

PODS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}, annotations: {{{annotations}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: debian, command: {command}{probes}}}]
---
"""
SERVING = ["python3", "-c", SERVER]
PROBES = """,
    startupProbe: {exec: {command: [cat, /etc/hostname]}, periodSeconds: 1},
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1},
    readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}"""
APART = "ambient.istio.io/bypass-inbound-capture: 'true', ambient.istio.io/dns-capture: 'false'"
NEVER = ", readinessProbe: {exec: {command: ['false']}}"

ASKED_BY_GRPC = """
apiVersion: v1
kind: Pod
metadata: {{name: {}, namespace: meshed}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: echo
    image: registry.k8s.io/gateway-api/conformance/echo-advanced
    readinessProbe: {{grpc: {{port: 7070}}, periodSeconds: 1}}
    livenessProbe: {{grpc: {{port: 7070}}, periodSeconds: 1}}
---
"""

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: meshed}
spec:
  selector: {app: web}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, protocol: UDP, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: meshed}
spec: {selector: {app: web}, clusterIP: None, ports: [{name: tcp, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: meshed}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: tcp, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless-both, namespace: meshed}
spec:
  selector: {app: web}
  clusterIP: None
  ipFamilyPolicy: PreferDualStack
  ports: [{name: tcp, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: meshed}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{name: tcp, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: meshed}
spec: {selector: {app: hidden}, ports: [{name: tcp, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: early, namespace: meshed}
spec: {selector: {app: hidden}, publishNotReadyAddresses: true, ports: [{name: tcp, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: early-headless, namespace: meshed}
spec: {selector: {app: hidden}, clusterIP: None, publishNotReadyAddresses: true, ports: [{name: tcp, port: 8080}]}
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: meshed}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named, namespace: meshed}
spec:
  hosts: [named.example.com]
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}]
  resolution: STATIC
  workloadSelector: {labels: {app: web}}
"""
CLIENTS = ("meshed", "outside")


def pod(name: str, namespace: str, app: str, command: list[str], probes: str = "", annotations: str = "") -> str:
    text = json.dumps(command)
    return PODS.format(name=name, namespace=namespace, app=app, command=text, probes=probes, annotations=annotations)


@pytest.fixture(scope="module")
def cluster(mesh: Mesh) -> Mesh:
    for namespace in CLIENTS:
        mesh.kubectl("create", "namespace", namespace)
    mesh.kubectl("label", "namespace", "meshed", "istio.io/dataplane-mode=ambient")
    pods = [pod("client", namespace, "client", ["sleep", "100000"]) for namespace in CLIENTS]
    pods += [pod(f"web-{n}", "meshed", "web", SERVING, PROBES) for n in (1, 2)]
    pods += [pod("hidden", "meshed", "hidden", SERVING, NEVER), pod("apart", "meshed", "apart", SERVING, "", APART)]
    mesh.apply("".join(pods) + ASKED_BY_GRPC.format("rpc") + SERVICES)
    mesh.kubectl("wait", "pod/client", "-n", "outside", "--for=condition=Ready", "--timeout=60s")
    running = "--for=jsonpath={.status.containerStatuses[0].started}=true"
    mesh.kubectl("wait", "pod/hidden", "-n", "meshed", running, "--timeout=60s")
    return mesh


def runs(mesh: Mesh, namespace: str, script: str) -> str:
    return mesh.kubectl("exec", "-n", namespace, "client", "--", "sh", "-c", script, check=False)


def python(mesh: Mesh, namespace: str, program: str) -> str:
    return mesh.kubectl("exec", "-n", namespace, "client", "--", "python3", "-c", program)


def calls(
    mesh: Mesh, namespace: str, host: str, port: int = 80, count: int = 1, option: str = ""
) -> list[tuple[str, str]]:
    """Who answered, and whom they saw; after a failure, curl's exit code and nothing."""
    ask = f"curl {option} -sS -m 5 http://{host}:{port}/ 2>/dev/null || echo $?"
    out = runs(mesh, namespace, f"i=0; while [ $i -lt {count} ]; do {ask}; i=$((i+1)); done")
    found = [line.partition(" ") for line in out.splitlines()]
    return [(first, rest) for first, _, rest in found]


def address(mesh: Mesh, name: str, namespace: str) -> str:
    return mesh.kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.podIP}")


def probed(mesh: Mesh, name: str) -> int:
    """How often each probe of a pod has reached it at least."""
    log = mesh.kubectl("logs", name, "-n", "meshed").split()
    return min(log.count("asked"), log.count("touched"))


def _answers(mesh: Mesh, host: str, option: str) -> bool:
    return calls(mesh, "meshed", host, option=option)[0][0].startswith("web")


def _reached(mesh: Mesh, name: str, number: int) -> bool:
    return probed(mesh, name) >= number


def test_probes_pass_into_captured_pods(cluster: Mesh) -> None:
    cluster.kubectl("wait", "pod", "-l", "app=web", "-n", "meshed", "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("wait", "pod/rpc", "-n", "meshed", "--for=condition=Ready", "--timeout=60s")


@pytest.mark.parametrize("namespace", CLIENTS)
def test_every_name_and_address_leads_there(cluster: Mesh, namespace: str) -> None:
    own = address(cluster, "client", namespace)
    names = {"web-1", "web-2"}
    for host, port in (("web.meshed", 80), ("headless.meshed", 8080), ("web.meshed.svc.cluster.local", 80)):
        found = calls(cluster, namespace, host, port, 30)
        assert {seen for _, seen in found} == {own}, host
        assert {name for name, _ in found} == names, host
    assert calls(cluster, namespace, address(cluster, "web-1", "meshed"), 8080) == [("web-1", own)]


@pytest.mark.parametrize("namespace", CLIENTS)
def test_names_have_no_address_of_another_family(cluster: Mesh, namespace: str) -> None:
    """That is not the same as no such name, after which a resolver would not ask for IPv4."""
    ask = """
import socket
for name in ("web.meshed", "headless.meshed"):
    try: socket.getaddrinfo(name, 80, socket.AF_INET6)
    except socket.gaierror as error: print(error.errno == socket.EAI_NODATA)
"""
    assert python(cluster, namespace, ask).split() == ["True", "True"]


@pytest.mark.parametrize("namespace", CLIENTS)
def test_services_of_both_families_are_reached_by_each(cluster: Mesh, namespace: str) -> None:
    client = cluster.json("get", "pod", "client", "-n", namespace)["status"]["podIPs"]
    for option, own in zip(("-4", "-6"), (each["ip"] for each in client), strict=True):
        for host, port in (("both.meshed", 80), ("headless-both.meshed", 8080)):
            found = calls(cluster, namespace, host, port, 12, option)
            assert {seen for _, seen in found} == {own}, (option, host)
            assert {name for name, _ in found} <= {"web-1", "web-2"}, (option, host)


@pytest.mark.parametrize("namespace", CLIENTS)
def test_udp_passes_untouched(cluster: Mesh, namespace: str) -> None:
    ask = """
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.settimeout(5)
made.connect(("web.meshed", 80))
made.send(b"?")
print(made.recv(100).decode())
"""
    name, seen = python(cluster, namespace, ask).split()
    assert name in ("web-1", "web-2")
    assert seen == address(cluster, "client", namespace)


@pytest.mark.parametrize("namespace", CLIENTS)
def test_pods_that_are_not_ready_are_called_where_a_service_says_so(cluster: Mesh, namespace: str) -> None:
    own = address(cluster, "client", namespace)
    for host, port in (("early.meshed", 80), ("early-headless.meshed", 8080)):
        assert calls(cluster, namespace, host, port) == [("hidden", own)]


@pytest.mark.parametrize(("namespace", "codes"), [("meshed", ("52", "56")), ("outside", ("7",))])
def test_services_without_endpoints_refuse_at_once(cluster: Mesh, namespace: str, codes: tuple[str, ...]) -> None:
    """Outside of the mesh the connection is refused. ztunnel accepts every one, and closes it when it has nowhere to
    go: curl's "empty reply" or "connection reset"."""
    [(code, _)] = calls(cluster, namespace, "hidden.meshed")
    assert code in codes, "28 would be that nobody answers"


def test_only_clients_outside_the_mesh_stay_with_an_endpoint(cluster: Mesh) -> None:
    assert len({name for name, _ in calls(cluster, "outside", "sticky.meshed", count=30)}) == 1
    assert len({name for name, _ in calls(cluster, "meshed", "sticky.meshed", count=30)}) == 2
    found = '{.status.conditions[?(@.type=="ambientlab.io/Finding")].message}'
    said = cluster.kubectl("get", "service", "sticky", "-n", "meshed", "-o", f"jsonpath={found}")
    assert said.startswith("spec.sessionAffinity: ztunnel and waypoints choose an endpoint each time")


@pytest.mark.parametrize(
    ("namespace", "ports"), [("outside", range(1, 65536)), ("meshed", (6443, *range(15000, 15100)))]
)
def test_a_pod_finds_little_open_on_the_node(cluster: Mesh, namespace: str, ports: Sequence[int]) -> None:
    """The API, istiod's metrics, and ztunnel's metrics and readiness: no admin port of a proxy, and nothing else of the
    control plane, which has sockets of the file system and of the node's loopback. A captured pod has every connection
    accepted, and closed when the proxy's own is refused."""
    scan = f"""
import socket
for port in {ports!r}:
    made = socket.socket()
    try:
        made.connect(("{NODE_IP}", port))
        made.settimeout(0.3)
        if made.recv(1): print(port)
    except TimeoutError: print(port)
    except OSError: pass
    made.close()
"""
    assert set(python(cluster, namespace, scan).split()) == {"6443", "15014", "15020", "15021"}
    for path in ("config_dump", "quitquitquit"):
        code = runs(
            cluster, namespace, f"curl -s -o /dev/null -w '%{{http_code}}' -X POST http://{NODE_IP}:15020/{path}"
        )
        assert code in ("404", "405"), path


def test_probes_pass_where_only_tunnels_may_and_so_does_all_to_a_pod_that_stays_apart(cluster: Mesh) -> None:
    """A pod may ask that what comes to it plain is left alone, and that the mesh does not answer for the DNS."""
    cluster.apply(STRICT)
    web, apart = address(cluster, "web-1", "meshed"), address(cluster, "apart", "meshed")
    eventually(lambda: calls(cluster, "outside", web, 8080) == [("56", "")], "refused")
    cluster.apply(ASKED_BY_GRPC.format("strict-rpc"))
    cluster.kubectl("wait", "pod/strict-rpc", "-n", "meshed", "--for=condition=Ready", "--timeout=60s")
    assert calls(cluster, "outside", address(cluster, "strict-rpc", "meshed"), 7070)[0][0] in ("52", "56"), "refused"
    assert calls(cluster, "meshed", web, 8080) == [("web-1", address(cluster, "client", "meshed"))]
    assert calls(cluster, "outside", apart, 8080) == [("apart", address(cluster, "client", "outside"))]
    assert calls(cluster, "meshed", apart, 8080) == [("apart", address(cluster, "client", "meshed"))]
    for option in ("-4", "-6"):
        eventually(partial(_answers, cluster, "named.example.com", option), f"the name with {option}")
    ask = "import socket; print(socket.gethostbyname('named.example.com'))"
    said = cluster.kubectl("exec", "-n", "meshed", "apart", "--", "python3", "-c", ask, check=False)
    assert "gaierror" in said
    before = {pod: probed(cluster, pod) for pod in ("web-1", "web-2")}
    for pod, number in before.items():  # a fourth failure in a row restarts a pod
        eventually(partial(_reached, cluster, pod, number + 4), f"four probes of each kind of {pod}")
    for pod in ("web-1", "web-2", "rpc", "strict-rpc"):
        [status] = cluster.json("get", "pod", pod, "-n", "meshed")["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0)
