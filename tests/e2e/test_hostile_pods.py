"""What a pod that means harm finds: nothing of the machine, the node or other pods."""

from __future__ import annotations

import json
import os
import re
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import hostile as attempts
from support import liar
from support.mesh import Mesh
from support.waiting import eventually, first

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {spec}
  containers: [{{name: c, image: {image}{rest}}}]
"""
SLEEP = ', command: [sleep, "100000"]'


def pod(name: str, image: str = "debian", rest: str = SLEEP, namespace: str = "default", spec: str = "") -> str:
    return POD.format(name=name, image=image, rest=rest, namespace=namespace, spec=spec)


STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: meshed}
spec: {mtls: {mode: STRICT}}
"""


@pytest.fixture(scope="module")
def hostile(mesh: Mesh) -> Mesh:
    mesh.kubectl("create", "namespace", "meshed")
    mesh.kubectl("label", "namespace", "meshed", "istio.io/dataplane-mode=ambient")
    serve = ', command: [python3, -m, http.server, "8000"]'
    mesh.apply(
        "---".join([pod("evil"), pod("inside", namespace="meshed"), pod("victim", rest=serve, namespace="meshed")])
    )
    mesh.kubectl("wait", "pod/evil", "--for=condition=Ready", "--timeout=60s")
    mesh.kubectl("wait", "pod", "--all", "-n", "meshed", "--for=condition=Ready", "--timeout=60s")
    return mesh


def tries(mesh: Mesh, script: str, name: str = "evil", namespace: str = "default") -> str:
    return mesh.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", script, check=False)


def address(mesh: Mesh, name: str, namespace: str) -> str:
    return mesh.kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.podIP}")


@pytest.mark.parametrize(
    "attempt",
    [
        *(f"ls -A {path} | grep ." for path in ("/home", "/root", "/proc/1/root/home", "/proc/1/root/root")),
        "touch /usr/mine",
        "mount -o remount,rw /usr",
        "mount --bind / /mnt",
        "unshare -Urm mount -o remount,rw,bind /usr",
        "unshare -Urm umount /proc/sys",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "nsenter -t 1 -m true",
        "mknod /tmp/disk b 254 0",
        "python3 -c 'import os; os.open(\"/dev/kmsg\", os.O_RDONLY)'",
        "dmesg",
    ],
)
def test_the_machine_is_out_of_reach(hostile: Mesh, attempt: str) -> None:
    code = tries(hostile, f"({attempt}) > /dev/null 2>&1; echo $?").split()[-1]
    assert code not in ("0", "126", "127"), "tried, and refused"


@pytest.mark.parametrize(("name", "namespace"), [("evil", "default"), ("inside", "meshed")])
def test_a_pod_stays_where_it_is_and_as_it_is(hostile: Mesh, name: str, namespace: str) -> None:
    """In its namespaces, with its addresses and its capture, whatever user namespace it makes for itself. What belongs
    to its network is refused for its owner's sake: asked in the same words of a network of its own, it is not there."""
    program = Path(attempts.__file__).read_text()
    victim = address(hostile, "victim", "meshed")
    said = hostile.kubectl("exec", "-n", namespace, name, "--", "python3", "-c", program, victim)
    outcomes: dict[str, list[str]] = json.loads(said)
    own = {
        attempt: last for attempt, (*_, last) in outcomes.items() if last not in ("EPERM", "EACCES", "ESRCH", "EROFS")
    }
    assert own == {
        "add an address": "ENODEV",
        "add a route": "ENODEV",
        "change the hardware address": "ENOTSUP",
        "remove the capture": "ENOENT",
    }
    assert {outcome for in_pod in outcomes.values() for outcome in in_pod[:2]} <= {"EPERM", "EACCES", "ESRCH", "EROFS"}
    held = dict(
        line.split() for line in tries(hostile, "grep -E 'Cap|NoNew' /proc/self/status", name, namespace).splitlines()
    )
    dockers, none = "00000000a80425fb", "0" * 16
    assert held == {
        **dict.fromkeys(("CapPrm:", "CapEff:", "CapBnd:"), dockers),
        **dict.fromkeys(("CapInh:", "CapAmb:"), none),
        "NoNewPrivs:": "1",
    }


