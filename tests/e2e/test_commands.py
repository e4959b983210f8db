"""The commands beside the lab's: what a person types at a running mesh, with the real kubelet behind it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from ambientlab.api import kinds
from ambientlab.host import tools
from support.mesh import Mesh

SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture(params=[{}, SPDY], ids=["websocket", "spdy"])
def streaming(request: pytest.FixtureRequest, hello: Mesh) -> Mesh:
    return Mesh(hello.root, {**hello.env, **request.param})


def test_exec_carries_output_input_and_exit_code(streaming: Mesh) -> None:
    run = ("exec", "curl", "-n", "test")
    assert streaming.kubectl(*run, "--", "echo", "a b") == "a b\n"
    sent = "x" * 1_000_000
    digest = hashlib.sha256(sent.encode()).hexdigest()
    assert streaming.kubectl(*run, "-i", "--", "sha256sum", stdin=sent) == f"{digest}  -\n"
    long = "x" * 20_000
    assert streaming.kubectl(*run, "--", "echo", long) == f"{long}\n"
    refused = subprocess.run(
        [str(tools.kubectl()), *run, "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
        env=streaming.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (7, "out\n")
    assert refused.stderr == "err\ncommand terminated with exit code 7\n"


def test_files_are_copied_both_ways(streaming: Mesh) -> None:
    there, back = streaming.root / "there", streaming.root / "back"
    there.write_bytes(os.urandom(300_000))
    streaming.kubectl("cp", "-n", "test", str(there), "curl:/tmp/copied")
    streaming.kubectl("cp", "-n", "test", "curl:/tmp/copied", str(back))
    assert back.read_bytes() == there.read_bytes()


def test_a_port_is_forwarded(streaming: Mesh) -> None:
    command = [str(tools.kubectl()), "port-forward", "-n", "hello", "service/helloworld", ":5000"]
    with subprocess.Popen(command, env=streaming.env, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> 5000", forward.stdout.readline())
        assert found
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/hello", timeout=10) as answer:
            assert answer.read().startswith(b"Hello version: v")
        forward.terminate()


def test_requests_go_by_way_of_the_api(hello: Mesh) -> None:
    below = "/api/v1/namespaces/hello"
    pod = hello.kubectl("get", "pods", "-n", "hello", "-l", "version=v1", "-o", "jsonpath={.items[0].metadata.name}")
    assert hello.kubectl("get", "--raw", f"{below}/pods/{pod}/proxy/hello").startswith("Hello version: v1")
    said = hello.kubectl("get", "--raw", f"{below}/services/helloworld:http/proxy/hello")
    assert said.startswith("Hello version: v")
    nobody = hello.kubectl("get", "--raw", f"{below}/pods/{pod}:1/proxy/", check=False)
    assert "error trying to reach service: dial tcp " in nobody
    with subprocess.Popen(
        [str(tools.kubectl()), "proxy", "--port=0"], env=hello.env, stdout=subprocess.PIPE, text=True
    ) as proxy:
        assert proxy.stdout is not None
        found = re.match(r"Starting to serve on (\S+)", proxy.stdout.readline())
        assert found
        with urllib.request.urlopen(f"http://{found[1]}{below}/services/http:helloworld:5000/proxy/hello") as answer:
            assert answer.read().startswith(b"Hello version: v")
        proxy.terminate()


def test_logs_of_pods_and_of_the_mesh_itself(hello: Mesh) -> None:
    hello.kubectl("run", "words", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo one; echo two")
    hello.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/words")
    assert hello.kubectl("logs", "words") == "one\ntwo\n"
    assert hello.kubectl("logs", "words", "--tail=1") == "two\n"
    assert "istiod serves delta ADS" in hello.kubectl("logs", "-n", "istio-system", "deploy/istiod")
    cni = hello.kubectl("logs", "-n", "istio-system", "ds/istio-cni-node")
    assert "\tcni-agent\tadding pod to the mesh\tns=test name=curl\n" in cni
    shown = hello.ambientlab("logs", "istiod").out
    assert hello.kubectl("logs", "-n", "istio-system", "deploy/istiod").startswith(shown[: shown.index("ADS")])
    assert hello.ambientlab("logs", "--tail", "1").code == 0
    unknown = hello.ambientlab("logs", "nothing")
    assert unknown.code == 2
    assert "one of: daemon, istiod, istio-cni" in unknown.err


def test_the_shell_has_every_tool_and_the_labs_files(hello: Mesh) -> None:
    said = hello.ambientlab("shell", "-c", "ls; k version --client; istioctl version; ambientlab --version; pwd")
    assert said.code == 0, said.text
    for words in (
        "helloworld.yaml",
        "httpbin.yaml",
        "Client Version: v1.37",
        "control plane version: 1.31",
        "ambientlab",
    ):
        assert words in said.out
    assert hello.ambientlab("shell", "-c", "exit 3").code == 3


def test_kubectl_and_istioctl_pass_everything_on(hello: Mesh) -> None:
    assert hello.ambientlab("kubectl", "get", "ns", "hello", "-o", "name").out == "namespace/hello\n"
    assert hello.ambientlab("kubectl", "get", "pod", "nobody").code == 1
    assert hello.ambientlab("istioctl", "waypoint", "list", "-A").out == "No waypoints found.\n"


def test_the_users_kubeconfig_reaches_the_mesh(hello: Mesh) -> None:
    """The context that `up` merged, in the user's own file."""
    assert hello.kubectl("config", "current-context") == "ambientlab-ambientlab\n"
    assert "node/ambientlab" in hello.kubectl("get", "nodes", "-o", "name")


