"""Who goes through a waypoint and who does not, what `istioctl waypoint` says, and waypoints that come, go and restart.

The tests of this module walk one mesh through these states, in order (`walk`). Every request that passes the waypoint
is answered 418 there; those that go directly reach the application.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ambientlab.api.objects import Object, condition_holds
from ambientlab.host import inspect
from support.mesh import Mesh
from support.splits import fits
from support.waiting import eventually, first

pytestmark = pytest.mark.walk

HELLO = "http://helloworld.hello.svc.cluster.local:5000/hello"
CODE = ["-o", "/dev/null", "-w", "%{http_code}\\n"]
DIRECT, THROUGH_THE_WAYPOINT = "200", "418"
BOUND = "--for=jsonpath={.status.conditions[?(@.type=='istio.io/WaypointBound')].reason}"


def fault(spec: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: marked, namespace: hello}}
spec:
  hosts: [helloworld]
  http:
  - fault: {spec}
    route: [{{destination: {{host: helloworld}}}}]
"""


MARKED = fault("{abort: {httpStatus: 418, percentage: {value: 100}}}")


def answered(lab: Mesh, code: str) -> None:
    """Wait for a first answer of `code`; from then on there is no other."""
    eventually(lambda: lab.sample(HELLO, 1, *CODE) == [code], f"an answer {code}")
    assert set(lab.sample(HELLO, 30, *CODE)) == {code}


def findings(lab: Mesh) -> list[str]:
    conditions = lab.json("get", "virtualservice", "marked", "-n", "hello").get("status", {}).get("conditions", [])
    return [condition["reason"] for condition in conditions]


def instances(lab: Mesh) -> list[str]:
    selector = "gateway.networking.k8s.io/gateway-name=waypoint"
    return lab.kubectl("get", "pods", "-n", "hello", "-l", selector, "-o", "name").split()


def client(lab: Mesh, name: str, namespace: str, *labels: str) -> None:
    image = "--image=docker.io/curlimages/curl:8.16.0"
    lab.kubectl("run", name, "-n", namespace, image, *labels, "--command", "--", "sleep", "infinity")
    lab.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}")


@pytest.fixture(scope="module")
def hello(lab: Mesh) -> Mesh:
    """helloworld in the mesh, with a VirtualService that only a waypoint would follow."""
    lab.kubectl("label", "ns", "hello", "istio.io/dataplane-mode=ambient")
    lab.helloworld()
    lab.apply(MARKED)
    return lab


def test_a_waypoint_that_nobody_asked_for_changes_nothing(hello: Mesh) -> None:
    assert hello.ambientlab("istioctl", "waypoint", "list", "-n", "hello").out == "No waypoints found.\n"
    hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--wait")
    answered(hello, DIRECT)
    assert "conditions" not in hello.json("get", "service", "helloworld", "-n", "hello")["status"]
    assert findings(hello) == ["NoWaypoint"]
    logged = hello.kubectl("logs", "-n", "istio-system", "deploy/istiod")
    said = "VirtualService hello/marked: spec.hosts: no effect on helloworld.hello.svc.cluster.local"
    assert logged.count(said) == 1


def test_the_label_brings_traffic_to_it(hello: Mesh) -> None:
    hello.kubectl("label", "ns", "hello", "istio.io/use-waypoint=waypoint")
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=WaypointAccepted", "service/helloworld")
    answered(hello, THROUGH_THE_WAYPOINT)
    eventually(lambda: findings(hello) == [], "VirtualService without findings")