def test_a_security_context_changes_nothing(hostile: Mesh) -> None:
    """It gives nobody more, and takes nothing away."""
    context = (
        "securityContext: {runAsUser: 1001, runAsNonRoot: true, readOnlyRootFilesystem: true, capabilities: "
        "{add: [SYS_ADMIN, NET_ADMIN], drop: [ALL]}}"
    )
    hostile.apply(pod("context", rest=f"{SLEEP}, {context}, resources: {{limits: {{memory: 1Mi}}}}"))
    hostile.kubectl("wait", "pod/context", "--for=condition=Ready", "--timeout=60s")
    look = "id -u; grep CapEff /proc/self/status; head -c 8000000 /dev/zero > /tmp/some && echo written"
    assert tries(hostile, look, "context") == tries(hostile, look) != ""
    assert tries(hostile, "id -u", "context") == "0\n"
    hostile.kubectl("delete", "pod", "context", "--now")


MARKED = """
import socket, sys
s = socket.socket()
if sys.argv[1] == "by": s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x539)
s.settimeout(5)
try:
    s.connect((sys.argv[2], 8000))
    s.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(len(s.recv(9)))
except OSError: print(0)
"""


def test_who_goes_by_its_ztunnel_is_nobody(hostile: Mesh) -> None:
    """The mark by which ztunnel's sockets pass needs no more than CAP_NET_RAW (Linux 5.17), here as on Istio: a pod can
    keep its own connections from ztunnel, and comes to others as one from outside the mesh."""
    inside, victim = (address(hostile, name, "meshed") for name in ("inside", "victim"))

    def calls(way: str) -> bool:
        done = hostile.kubectl("exec", "-n", "meshed", "inside", "--", "python3", "-c", MARKED, way, victim)
        return done != "0\n"

    assert calls("by")
    assert calls("through")
    hostile.apply(STRICT)
    eventually(lambda: not calls("by"), "refusal")
    assert calls("through")
    denied = "explicitly denied by: istio-system/istio_converted_static_strict"
    line = rf'src.addr={inside}:\d+ src.workload="inside" .*dst.addr={victim}:8000 .*direction="inbound" .*{denied}'
    said = first(lambda: ztunnels(hostile), lambda log: denied in log, denied)
    assert re.search(line, said), said
    hostile.kubectl("delete", "peerauthentication", "default", "-n", "meshed")


BESIDE = """
import errno, socket, sys
for port in map(int, sys.argv[1:]):
    for host in ("0.0.0.0", socket.gethostbyname(socket.gethostname()) if port in (15006, 15008) else "127.0.0.1"):
        s = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT): s.setsockopt(socket.SOL_SOCKET, option, 1)
        try: s.bind((host, port)); s.listen(); print("listens")
        except OSError as error: print(errno.errorcode[error.errno])
"""


def test_nobody_listens_beside_ztunnel(hostile: Mesh) -> None:
    """Every process of the node is the same user to the kernel, which would let sockets of one user share a port."""
    hostile.apply(pod("atnode", spec="hostNetwork: true"))
    hostile.kubectl("wait", "pod/atnode", "--for=condition=Ready", "--timeout=60s")
    for namespace, name, ports in (("meshed", "inside", (15001, 15006, 15008)), ("default", "atnode", (15020, 15021))):
        said = hostile.kubectl("exec", "-n", namespace, name, "--", "python3", "-c", BESIDE, *map(str, ports))
        assert said.split() == ["EADDRINUSE"] * 2 * len(ports), name
    hostile.kubectl("delete", "pod", "atnode", "--now")