def test_what_the_cluster_looks_like(hello: Mesh) -> None:
    """design: node, namespaces, Istio's own workloads, classes, CRDs, the network's ranges."""
    assert re.search(r"^ambientlab\s+Ready\s", hello.kubectl("get", "nodes"), re.M)
    names = set(hello.kubectl("get", "ns", "-o", "name").split())
    assert {
        f"namespace/{n}" for n in ("default", "kube-system", "kube-public", "kube-node-lease", "istio-system")
    } <= names
    classes = hello.kubectl("get", "gatewayclass")
    assert re.search(r"^istio\s+istio\.io/gateway-controller\s+True", classes, re.M)
    assert re.search(r"^istio-waypoint\s+istio\.io/mesh-controller\s+True", classes, re.M)
    workloads = set(hello.kubectl("get", "deploy,ds", "-n", "istio-system", "-o", "name").split())
    assert workloads == {"deployment.apps/istiod", "daemonset.apps/ztunnel", "daemonset.apps/istio-cni-node"}
    crds = {name.rpartition("/")[2] for name in hello.kubectl("get", "crd", "-o", "name").split()}
    assert crds == {f"{crd.plural}.{crd.group}" for crd in kinds.SHIPPED_CRDS}
    assert hello.json("get", "svc", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"] == "10.96.0.10"
    assert hello.json("get", "pod", "curl", "-n", "test")["status"]["podIP"].startswith("10.244.")


def test_the_node_and_pods_reach_services_and_names(hello: Mesh) -> None:
    for name in ("helloworld.hello", "helloworld.hello.svc", "helloworld.hello.svc.cluster.local"):
        assert hello.curl(f"http://{name}:5000/hello").startswith("Hello version")
    ready = hello.curl("-k", "-o", "/dev/null", "-w", "%{http_code}", "https://kubernetes.default/readyz")
    assert ready == "200", "the API is a Service to pods"
    missing = hello.kubectl("exec", "curl", "-n", "test", "--", "curl", "-sS", "http://nothing.hello", check=False)
    assert "Could not resolve host" in missing


def test_status_names_every_mesh(hello: Mesh) -> None:
    shown = hello.ambientlab("status").out
    assert re.search(r"^NAME\s+STATUS\s+PID\s+API\s+PODS\s+MEMORY\s+STATE$", shown, re.M)
    found = json.loads(hello.ambientlab("status", "-o", "json").out)
    assert [each["name"] for each in found] == ["ambientlab"]
    assert found[0]["memoryMiB"] > 0
    assert Path(found[0]["kubeconfig"]).is_file()


def test_two_meshes_side_by_side(hello: Mesh) -> None:
    try:
        assert hello.ambientlab("up", "--name", "second").code == 0
        hello.ambientlab("kubectl", "--name", "second", "create", "configmap", "mine")
        assert hello.ambientlab("kubectl", "--name", "second", "get", "cm", "mine").code == 0
        assert hello.ambientlab("kubectl", "get", "cm", "mine").code == 1
    finally:
        assert hello.ambientlab("down", "--name", "second", "--purge").code == 0
        hello.kubectl("config", "use-context", "ambientlab-ambientlab")