def test_what_istioctl_says_of_it(hello: Mesh) -> None:
    def istioctl(*arguments: str) -> str:
        return hello.ambientlab("istioctl", "waypoint", *arguments).text

    programmed = "Resource programmed, assigned to service(s) waypoint.hello.svc.cluster.local:15008"
    assert istioctl("list", "-n", "hello").splitlines() == [
        "NAME         REVISION     TRAFFIC TYPE     PROGRAMMED",
        "waypoint     default      none             True",
    ]
    assert istioctl("list", "-A").splitlines()[1].split() == ["hello", "waypoint", "default", "none", "True"]
    assert istioctl("status", "-n", "hello").splitlines() == [
        "NAME         STATUS     TYPE           REASON         MESSAGE",
        f"waypoint     True       Programmed     Programmed     {programmed}",
    ]
    assert istioctl("status", "-A").split()[:2] == ["NAMESPACE", "NAME"]
    assert 'unknown subcommand "waypoint"' in istioctl("status", "waypoint", "-n", "hello")
    assert hello.apply(istioctl("generate", "-n", "hello"), "--dry-run=server").startswith("gateway.gateway")


def test_clients_outside_the_mesh_pass_it_by(hello: Mesh) -> None:
    client(hello, "outsider", "default")
    client(hello, "opted-out", "test", "--labels=istio.io/dataplane-mode=none")
    for name, namespace in (("outsider", "default"), ("opted-out", "test")):
        pod = hello.json("get", "pod", name, "-n", namespace)
        assert "ambient.istio.io/redirection" not in pod["metadata"].get("annotations", {})
        versions = [line.split()[2] for line in hello.sample(HELLO, 100, pod=name, namespace=namespace)]
        fits(versions, {"v1,": 50.0, "v2,": 50.0})
    answered(hello, THROUGH_THE_WAYPOINT)


def test_a_service_can_stay_out_of_it(hello: Mesh) -> None:
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint=none")
    answered(hello, DIRECT)
    assert "conditions" not in hello.json("get", "service", "helloworld", "-n", "hello")["status"]
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint-")
    answered(hello, THROUGH_THE_WAYPOINT)


def test_a_label_that_names_no_waypoint_leaves_traffic_direct(hello: Mesh) -> None:
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint=nobody")
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=WaypointIsNotReady", "service/helloworld")
    answered(hello, DIRECT)
    (condition,) = hello.json("get", "service", "helloworld", "-n", "hello")["status"]["conditions"]
    assert (condition["status"], condition["message"]) == ("False", 'waypoint "hello/nobody" is not ready')
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint-")
    answered(hello, THROUGH_THE_WAYPOINT)


def test_two_instances_share_the_work(hello: Mesh) -> None:
    hello.kubectl("scale", "deploy/waypoint", "-n", "hello", "--replicas=2")
    hello.kubectl("rollout", "status", "deploy/waypoint", "-n", "hello")
    assert set(hello.sample(HELLO, 40, *CODE)) == {THROUGH_THE_WAYPOINT}
    pods = instances(hello)
    assert len(pods) == 2
    logs = partial(hello.kubectl, "logs", "-n", "hello")
    eventually(lambda: all(" 418 FI " in logs(pod) for pod in pods), "request in each of them")
    hello.kubectl("scale", "deploy/waypoint", "-n", "hello", "--replicas=1")
    eventually(lambda: len(instances(hello)) == 1, "second instance that ends")
    answered(hello, THROUGH_THE_WAYPOINT)


PARAMETERS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: parameters, namespace: hello}
data:
  deployment: |
    spec:
      replicas: 2
      template:
        spec:
          containers:
          - name: istio-proxy
            resources: {requests: {cpu: 50m}}
  service: |
    metadata: {annotations: {example.com/owner: team-a}}