def test_the_control_plane_answers_nobody_but_proxies(hostile: Mesh) -> None:
    """istiod's ports of xDS and of its webhooks are no sockets that a pod could reach, and what it has for debugging is
    nowhere a pod can ask for it."""
    istiod = hostile.kubectl("get", "service", "istiod", "-n", "istio-system", "-o", "jsonpath={.spec.clusterIP}")
    ask = (
        "import socket, sys\n"
        "for port in (443, 8080, 15000, 15010, 15012, 15017, 15014):\n"
        "    s = socket.socket()\n"
        "    s.settimeout(5)\n"
        "    try:\n"
        "        s.connect((sys.argv[1], port))\n"
        "        s.sendall(b'GET /debug/syncz HTTP/1.0\\r\\n\\r\\n')\n"
        "        print((s.recv(99).split() or [b'', b'refused'])[1].decode())\n"
        "    except ConnectionError: print('refused')\n"
    )
    for name, namespace in (("evil", "default"), ("inside", "meshed")):
        for ip, monitoring in ((istiod, "401"), ("127.0.0.1", "refused")):
            said = hostile.kubectl("exec", "-n", namespace, name, "--", "python3", "-c", ask, ip)
            assert said.split() == [*["refused"] * 6, monitoring], (name, ip)
    elsewhere = "/proc -o -path /sys -o -path /usr"
    assert tries(hostile, f"find / \\( -path {elsewhere} \\) -prune -o -type s -print 2>/dev/null; true") == ""


def test_other_processes_are_not_seen(hostile: Mesh) -> None:
    commands = tries(hostile, "cat /proc/[0-9]*/comm").split()
    assert set(commands) <= {"sleep", "sh", "cat"}
    assert tries(hostile, "grep -c . /proc/net/unix") == "1\n", "no socket of the node has an abstract name"


def test_the_api_knows_nobody_without_a_token_and_lets_nobody_read_with_one(hostile: Mesh) -> None:
    ask = "curl -sk -m 5 https://10.96.0.1/api/v1/secrets"
    assert json.loads(tries(hostile, ask))["code"] == 401
    token = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"
    assert json.loads(tries(hostile, f'{ask} -H "Authorization: Bearer {token}"'))["code"] == 403


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/api/v1/namespaces/meshed/secrets", None),
    ("GET", "/api/v1/namespaces/meshed/pods", None),
    ("GET", "/api/v1/nodes", None),
    ("GET", "/api/v1/namespaces/istio-system/configmaps/istio", None),
    ("GET", "/apis/security.istio.io/v1/peerauthentications", None),
    ("POST", "/api/v1/namespaces/meshed/pods", {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}),
    ("POST", "/api/v1/namespaces/istio-system/serviceaccounts/ztunnel/token", {"spec": {"audiences": ["istio-ca"]}}),
    ("POST", "/api/v1/namespaces/meshed/serviceaccounts/default/token", {"spec": {}}),
    ("POST", "/api/v1/namespaces/meshed/pods/victim/exec?command=id&stdout=true", None),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
    ("PATCH", "/api/v1/namespaces/meshed/pods/inside", {"metadata": {"labels": {"istio.io/dataplane-mode": "none"}}}),
    ("PATCH", "/api/v1/namespaces/meshed/pods/inside/status",
     {"metadata": {"annotations": {"ambient.istio.io/redirection": None}}}),
    ("PATCH", "/api/v1/namespaces/meshed", {"metadata": {"labels": {"istio.io/dataplane-mode": None}}}),
    ("DELETE", "/apis/security.istio.io/v1/namespaces/meshed/authorizationpolicies/x", None),
]  # fmt: skip

