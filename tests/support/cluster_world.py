"""A cluster to tell stories about: an API, every controller, and a node that does what the story says."""

import asyncio
import contextlib

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import (
    DEPLOYMENT,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    REPLICASET,
    SERVICE,
)
from ambientlab.api.objects import labels_of, name, timestamp
from ambientlab.controllers import Options, all_controllers
from ambientlab.controllers.events import WRITE_DELAY
from ambientlab.node.network import in_ipv6

NODE_NAME = "ambientlab"


class Roots:
    """Of a mesh; `become` changes them."""

    def __init__(self, pem):
        self.root_pem = pem
        self._watchers = []

    def watch(self, changed):
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def become(self, pem):
        self.root_pem = pem
        for watcher in self._watchers:
            watcher()


class Cluster:
    """`resources` lists what is served; `serve` adds to it, as the API server does when a CRD is established."""

    def __init__(self, client, clock, resources, serve):
        self.client = client
        self.clock = clock
        self.serve = serve
        self.roots = Roots(b"MESH PEM")
        self.options = Options(resources=resources, cluster_root="CLUSTER PEM", mesh_roots=self.roots, clock=clock)
        self.controllers = all_controllers(client, self.options)
        self._ips = iter(f"10.244.0.{number}" for number in range(10, 250))

    async def start(self):
        for controller in self.controllers:
            controller.start()
        await self.client.create(NODE, node(NODE_NAME))
        await self.namespace("hello")

    async def stop(self):
        for controller in reversed(self.controllers):
            await controller.stop()

    async def settle(self):
        """Until every controller has done what there is to do now."""
        calm = 0
        async with asyncio.timeout(20):
            while calm < 5:
                await asyncio.sleep(0)
                calm = calm + 1 if all(controller.idle for controller in self.controllers) else 0

    async def advance(self, seconds):
        self.clock.advance(seconds)
        await self.settle()

    async def namespace(self, called):
        await self.client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": called}})
        await self.settle()

    async def create(self, resource, obj):
        created = await self.client.create(resource, obj)
        await self.settle()
        return created

    async def change(self, resource, called, patch, home="hello", subresource=""):
        await self.client.patch(resource, called, home, patch, subresource=subresource)
        await self.settle()

    async def delete(self, resource, called, home="hello", **options):
        await self.client.delete(resource, called, home, **options)
        await self.settle()

    # The node's part

    async def run_pods(self, *, ready=True, only=lambda pod: True):
        """The node runs the pods bound to it that do not run yet, and ends those it was asked to end."""
        for pod in self.client.list(POD):
            if pod["spec"].get("nodeName") and only(pod):
                if pod["metadata"].get("deletionTimestamp"):
                    await self.client.delete(POD, name(pod), pod["metadata"]["namespace"], grace_seconds=0)
                elif pod["status"]["phase"] == "Pending" or _readiness(pod) != ready:
                    await self._report(pod, ready)
        await self.settle()

    def serve_as_node(self):
        """From now on the node runs and ends pods as soon as it hears of them. Returns what stops it."""
        tasks = set()

        async def act(pod):
            with contextlib.suppress(StatusError):  # gone, or changed once more: the next event says so
                if pod["metadata"].get("deletionTimestamp"):
                    await self.client.delete(POD, name(pod), pod["metadata"]["namespace"], grace_seconds=0)
                else:
                    await self._report(pod, True)

        def changed(event):
            pod = event.object
            busy = pod["metadata"].get("deletionTimestamp") or not _readiness(pod)
            if event.type != "DELETED" and pod["spec"].get("nodeName") and busy:
                task = asyncio.ensure_future(act(pod))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        return self.client.watch(POD, changed)

    async def _report(self, pod, ready):
        others = [one for one in pod["status"].get("conditions", ()) if one["type"] != "Ready"]
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": timestamp(self.clock.now()),
        }
        ip = pod["status"].get("podIP") or next(self._ips)
        ips = [{"ip": ip}, {"ip": in_ipv6(ip)}]
        status = {"phase": "Running", "podIP": ip, "podIPs": ips, "conditions": [*others, condition]}
        where = name(pod), pod["metadata"]["namespace"]
        await self.client.patch(POD, *where, {"status": status}, subresource="status")

    async def roll_out(self, rounds=20):
        """Let the node keep up until nothing moves any more; returns the most and the fewest pods on the way."""
        total, available = [], []
        for _ in range(rounds):
            await self.settle()
            total.append(len(self.live_pods()))
            available.append(len([pod for pod in self.live_pods() if _readiness(pod)]))
            await self.run_pods()
        return max(total), min(available)

    # Looking

    def pods(self, home="hello"):
        return self.client.list(POD, home)

    def live_pods(self, home="hello"):
        return [pod for pod in self.pods(home) if not pod["metadata"].get("deletionTimestamp")]

    def sets(self, home="hello"):
        return {name(rs): rs["spec"]["replicas"] for rs in self.client.list(REPLICASET, home)}

    def deployment(self, called="web", home="hello"):
        return self.client.get(DEPLOYMENT, called, home)

    def condition(self, obj, type_):
        return next((one for one in obj.get("status", {}).get("conditions", ()) if one["type"] == type_), None)

    async def events(self, about, home="hello"):
        await self.advance(WRITE_DELAY)
        return [
            (event["type"], event["reason"], event["message"])
            for event in self.client.list(EVENT, home)
            if event["involvedObject"]["name"] == about
        ]

    def ready_pods(self, version):
        return [pod for pod in self.live_pods() if _readiness(pod) and labels_of(pod).get("version") == version]


def _readiness(pod):
    found = [one["status"] for one in pod.get("status", {}).get("conditions", ()) if one["type"] == "Ready"]
    return found == ["True"]


def node(called, **spec):
    labels = {"kubernetes.io/hostname": called, "kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": called, "labels": labels}, "spec": spec}


def template(app="web", version="v1", **spec):
    return {
        "metadata": {"labels": {"app": app, "version": version}},
        "spec": {"containers": [{"name": "app", "image": f"example.org/{app}:{version}"}], **spec},
    }


def deployment(called="web", version="v1", home="hello", **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": called, "namespace": home},
        "spec": {"selector": {"matchLabels": {"app": called}}, "template": template(called, version), **spec},
    }


def replicaset(called="web", home="hello", **spec):
    return {**deployment(called, home=home, **spec), "kind": "ReplicaSet"}


def daemonset(called="agent", version="v1", home="hello", **spec):
    return {**deployment(called, version, home, **spec), "kind": "DaemonSet"}


def pod(called, labels=None, home="hello", **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": called, "namespace": home, "labels": labels or {}},
        "spec": {"containers": [{"name": "app", "image": "example.org/app"}], **spec},
    }


def account(called, home="hello"):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": called, "namespace": home}}


def service(called="web", selector=None, ports=({"port": 80},), home="hello", **spec):
    body = {"ports": [{"protocol": "TCP", **port} for port in ports], **spec}
    if selector is not None:
        body["selector"] = selector
    return {
        "apiVersion": "v1",
        "kind": SERVICE.kind,
        "metadata": {"name": called, "namespace": home},
        "spec": body,
    }


def custom_resource(resource):
    """A CRD that serves `resource` and lets everything through."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.singular}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.group_resource},
        "spec": {
            "group": resource.group,
            "names": {**names, "listKind": f"{resource.kind}List"},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [{**version, "subresources": {"status": {}}}],
        },
    }


@contextlib.asynccontextmanager
async def running(cluster):
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()
