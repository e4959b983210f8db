"""Pods join the mesh and leave it by their labels, with kubectl: nothing restarts, and new connections follow at once.

A ServiceEntry has an address that only ztunnel knows, so who is answered there is in the mesh. The tests go on from
each other (`walk`).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ambientlab.dataplane.bootstrap import CONFIG
from ambientlab.host import inspect, process
from support.mesh import Mesh
from support.waiting import eventually, first

pytestmark = pytest.mark.walk

MODE = "istio.io/dataplane-mode"
ANNOTATION = r"jsonpath={.metadata.annotations.ambient\.istio\.io/redirection}"
ENABLED = f"--for={ANNOTATION}=enabled"
VIP = "240.240.200.1"

PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: live}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: live, labels: {app: server}}
spec: {containers: [{name: echo, image: gcr.io/k8s-staging-gateway-api/echo-basic}]}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: live}
spec: {selector: {app: server}, ports: [{port: 3000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: live}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: live}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
"""

EXCLUDED = """
apiVersion: v1
kind: Pod
metadata: {name: on-the-nodes-network, namespace: live, labels: {istio.io/dataplane-mode: ambient}}
spec:
  hostNetwork: true
  containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: with-a-sidecar, namespace: live, annotations: {sidecar.istio.io/status: "{}"}}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: opted-out, namespace: live, labels: {istio.io/dataplane-mode: none}}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: of-the-system, namespace: kube-system, labels: {istio.io/dataplane-mode: ambient}}
spec: {containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]}
"""

JOB = """
apiVersion: v1
kind: Pod
metadata: {name: work, namespace: live, labels: {istio.io/dataplane-mode: ambient}}
spec:
  restartPolicy: Never
  containers: [{name: work, image: busybox, command: [cat, /etc/hostname]}]
"""


def entry(address: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: for-the-mesh, namespace: live}}
spec:
  hosts: [for-the-mesh.test]
  addresses: [{VIP}]
  ports: [{{number: 3000, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {address}}}]
"""


@pytest.fixture(scope="module")
def live(mesh: Mesh) -> Mesh:
    mesh.apply(PODS)
    mesh.kubectl("wait", "pod", "--all", "-n", "live", "--for=condition=Ready")
    mesh.apply(entry(mesh.json("get", "pod", "server", "-n", "live")["status"]["podIP"]))
    return mesh


def enrolled(mesh: Mesh) -> dict[str, str]:
    """Every pod that has the annotation."""
    found = {}
    for pod in mesh.json("get", "pods", "-A")["items"]:
        mark = pod["metadata"].get("annotations", {}).get("ambient.istio.io/redirection")
        if mark is not None:
            found[f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"] = mark
    return found


def answered(mesh: Mesh, pod: str, url: str = f"http://{VIP}:3000/") -> bool:
    command = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]
    return mesh.kubectl("exec", pod, "-n", "live", "--", *command, check=False).strip().endswith("200")


def label(mesh: Mesh, what: str, mode: str) -> None:
    mesh.kubectl("label", *what.split(), f"{MODE}={mode}" if mode else f"{MODE}-", "--overwrite")


def restarts(mesh: Mesh) -> int:
    return sum(
        status["restartCount"]
        for pod in mesh.json("get", "pods", "-n", "live")["items"]
        for status in pod["status"]["containerStatuses"]
    )


def test_labels_move_running_pods_and_new_connections_follow(live: Mesh) -> None:
    assert enrolled(live) == {}
    assert not answered(live, "client")
    for what, pods in (("namespace live", ("client", "other", "server")), ("pod client -n live", ("client",))):
        label(live, what, "ambient")
        live.kubectl("wait", "-n", "live", ENABLED, "pod", *pods)
        assert enrolled(live) == {f"live/{pod}": "enabled" for pod in pods}
        assert answered(live, "client")
        assert answered(live, "other") == ("other" in pods)
        label(live, what, "")
        eventually(lambda: not enrolled(live), "pods that are not enrolled")
        assert not answered(live, "client")
        assert answered(live, "client", "http://server.live:3000/")
    assert restarts(live) == 0


def test_the_label_of_a_pod_goes_before_that_of_its_namespace(live: Mesh) -> None:
    label(live, "namespace live", "ambient")
    label(live, "pod client -n live", "none")
    live.kubectl("wait", "-n", "live", ENABLED, "pod", "other", "server")
    eventually(lambda: "live/client" not in enrolled(live), "a client that has left")
    assert (answered(live, "client"), answered(live, "other")) == (False, True)
    label(live, "pod client -n live", "")
    live.kubectl("wait", "-n", "live", ENABLED, "pod", "client")
    assert answered(live, "client")


def test_who_is_excluded(live: Mesh) -> None:
    """Besides waypoints and Istio's own pods. All come before one whose enrolment shows that everybody had a turn."""
    label(live, "namespace live", "ambient")
    label(live, "namespace kube-system", "ambient")
    assert live.ambientlab("istioctl", "waypoint", "apply", "-n", "live", "--wait").code == 0
    live.apply(EXCLUDED)
    live.kubectl("wait", "pod", "--all", "-A", "--for=condition=Ready")
    live.kubectl("run", "last", "-n", "live", "--image=busybox", "--", "sleep", "infinity")
    live.kubectl("wait", "-n", "live", ENABLED, "pod", "last", "client", "other", "server")
    assert enrolled(live) == {f"live/{pod}": "enabled" for pod in ("client", "last", "other", "server")}
    said = live.kubectl("logs", "-n", "istio-system", "ds/istio-cni-node")
    assert "\tNamespace live is enabled in ambient mesh\n" in said
    assert "\tadding pod to the mesh\tns=live name=last\n" in said
    assert "\tNamespace kube-system is labeled for ambient mesh but is excluded by excludeNamespaces" in said