"""


def test_parameters_of_a_gateway_shape_what_runs(hello: Mesh) -> None:
    """ConfigMap and `infrastructure.parametersRef`, applied one after the other while the waypoint serves."""
    hello.apply(PARAMETERS)
    reference = {"group": "", "kind": "ConfigMap", "name": "parameters"}

    def patch(infrastructure: Object | None) -> None:
        body = json.dumps({"spec": {"infrastructure": infrastructure}})
        hello.kubectl("patch", "gateway", "waypoint", "-n", "hello", "--type=merge", "-p", body)

    def proxies() -> list[Object]:
        selector = "gateway.networking.k8s.io/gateway-name=waypoint"
        found: list[Object] = hello.json("get", "pods", "-n", "hello", "-l", selector)["items"]
        return found

    def shaped(pods: list[Object]) -> bool:
        ready = [condition_holds(pod, "Ready") for pod in pods]
        cpu = [pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] for pod in pods]
        return (ready, cpu) == ([True, True], ["50m", "50m"])

    patch({"labels": {"example.com/team": "a"}, "parametersRef": reference})
    pods = first(proxies, shaped, "two pods as the parameters have them")
    assert [pod["metadata"]["labels"]["example.com/team"] for pod in pods] == ["a", "a"]
    service = hello.json("get", "service", "waypoint", "-n", "hello")
    assert service["metadata"]["annotations"]["example.com/owner"] == "team-a"
    assert set(hello.sample(HELLO, 40, *CODE)) == {THROUGH_THE_WAYPOINT}
    logs = partial(hello.kubectl, "logs", "-n", "hello")
    eventually(lambda: all(" 418 FI " in logs(f"pod/{pod['metadata']['name']}") for pod in pods), "request in each")
    patch(None)
    first(proxies, lambda pods: len(pods) == 1 and not shaped(pods * 2), "one pod as by default")
    answered(hello, THROUGH_THE_WAYPOINT)
    assert "example.com/owner" not in hello.kubectl("get", "service", "waypoint", "-n", "hello", "-o", "yaml")


def test_a_canary_gets_its_share_of_connections(hello: Mesh) -> None:
    hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--name", "next", "--wait")
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint-canary=next")
    weight = "istio.io/use-waypoint-canary-weight"
    hello.kubectl("annotate", "service", "helloworld", "-n", "hello", f"{weight}=30")

    def through() -> list[str]:
        """The waypoints of the last hundred connections, oldest first."""
        log = hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel", "--tail=400")
        return re.findall(r'dst\.workload="(waypoint|next)-\S+" .* direction="outbound"', log)[-100:]

    eventually(lambda: hello.sample(HELLO, 1, *CODE) == [THROUGH_THE_WAYPOINT] and "next" in through(), "canary")
    assert set(hello.sample(HELLO, 100, *CODE)) == {THROUGH_THE_WAYPOINT}
    eventually(lambda: len(through()) == 100, "hundred lines of log")
    fits(through(), {"waypoint": 70.0, "next": 30.0})

    hello.kubectl("annotate", "service", "helloworld", "-n", "hello", "--overwrite", f"{weight}=some")
    why = 'canary waypoint "hello/next" has an invalid weight; must be an integer in [0,100]'
    wanted = f"Successfully attached to waypoint hello/waypoint. Canary waypoint not attached: {why}"
    message = "{.status.conditions[?(@.type=='istio.io/WaypointBound')].message}"
    hello.kubectl("wait", "-n", "hello", f"--for=jsonpath={message}={wanted}", "service/helloworld")
    hello.kubectl("annotate", "service", "helloworld", "-n", "hello", f"{weight}-")
    hello.kubectl("label", "service", "helloworld", "-n", "hello", "istio.io/use-waypoint-canary-")
    hello.ambientlab("istioctl", "waypoint", "delete", "next", "-n", "hello")
    answered(hello, THROUGH_THE_WAYPOINT)


def test_pods_can_have_one_of_their_own(hello: Mesh) -> None:
    """Where a connection was addressed to decides: the pod's waypoint is for its address, the service's for the VIP."""
    hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--name", "pods", "--for", "workload", "--wait")
    (pod,) = hello.json("get", "pods", "-n", "hello", "-l", "app=helloworld,version=v1")["items"]
    address = f"http://{pod['status']['podIP']}:5000/hello"

    def passed() -> bool:
        return "server: istio-envoy" in hello.curl("-o", "/dev/null", "-D", "-", address).lower()

    assert not passed()
    hello.kubectl("label", "pod", pod["metadata"]["name"], "-n", "hello", "istio.io/use-waypoint=pods")
    eventually(passed, "answer from the pod's waypoint")
    answered(hello, THROUGH_THE_WAYPOINT)
    assert " 418 " not in hello.kubectl("logs", "-n", "hello", "deploy/pods")
    hello.ambientlab("istioctl", "waypoint", "delete", "pods", "-n", "hello")
    eventually(lambda: not passed(), "answer from the pod itself")
    assert "Hello version: v1" in hello.curl(address)
    hello.kubectl("label", "pod", pod["metadata"]["name"], "-n", "hello", "istio.io/use-waypoint-")


def test_another_namespace_can_lend_its_own(hello: Mesh) -> None:
    hello.apply(
        """
