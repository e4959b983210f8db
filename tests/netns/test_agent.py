"""The node agent over real namespaces: built-in images as pods that talk to each other."""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def user():
    """Only as who we are: the images run on this interpreter, which another user may not be able to read."""
    return "root" if os.geteuid() == 0 else "ordinary"


class AgentNode:
    """An agent on the node of a scenario's world, and an API in memory."""

    def __init__(self, world, directory: str) -> None:
        from ambientlab.api import kinds, objects
        from ambientlab.images.registry import Images
        from ambientlab.node.agent.agent import NodeAgent
        from ambientlab.node.agent.streams import AgentKubelet
        from ambientlab.node.linux.netlink import socket_in
        from support.memory_client import MemoryClient

        self.kinds, self.objects = kinds, objects
        self.client = MemoryClient()
        self.client.put(kinds.NAMESPACE, {"metadata": {"name": "default"}})
        self.client.put(kinds.NAMESPACE, {"metadata": {"name": "kube-node-lease"}})
        self.agent = NodeAgent(
            self.client,
            world.runtime,
            Images(),
            [],
            world.network.addresses,
            state_dir=Path(directory, "state"),
            run_dir=Path(directory, "run"),
            token_issuer=self.issue,
        )
        self.kubelet = AgentKubelet(self.agent, socket_in)

    async def issue(self, namespace, account, request):
        from datetime import UTC, datetime

        expires = self.objects.timestamp(datetime.now(UTC) + timedelta(hours=1))
        return {"status": {"token": f"token of {namespace}/{account}", "expirationTimestamp": expires}}

    async def pod(self, name: str, image: str, **container):
        keys = {"volumes", "terminationGracePeriodSeconds"} & container.keys()
        of_pod: dict[str, Any] = {key: container.pop(key) for key in keys}
        main = {"name": "main", "image": image, **container}
        spec = {"nodeName": "ambientlab", "containers": [main], **of_pod}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        self.client.put(self.kinds.POD, pod)
        await self.until(lambda: self.is_ready(name))
        return self.client.get(self.kinds.POD, name, "default")

    def is_ready(self, name: str) -> bool:
        pod = self.client.get(self.kinds.POD, name, "default") or {}
        status = pod.get("status") or {}
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))

    async def until(self, condition) -> None:
        """Waits for a change of a pod after which `condition` holds."""
        changed = asyncio.Event()
        stop = self.client.watch(self.kinds.POD, lambda event: changed.set())
        try:
            async with asyncio.timeout(20):
                while not condition():
                    changed.clear()
                    await changed.wait()
        finally:
            stop()

    async def run(self, pod, *argv: str) -> tuple[int, str]:
        session = await self.kubelet.exec(pod, "main", argv, stdin=False, tty=False)
        out = b"".join([chunk async for chunk in session.stdout()])
        err = b"".join([chunk async for chunk in session.stderr()])
        code = await session.wait()
        session.close()
        return code, (out + err).decode()

    async def logged(self, pod, words: bytes) -> None:
        """Follows the log until it has the words."""
        from ambientlab.api.kubelet import LogOptions

        seen = b""
        stream = self.kubelet.logs(pod, LogOptions(follow=True))
        async with asyncio.timeout(20):
            while words not in seen:
                seen += await anext(stream)
        await stream.aclose()

    async def get(self, pod, url: str) -> str:
        """curl inside `pod`, until the server listens."""
        code, out = await self.run(
            pod, "curl", "-sS", "--retry-connrefused", "--retry", "50", "--retry-delay", "0", url
        )
        assert code == 0, out
        return out


async def with_agent(world, work) -> None:
    with tempfile.TemporaryDirectory() as directory:
        node = AgentNode(world, directory)
        running = asyncio.create_task(node.agent.run())
        try:
            await work(node)
        finally:
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()


LISTENS = {"readinessProbe": {"httpGet": {"path": "/health", "port": 5000}}}