ASK = """
import json, ssl, sys, urllib.error, urllib.request
context = ssl._create_unverified_context()
token = open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()
head, body, signature = token.split(".")
for extra in ({}, {"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters"}):
    for method, path, content in json.loads(sys.argv[1]):
        headers = {"Authorization": "Bearer " + token, **extra}
        if content is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request("https://10.96.0.1" + path, data, headers, method=method)
        try: print(urllib.request.urlopen(request, context=context).status)
        except urllib.error.HTTPError as error: print(error.code)
for forged in (f"{head}.{body}.", f"eyJhbGciOiJub25lIn0.{body}.", f"{head}.{body}.{signature[::-1]}"):
    request = urllib.request.Request("https://10.96.0.1/api", headers={"Authorization": "Bearer " + forged})
    try: print(urllib.request.urlopen(request, context=context).status)
    except urllib.error.HTTPError as error: print(error.code)
"""


def test_the_token_of_a_pod_opens_nothing_at_the_api(hostile: Mesh) -> None:
    """A service account has no rights but those that somebody binds to it."""
    said = hostile.kubectl("exec", "-n", "meshed", "inside", "--", "python3", "-c", ASK, json.dumps(REQUESTS)).split()
    assert said == ["403"] * 2 * len(REQUESTS) + ["401"] * 3


def test_tunnels_open_for_certificates_of_the_mesh_alone(hostile: Mesh) -> None:
    """Who turns up without one, or with one of its own making, is turned away at once, and ztunnel says why."""
    evil, victim = address(hostile, "evil", "default"), address(hostile, "victim", "meshed")
    forge = (
        "cd /tmp && openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj / "
        "-addext subjectAltName=URI:spiffe://cluster.local/ns/meshed/sa/default 2>/dev/null; "
    )
    for credentials, fault in (
        ("", "NoCertificatesPresented"),
        ("--cert c --key k", "InvalidCertificate(UnknownIssuer)"),
    ):
        call = f"curl -sk -m 5 {credentials} --http2-prior-knowledge https://{victim}:15008/; echo $?"
        ended = tries(hostile, forge + call).splitlines()[-1]
        assert ended not in ("0", "7", "28"), "connected, and turned away"
        error = f'error="tls handshake error: Custom {{ kind: InvalidData, error: {fault} }}"'
        wanted = re.compile(rf'src\.addr={evil}:\d+ dst\.addr={victim}:15008 direction="inbound" {re.escape(error)}')
        first(partial(ztunnels, hostile), wanted.search, fault)


def ztunnels(mesh: Mesh) -> str:
    """Its log."""
    return mesh.kubectl("logs", "-n", "istio-system", "ds/ztunnel")