apiVersion: v1
kind: Namespace
metadata: {name: infra}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shared, namespace: infra}
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {shares: "yes"}}}}
"""
    )
    hello.kubectl("wait", "-n", "infra", "--for=condition=Programmed", "gateway/shared")
    labels = ("istio.io/use-waypoint=shared", "istio.io/use-waypoint-namespace=infra")
    hello.kubectl("label", "service", "helloworld", "-n", "hello", *labels)
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=AttachmentDenied", "service/helloworld")
    answered(hello, DIRECT)
    hello.kubectl("label", "ns", "hello", "shares=yes")
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=WaypointAccepted", "service/helloworld")
    answered(hello, THROUGH_THE_WAYPOINT)
    assert " 418 FI " in hello.kubectl("logs", "-n", "infra", "deploy/shared")
    hello.kubectl("label", "service", "helloworld", "-n", "hello", *(f"{label.split('=')[0]}-" for label in labels))
    hello.kubectl("delete", "ns", "infra")
    answered(hello, THROUGH_THE_WAYPOINT)


@contextmanager
def under_load(lab: Mesh) -> Iterator[None]:
    """Four clients ask all the while, each request on a connection of its own; all must be answered."""
    ask_ten = 'curl -sS -m 20 -o /dev/null -H "Connection: close" -w "%{http_code}\\n" "$0?[1-10]"'
    four = f"exec 2>&1; for n in 1 2 3 4; do (while [ ! -e /tmp/stop ]; do {ask_ten}; done) & done; wait"
    lab.kubectl("exec", "curl", "-n", "test", "--", "rm", "-f", "/tmp/stop")
    with lab.background("exec", "curl", "-n", "test", "--", "sh", "-c", four, HELLO) as asking:
        yield
        lab.kubectl("exec", "curl", "-n", "test", "--", "touch", "/tmp/stop")
        answers = asking.finish()
    assert len(answers) > 100
    assert set(answers) == {"200"}, {answer: answers.count(answer) for answer in set(answers)}


def test_a_restart_under_load_costs_no_request(hello: Mesh) -> None:
    """Clients turn away from a waypoint before it ends, and it finishes what it has begun: of quick and of slow
    requests none fails."""
    hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--enroll-namespace", "--wait")
    hello.apply(fault("{delay: {fixedDelay: 0.7s, percentage: {value: 5}}}"))
    answered(hello, DIRECT)  # now of the application, behind the waypoint
    with under_load(hello):
        # kubectl marks a restart by the second, and refuses a second one within it
        restart = ("rollout", "restart", "deploy/waypoint", "-n", "hello")
        for _ in range(2):
            (old,) = instances(hello)
            eventually(lambda: hello.kubectl(*restart, check=False).endswith("restarted\n"), "restart that begins")
            hello.kubectl("rollout", "status", "deploy/waypoint", "-n", "hello")
            hello.kubectl("wait", "-n", "hello", "--for=delete", old)


def test_a_waypoint_comes_and_goes_under_load(hello: Mesh) -> None:
    """Without a waypoint traffic goes directly (istio.io, "Configure waypoint proxies"): what sets out for one that
    goes is answered by it still."""
    answered(hello, DIRECT)
    with under_load(hello):
        hello.kubectl("scale", "deploy/waypoint", "-n", "hello", "--replicas=3")
        hello.kubectl("rollout", "status", "deploy/waypoint", "-n", "hello")
        hello.kubectl("scale", "deploy/waypoint", "-n", "hello", "--replicas=1")
        eventually(lambda: len(instances(hello)) == 1, "waypoint alone")
        for _ in range(2):
            hello.kubectl("delete", "gateway", "waypoint", "-n", "hello")
            eventually(lambda: instances(hello) == [], "end of the waypoint")
            hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--wait")
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=WaypointAccepted", "service/helloworld")


def test_a_service_moves_from_one_to_another_under_load(hello: Mesh) -> None:
    hello.ambientlab("istioctl", "waypoint", "apply", "-n", "hello", "--name", "other", "--wait")
    use = ("label", "service", "helloworld", "-n", "hello", "--overwrite")

    def requests(waypoint: str) -> int:
        return hello.kubectl("logs", "-n", "hello", f"deploy/{waypoint}").count(" 200 ")

    def busy(waypoint: str, enough: int) -> bool:
        return requests(waypoint) > enough

    with under_load(hello):
        for waypoint in ("other", "waypoint", "other"):
            enough = requests(waypoint) + 20
            hello.kubectl(*use, f"istio.io/use-waypoint={waypoint}")
            eventually(partial(busy, waypoint, enough), f"requests through {waypoint}")
    hello.kubectl(*use, "istio.io/use-waypoint-")
    hello.ambientlab("istioctl", "waypoint", "delete", "other", "-n", "hello")
    answered(hello, DIRECT)


def test_a_killed_waypoint_is_started_again(hello: Mesh) -> None:
    """In the same pod, with the address it had, and it has all its configuration again before it is Ready."""
    hello.apply(MARKED)
    answered(hello, THROUGH_THE_WAYPOINT)
    (pod,) = instances(hello)
    os.kill(envoy_of(hello, pod.removeprefix("pod/")), signal.SIGKILL)
    ended = "{.status.containerStatuses[0].lastState.terminated.exitCode}"
    hello.kubectl("wait", "-n", "hello", f"--for=jsonpath={ended}=137", pod)
    hello.kubectl("wait", "-n", "hello", "--for=condition=Ready", pod)
    answered(hello, THROUGH_THE_WAYPOINT)
    assert instances(hello) == [pod]


def envoy_of(lab: Mesh, pod: str) -> int:
    """The process of a proxy, as this machine numbers it."""
    launcher = json.loads((lab.root / "state/ambientlab/ambientlab/process.json").read_text())["pid"]
    for pid in inspect.tree(launcher):
        process = Path(f"/proc/{pid}")
        if (process / "comm").read_text() == "envoy\n" and f"\0HOSTNAME={pod}\0".encode() in (
            b"\0" + (process / "environ").read_bytes()
        ):
            return pid
    raise AssertionError(f"no Envoy runs in {pod}")


def test_a_deleted_waypoint_leaves_traffic_direct(hello: Mesh) -> None:
    hello.apply(MARKED)
    answered(hello, THROUGH_THE_WAYPOINT)
    deleted = hello.ambientlab("istioctl", "waypoint", "delete", "waypoint", "nobody", "-n", "hello")
    assert sorted(deleted.out.splitlines()) == ["waypoint hello/nobody not found", "waypoint hello/waypoint deleted"]
    hello.kubectl("wait", "-n", "hello", f"{BOUND}=WaypointIsNotReady", "service/helloworld")
    answered(hello, DIRECT)
    assert findings(hello) == ["NoWaypoint"]
    hello.kubectl("wait", "-n", "hello", "--for=delete", "deployment/waypoint", "service/waypoint")
    hello.kubectl("label", "ns", "hello", "istio.io/use-waypoint-")
    eventually(
        lambda: "conditions" not in hello.json("get", "service", "helloworld", "-n", "hello")["status"],
        "Service without conditions",
    )


def test_what_has_no_effect_is_said_where_it_is_looked_for(hello: Mesh) -> None:
    hello.apply(
        """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: hello}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello, namespace: hello}
