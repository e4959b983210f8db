"""What a pod that means harm finds: nothing of the machine, the node or other pods."""

from __future__ import annotations

import json
import os
import stat

import pytest

from support.mesh import Mesh

pytestmark = pytest.mark.e2e

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


@pytest.fixture(scope="module")
def hostile(mesh: Mesh) -> Mesh:
    mesh.kubectl("create", "namespace", "meshed")
    mesh.kubectl("label", "namespace", "meshed", "istio.io/dataplane-mode=ambient")
    mesh.apply("---".join([pod("evil"), pod("inside", namespace="meshed"), pod("victim", namespace="meshed")]))
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
        "ls /home/* /root/* /proc/1/root/home/*",
        "touch /usr/mine",
        "mount -o remount,rw /usr",
        "mount --bind / /mnt",
        "unshare -Urm mount -o remount,rw,bind /usr",
        "unshare -Urm umount /proc/sys",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "nsenter -t 1 -m true",
        "mknod /tmp/disk b 254 0",
        "ip link add x type dummy",
        "dmesg",
    ],
)
def test_the_machine_is_out_of_reach(hostile: Mesh, attempt: str) -> None:
    assert "HELD" in tries(hostile, f"({attempt}) > /dev/null 2>&1 && echo GOT IN || echo HELD")


def test_other_processes_are_not_seen(hostile: Mesh) -> None:
    commands = tries(hostile, "cat /proc/[0-9]*/comm").split()
    assert set(commands) <= {"sleep", "sh", "cat"}
    assert tries(hostile, "grep -c . /proc/net/unix") == "1\n", "no socket of the node has an abstract name"


def test_the_api_knows_nobody_without_a_token_and_lets_nobody_read_with_one(hostile: Mesh) -> None:
    ask = "curl -sk -m 5 https://10.96.0.1/api/v1/secrets"
    assert json.loads(tries(hostile, ask))["code"] == 401
    token = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"
    assert json.loads(tries(hostile, f'{ask} -H "Authorization: Bearer {token}"'))["code"] == 403


def test_tunnels_open_for_certificates_of_the_mesh_alone(hostile: Mesh) -> None:
    victim = address(hostile, "victim", "meshed")
    forge = (
        "cd /tmp && openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj / "
        "-addext subjectAltName=URI:spiffe://cluster.local/ns/meshed/sa/default 2>/dev/null; "
    )
    for credentials in ("", "--cert c --key k"):
        call = f"curl -sk -m 5 {credentials} --http2-prior-knowledge https://{victim}:15008/; echo $?"
        ended = tries(hostile, forge + call).splitlines()[-1]
        assert ended not in ("0", "7", "28"), "connected, and turned away at once"


def test_packets_with_the_address_of_another_pod_go_nowhere(hostile: Mesh) -> None:
    own, victim, other = (
        address(hostile, name, namespace)
        for name, namespace in (("evil", "default"), ("victim", "meshed"), ("inside", "meshed"))
    )
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 9999))\n"
        "print('listening', flush=True)\nprint(s.recvfrom(9)[0].decode(), flush=True)"
    )
    send = (
        "import socket, struct, sys\n"
        "def send(source, text):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
        "    udp = struct.pack('!HHHH', 99, 9999, 8 + len(text), 0) + text\n"
        "    a, b = socket.inet_aton(source), socket.inet_aton(sys.argv[2])\n"
        "    head = struct.pack('!BBHHHBBH4s4s', 69, 0, 20 + len(udp), 1, 0, 64, 17, 0, a, b)\n"
        "    s.sendto(head + udp, (sys.argv[2], 0))\n"
        "for source in sys.argv[3:]: send(source, b'forged')\n"
        "send(sys.argv[1], b'honest')"
    )
    with hostile.background("exec", "-n", "meshed", "victim", "--", "python3", "-c", listen) as receiver:
        assert receiver.process.stdout is not None
        assert receiver.process.stdout.readline() == "listening\n"
        forged = (other, "10.244.0.1", "127.0.0.1", "169.254.7.127", "8.8.8.8")
        hostile.kubectl("exec", "evil", "--", "python3", "-c", send, own, victim, *forged)
        assert receiver.finish() == ["honest"]


def test_calling_the_node_proxys_own_ports_leaves_it_alive(hostile: Mesh) -> None:
    victim = address(hostile, "victim", "meshed")
    restarts = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
    before = hostile.kubectl("get", "pod", "-n", "istio-system", "-l", "app=ztunnel", "-o", restarts)
    for port in (15001, 15006, 15008):
        tries(hostile, f"curl -s -m 5 http://{victim}:{port}/")
        for target in ("127.0.0.1", victim):
            tries(hostile, f"curl -s -m 5 http://{target}:{port}/", "inside", "meshed")
    assert hostile.kubectl("get", "pod", "-n", "istio-system", "-l", "app=ztunnel", "-o", restarts) == before


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