LISTEN = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 9999))
print('listening', flush=True)
print(s.recvfrom(9)[0].decode(), flush=True)
"""


def test_packets_with_the_address_of_another_pod_go_nowhere(hostile: Mesh) -> None:
    """Neither from raw sockets nor as frames; and who claims an address on its wire gets nothing of its traffic."""
    own, victim, other = (
        address(hostile, name, namespace)
        for name, namespace in (("evil", "default"), ("victim", "meshed"), ("inside", "meshed"))
    )
    send = (
        "import socket, struct, sys\n"
        "for source in sys.argv[2:]:\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
        "    udp = struct.pack('!HHHH', 99, 9999, 14, 0) + b'forged'\n"
        "    a, b = socket.inet_aton(source), socket.inet_aton(sys.argv[1])\n"
        "    head = struct.pack('!BBHHHBBH4s4s', 69, 0, 20 + len(udp), 1, 0, 64, 17, 0, a, b)\n"
        "    s.sendto(head + udp, (sys.argv[1], 0))\n"
    )
    forged = (other, "10.244.0.1", "127.0.0.1", "169.254.7.127", "8.8.8.8")
    with hostile.background("exec", "-n", "meshed", "victim", "--", "python3", "-c", LISTEN) as receiver:
        assert receiver.process.stdout is not None
        assert receiver.process.stdout.readline() == "listening\n"
        hostile.kubectl("exec", "evil", "--", "python3", "-c", send, victim, *forged)
        lie = Path(liar.__file__).read_text()
        with hostile.background("exec", "evil", "--", "python3", "-c", lie, victim, *forged) as lying:
            assert lying.process.stdout is not None
            assert lying.process.stdout.readline() == "lying\n"
            for _ in range(3):
                assert "Directory listing" in tries(hostile, f"curl -s -m 5 {victim}:8000", "inside", "meshed")
            tries(hostile, "touch /tmp/enough")
            [heard] = lying.finish()
        assert receiver.finish() == ["honest"]
    assert set(json.loads(heard)) <= {own, "10.244.0.1"}


HOLD = """
import os, socket, sys, time
s = socket.create_connection((sys.argv[1], 8000), 5)
s.sendall(b"GET / HTTP/1.0\\r\\n")
print("connected", flush=True)
while not os.path.exists("/tmp/enough"): time.sleep(0.01)
s.sendall(b"\\r\\n")
print(s.makefile().readline().strip())
"""


def test_calling_the_node_proxys_own_ports_leaves_it_alive(hostile: Mesh) -> None:
    """It would take the connections that it carries along."""
    victim = address(hostile, "victim", "meshed")
    hold = ("exec", "-n", "meshed", "inside", "--", "python3", "-c", HOLD, victim)
    with hostile.background(*hold) as held:
        assert held.process.stdout is not None
        assert held.process.stdout.readline() == "connected\n"
        for port in (15001, 15006, 15008):
            tries(hostile, f"curl -s -m 5 http://{victim}:{port}/")
            for target in ("127.0.0.1", victim):
                tries(hostile, f"curl -s -m 5 http://{target}:{port}/", "inside", "meshed")
        tries(hostile, "touch /tmp/enough", "inside", "meshed")
        assert held.finish() == ["HTTP/1.0 200 OK"]


def test_the_image_of_the_node_proxy_gives_a_pod_nothing(hostile: Mesh) -> None:
    hostile.apply(pod("proxy", "docker.io/istio/ztunnel", ""))
    waiting = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    hostile.kubectl("wait", "pod/proxy", waiting, "--timeout=60s")
    described = hostile.kubectl("describe", "pod", "proxy")
    assert "runs only as service account ztunnel of namespace istio-system" in described
    hostile.kubectl("delete", "pod", "proxy", "--now")


def test_the_machines_directories_cannot_be_mounted(hostile: Mesh) -> None:
    hostile.apply(pod("mounts", spec="volumes: [{name: h, hostPath: {path: /}}]"))
    events = ("get", "events", "--field-selector", "involvedObject.name=mounts,reason=FailedMount", "-o", "name")
    hostile.kubectl("wait", "pod/mounts", "--for=condition=PodScheduled", "--timeout=60s")
    with hostile.background(*events, "-w") as watching:
        assert watching.process.stdout is not None
        assert watching.process.stdout.readline().startswith("event/")
    assert "volumes of type hostPath are not supported" in hostile.kubectl("describe", "pod", "mounts")
    hostile.kubectl("delete", "pod", "mounts", "--now")


def test_secrets_of_the_mesh_are_its_users_alone(hostile: Mesh) -> None:
    mine = ("state/ambientlab/ambientlab", "run/ambientlab/ambientlab")
    for directory in mine:
        assert stat.S_IMODE((hostile.root / directory).stat().st_mode) == 0o700
    for directory, _, names in os.walk(hostile.root / mine[0]):
        for name in names:
            if name.endswith((".key", "-key.pem", ".db", "kubeconfig")):
                assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o600, name
    token = hostile.kubectl("create", "token", "default")
    log = (hostile.root / mine[0] / "logs/daemon.log").read_text()
    assert token.partition(".")[0] not in log
    assert "PRIVATE KEY" not in log


def test_descriptors_are_enough_for_many_connections(hostile: Mesh) -> None:
    soft, hard = tries(hostile, "ulimit -Sn; ulimit -Hn").split()
    assert soft == hard or int(soft) >= 1 << 20