async def pods_serve_and_call_each_other(world):
    async def work(node):
        curl, v1, v2 = await asyncio.gather(
            node.pod("curl", "curlimages/curl", command=["sleep", "infinity"]),
            node.pod("helloworld-v1-abc", "docker.io/istio/examples-helloworld-v1", **LISTENS),
            node.pod("helloworld-v2-abc", "docker.io/istio/examples-helloworld-v2:1.0", **LISTENS),
        )
        for version, pod in (("v1", v1), ("v2", v2)):
            url = f"http://{pod['status']['podIP']}:5000/hello"
            answer = await node.get(curl, url)
            assert answer == f"Hello version: {version}, instance: helloworld-{version}-abc\n"
        sock = await node.kubelet.connect(v1, 5000)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"GET /hello HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await loop.sock_recv(sock, 4096)
        sock.close()

    await with_agent(world, work)


async def httpbin_serves(world):
    async def work(node):
        curl, httpbin = await asyncio.gather(
            node.pod("curl", "curlimages/curl", command=["sleep", "infinity"]),
            node.pod(
                "httpbin",
                "docker.io/mccutchen/go-httpbin:v2.15.0",
                readinessProbe={"httpGet": {"path": "/status/200", "port": 8080}, "timeoutSeconds": 5},
            ),
        )
        answer = await node.get(curl, f"http://{httpbin['status']['podIP']}:8080/headers")
        assert '"User-Agent": "curl/' in answer
        await node.logged(httpbin, b'"GET /headers HTTP/1.1" 200')

    await with_agent(world, work)


async def a_container_knows_its_cluster(world):
    async def work(node):
        account = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
        volumes = [{"name": "account", "projected": {"sources": [account]}}, {"name": "scratch", "emptyDir": {}}]
        mounts = [
            {"name": "account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
            {"name": "scratch", "mountPath": "/cache"},
        ]
        pod = await node.pod("web", "busybox", command=["sleep", "infinity"], volumes=volumes, volumeMounts=mounts)
        script = (
            "hostname; echo $HOSTNAME; cat /etc/resolv.conf; tail -2 /etc/hosts; "
            "cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo; touch /cache/x && ls /cache; "
            "touch /var/run/secrets/kubernetes.io/serviceaccount/x"
        )
        assert [each["ip"] for each in pod["status"]["podIPs"]] == ["10.244.0.2", "fd00:10:244::2"]
        code, out = await node.run(pod, "sh", "-c", script)
        assert code == 1
        assert out.splitlines()[:9] == [
            "web",
            "web",
            "search default.svc.cluster.local svc.cluster.local cluster.local",
            "nameserver 10.96.0.10",
            "options ndots:5",
            *(f"{each['ip']}\tweb" for each in pod["status"]["podIPs"]),
            "token of default/default",
            "x",
        ]
        assert "Read-only file system" in out

    await with_agent(world, work)


async def what_a_container_leaves_to_say(world):
    async def work(node):
        script = "echo out of cheese > /dev/termination-log; exit 3"
        spec = {"command": ["sh", "-c", script], "name": "main", "image": "busybox"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "job", "namespace": "default"},
            "spec": {"nodeName": "ambientlab", "containers": [spec], "restartPolicy": "Never"},
        }
        node.client.put(node.kinds.POD, pod)
        status = lambda: node.client.get(node.kinds.POD, "job", "default").get("status") or {}  # noqa: E731
        await node.until(lambda: status().get("phase") == "Failed")
        ended = status()["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["message"]) == (3, "out of cheese\n")

    await with_agent(world, work)


async def a_shell_with_a_terminal(world):
    async def work(node):
        pod = await node.pod("web", "busybox", command=["sleep", "infinity"])
        session = await node.kubelet.exec(pod, "main", ["sh"], stdin=True, tty=True)
        session.resize(100, 40)
        await session.write_stdin(b"stty size; exit 5\n")
        output = b"".join([chunk async for chunk in session.stdout()])
        assert b"40 100" in output
        assert await session.wait() == 5
        session.close()

    await with_agent(world, work)


@pytest.mark.parametrize(
    "scenario",
    [
        pods_serve_and_call_each_other,
        httpbin_serves,
        a_container_knows_its_cluster,
        what_a_container_leaves_to_say,
        a_shell_with_a_terminal,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_agent(scenario, run_scenario) -> None:
    run_scenario(scenario)