def test_a_pod_that_has_done_its_work_is_out_of_the_mesh(live: Mesh) -> None:
    live.apply(JOB)
    live.kubectl("wait", "-n", "live", "pod/work", "--for=jsonpath={.status.phase}=Succeeded")
    eventually(lambda: "live/work" not in enrolled(live), "a mark that has gone")
    assert "removing pod from mesh\tns=live name=work deleted=true" in live.kubectl(
        "logs", "-n", "istio-system", "ds/istio-cni-node"
    )


def ztunnel(mesh: Mesh) -> tuple[int, bool]:
    """How often its container was restarted, and whether it is ready."""
    [pod] = mesh.json("get", "pods", "-n", "istio-system", "-l", "app=ztunnel")["items"]
    [status] = pod["status"]["containerStatuses"]
    return status["restartCount"], status["ready"]


def test_ztunnel_killed_under_load_is_restarted_and_every_pod_served_again(live: Mesh) -> None:
    label(live, "namespace live", "ambient")
    live.kubectl("wait", "-n", "live", ENABLED, "pod", "client", "server")
    script = (
        "rm -f /tmp/stop; while [ ! -e /tmp/stop ]; do "
        f"curl -sS -m 5 -o /dev/null -w '%{{http_code}} %{{remote_ip}}\\n' http://{VIP}:3000/ 2>/dev/null; done"
    )
    with live.background("exec", "client", "-n", "live", "--", "sh", "-c", script) as calling:
        eventually(lambda: 'src.workload="client"' in live.kubectl("logs", "-n", "istio-system", "ds/ztunnel"), "load")
        os.kill(_pid(live), signal.SIGKILL)
        first(lambda: ztunnel(live), lambda found: found == (1, True), "ztunnel that has been restarted")
        assert answered(live, "client")
        live.kubectl("exec", "client", "-n", "live", "--", "touch", "/tmp/stop")
        codes = [line.split()[0] for line in calling.finish()]
    assert set(codes) <= {"200", "000"}
    assert codes[0] == codes[-1] == "200"
    assert "live/client" in enrolled(live)
    said = live.kubectl("logs", "-n", "istio-system", "ds/istio-cni-node").splitlines()
    came, went = "new ztunnel connected, total connected: 1", "ztunnel disconnected, total connected 0"
    assert [line.rpartition("\t")[2] for line in said if "ztunnel" in line][-3:] == [came, went, came]


STAY = """
import socket, sys
with socket.create_connection((sys.argv[1], 3000)) as connection:
    print("open", flush=True)
    try:
        connection.recv(1)
    except ConnectionError:
        pass
"""


def test_a_rollout_restart_of_ztunnel_ends_what_is_open(live: Mesh) -> None:
    """docs/limits.md says so."""
    with live.background("exec", "client", "-n", "live", "--", "/usr/bin/python3", "-c", STAY, VIP) as connected:
        assert connected.line() == "open"
        live.kubectl("rollout", "restart", "ds/ztunnel", "-n", "istio-system")
        live.kubectl("rollout", "status", "ds/ztunnel", "-n", "istio-system", "--timeout=30s")
        connected.finish()
    assert answered(live, "client")


def _pid(mesh: Mesh) -> int:
    """Of ztunnel: the proxy that is older than any waypoint."""
    [running] = json.loads(mesh.ambientlab("status", "-o", "json").out)
    proxies = [pid for pid in inspect.tree(running["pid"]) if CONFIG.encode() in _words(pid)]
    return min(proxies, key=lambda pid: process.identify(pid, 0).started)


def _words(pid: int) -> list[bytes]:
    """The command of a process; none of one that has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
