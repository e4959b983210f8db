"""`kubectl rollout` and its kin, the real one, on what the controllers keep for it."""

import re

import pytest

from ambientlab.api.crds import shipped
from ambientlab.api.kinds import CUSTOMRESOURCEDEFINITION
from ambientlab.flow.clock import LoopClock
from support.cluster_world import Cluster, running
from support.kubectl_world import serving

DAEMONSET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: hello}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: app, image: "agent:1"}]}
"""
WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""


@pytest.fixture
async def kubectl(tmp_path):
    """Runs kubectl in namespace hello of a cluster whose node obeys; returns what it printed."""
    async with serving(tmp_path) as world:
        for crd in shipped():
            await world.server.ensure(CUSTOMRESOURCEDEFINITION, crd)
        async with running(Cluster(world.server.client, LoopClock(), world.registry.resources, None)) as cluster:
            stop = cluster.serve_as_node()

            async def run(line, stdin=""):
                return await world.ok("--namespace=hello", *line.split(), stdin=stdin)

            yield run
            stop()


async def test_a_deployments_revisions(kubectl):
    await kubectl("create deployment web --image=web:1 --replicas=2")
    assert "successfully rolled out" in await kubectl("rollout status deployment/web --timeout=20s")
    await kubectl("set image deployment/web web=web:2")
    await kubectl("rollout status deployment/web --timeout=20s")
    assert revisions(await kubectl("rollout history deployment/web")) == [1, 2]
    assert "web:1" in await kubectl("rollout history deployment/web --revision=1")
    assert "rolled back" in await kubectl("rollout undo deployment/web")
    await kubectl("rollout status deployment/web --timeout=20s")
    assert revisions(await kubectl("rollout history deployment/web")) == [2, 3]
    assert await kubectl("get pods -o jsonpath={.items[*].spec.containers[0].image}") == "web:1 web:1"


async def test_pause_resume_restart_and_scale(kubectl):
    await kubectl("create deployment web --image=web:1")
    await kubectl("rollout status deployment/web --timeout=20s")
    await kubectl("rollout pause deployment/web")
    await kubectl("set image deployment/web web=web:2")
    assert len((await kubectl("get replicasets --no-headers")).splitlines()) == 1
    await kubectl("rollout resume deployment/web")
    await kubectl("rollout status deployment/web --timeout=20s")
    await kubectl("rollout restart deployment/web")
    await kubectl("rollout status deployment/web --timeout=20s")
    assert len((await kubectl("get replicasets --no-headers")).splitlines()) == 3
    await kubectl("scale deployment/web --replicas=3")
    await kubectl("wait --for=jsonpath={.status.availableReplicas}=3 deployment/web --timeout=20s")
    assert re.search(r"web\s+3/3\s+3\s+3\s", await kubectl("get deployment web --no-headers"))
    await kubectl("delete deployment web --cascade=foreground --timeout=20s")
    assert await kubectl("get replicasets,pods -o name") == ""


async def test_a_daemonsets_revisions(kubectl):
    await kubectl("create -f -", DAEMONSET)
    assert "successfully rolled out" in await kubectl("rollout status daemonset/agent --timeout=20s")
    await kubectl("set image daemonset/agent app=agent:2")
    await kubectl("rollout status daemonset/agent --timeout=20s")
    assert revisions(await kubectl("rollout history daemonset/agent")) == [1, 2]
    await kubectl("rollout undo daemonset/agent")
    await kubectl("rollout status daemonset/agent --timeout=20s")
    assert revisions(await kubectl("rollout history daemonset/agent")) == [2, 3]
    assert await kubectl("get pods -o jsonpath={.items[*].spec.containers[0].image}") == "agent:1"


async def test_a_waypoint_as_people_see_it(kubectl):
    await kubectl("apply -f -", WAYPOINT)
    await kubectl("wait --for=create deployment/waypoint --timeout=20s")
    await kubectl("rollout status deployment/waypoint --timeout=20s")
    name, kind, _, external, ports, _ = (await kubectl("get service waypoint --no-headers")).split()
    assert (name, kind, external, ports) == ("waypoint", "ClusterIP", "<none>", "15021/TCP,15008/TCP")
    assert re.search(r"waypoint\s+1/1\s+1\s+1\s", await kubectl("get deployment waypoint --no-headers"))
    await kubectl("delete gateway waypoint")
    await kubectl("wait --for=delete deployment/waypoint service/waypoint --timeout=20s")
    await kubectl("wait --for=delete pod --selector=gateway.networking.k8s.io/gateway-name=waypoint --timeout=20s")
    assert await kubectl("get deployments,services,pods -o name") == ""


async def test_a_namespace_goes_with_its_content(kubectl):
    await kubectl("create deployment web --image=web:1")
    await kubectl("rollout status deployment/web --timeout=20s")
    await kubectl("delete namespace hello --timeout=20s")
    assert "namespace/hello" not in await kubectl("get namespaces -o name")


def revisions(history):
    return [int(line.split()[0]) for line in history.splitlines() if line[:1].isdigit()]