spec:
  host: helloworld
  workloadSelector: {matchLabels: {app: helloworld}}
"""
    )
    hello.kubectl("wait", "-n", "hello", "--for=condition=Programmed=false", "gateway/edge")
    hello.kubectl("wait", "-n", "hello", "--for=condition=ambientlab.io/Finding", "destinationrule/hello")
    described = hello.kubectl("describe", "gateway/edge", "destinationrule/hello", "-n", "hello")
    assert "nothing listens for this Gateway" in described
    assert "spec.workloadSelector: a waypoint passes over rules for single clients" in described


def test_kinds_that_are_not_built_are_taken_and_say_so(hello: Mesh) -> None:
    text = (Path(__file__).parents[1] / "golden/cases/not_built.in.yaml").read_text()
    assert hello.apply(text).count(" created\n") == 6
    unsupported = ("envoyfilter/patch", "proxyconfig/threads", "wasmplugin/auth", "trafficextension/script")
    edge = "gateways.networking.istio.io/edge"
    hello.kubectl("wait", "-n", "hello", "--for=condition=ambientlab.io/Unsupported", *unsupported, edge)
    hello.kubectl("wait", "-n", "hello", "--for=condition=ambientlab.io/Finding", "sidecar/default")
    log = hello.kubectl("logs", "-n", "istio-system", "deploy/istiod")
    assert "EnvoyFilter hello/patch: spec is not supported by ambientlab: no proxy is patched" in log
    assert "Sidecar hello/default: spec: Sidecar resources are ignored in ambient mode" in log
    assert hello.kubectl("get", "gateway", "-n", "hello").split()[:2] == ["NAME", "CLASS"], "Gateway API comes first"
    assert hello.kubectl("get", "gw", "-n", "hello").split()[:2] == ["NAME", "AGE"]
    bad = "spec.configPatches[0].match: only support waypointMatch when context is WAYPOINT"
    refused = hello.kubectl(
        "apply", "-f", "-", stdin=text.replace("context: WAYPOINT,", "context: GATEWAY,"), check=False
    )
    assert bad in refused.replace("Invalid value: ", "").replace('"object": ', "")


def test_what_the_node_proxy_says_of_connections_that_led_nowhere(hello: Mesh) -> None:
    """In ztunnel's words: early refusals name what was asked for, failures the address that was tried."""
    hello.apply(
        """
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: default}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: closed, namespace: default}
spec: {selector: {run: outsider}, ports: [{port: 80, targetPort: 9999}]}
---
apiVersion: v1
kind: Service
metadata: {name: closed, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{port: 80, targetPort: 9999}]}
"""
    )
    vip = hello.json("get", "service", "empty", "-n", "default")["spec"]["clusterIP"]
    slices = ("endpointslice", "-l", "kubernetes.io/service-name=closed")
    pod = hello.json("get", "pod", "outsider", "-n", "default")["status"]["podIP"]
    hello.kubectl("wait", "-n", "default", "--for=jsonpath={.endpoints[0].addresses[0]}=" + pod, *slices)
    for host in ("empty.default", "closed.default", "closed.hello"):
        hello.kubectl("exec", "curl", "-n", "test", "--", "curl", "-sS", f"http://{host}", check=False)
    wanted = [
        f'warn\taccess\tconnection failed\tsrc.addr=SRC dst.addr={vip}:80 direction="outbound" '
        f'error="no healthy upstream: {vip}:80"',
        'error\taccess\tconnection complete\tsrc.addr=SRC src.workload="curl" src.namespace="test" '
        f'dst.addr={pod}:9999 dst.service="closed.default.svc.cluster.local" dst.workload="outsider" '
        'dst.namespace="default" direction="outbound" bytes_sent=0 bytes_recv=0 duration="Nms" '
        'error="io error: Connection refused (os error 111)"',
        'error="http status: 503 Service Unavailable"',
    ]

    def logged() -> str:
        text = hello.kubectl("logs", "-n", "istio-system", "ds/ztunnel", "--tail=20")
        return re.sub(r'duration="\d+ms"', 'duration="Nms"', re.sub(r"src\.addr=\S+", "src.addr=SRC", text))

    eventually(lambda: all(line in logged() for line in wanted), f"lines {wanted}")
    inbound = [line for line in logged().splitlines() if 'direction="inbound"' in line and "error" in line]
    assert 'dst.service="closed.hello.svc.cluster.local"' in inbound[-1]
