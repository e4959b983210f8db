"""This machine as a v1.Node, and the lease that says it is alive (kubernetes.io, "Nodes" and "Leases")."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ambientlab import __version__
from ambientlab.api import kinds, objects
from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.cluster import NODE_NAME, POD_CIDR, POD_CIDR_6, RUNTIME
from ambientlab.flow.clock import Clock, sleep
from ambientlab.node.agent import environment

log = logging.getLogger(__name__)

KUBELET_VERSION = "v1.37.1"
_LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40  # and a renewal every quarter of it, as a kubelet does by default
_MAX_PODS = 500
"""A kubelet's is 110 unless it is told otherwise (maxPods). This is the only node there is, and its pods are small: as
many as clusters with large nodes allow."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class NodeStatus:
    def __init__(self, client: Client, clock: Clock, disk: Path, ips: Sequence[str]) -> None:
        self._client = client
        self._clock = clock
        self._disk = disk
        self._ips = ips

    async def register(self) -> None:
        """Creates the node, or brings the one of a former life up to date. Raises StatusError."""
        now = self._clock.now()
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        labels = {"kubernetes.io/hostname": NODE_NAME}
        for prefix in ("", "beta."):
            labels |= {f"{prefix}kubernetes.io/os": "linux", f"{prefix}kubernetes.io/arch": architecture}
        spec = {"podCIDR": POD_CIDR, "podCIDRs": [POD_CIDR, POD_CIDR_6][: len(self._ips)]}
        existing = self._client.get(kinds.NODE, NODE_NAME)
        if existing is None:
            node: Object = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": NODE_NAME, "labels": labels},
                "spec": spec,
            }
            existing = await self._client.create(kinds.NODE, node)
        else:
            existing = await self._client.patch(
                kinds.NODE, NODE_NAME, "", {"metadata": {"labels": labels}, "spec": spec}
            )
        status = node_status(existing, NODE_NAME, self._ips, architecture, self._disk, now)
        await self._client.patch(kinds.NODE, NODE_NAME, "", {"status": status}, subresource="status")

    async def run(self) -> None:
        """Renews the lease until cancelled."""
        while True:
            try:
                await self._renew()
            except StatusError as error:
                log.warning("the node's lease is not renewed: %s", error.message)
            await sleep(self._clock, _LEASE_SECONDS / 4)

    async def _renew(self) -> None:
        now = objects.micro_timestamp(self._clock.now())
        if self._client.get(kinds.LEASE, NODE_NAME, _LEASE_NAMESPACE) is not None:
            await self._client.patch(kinds.LEASE, NODE_NAME, _LEASE_NAMESPACE, {"spec": {"renewTime": now}})
            return
        node = self._client.get(kinds.NODE, NODE_NAME)
        owner = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME, "uid": objects.uid(node) if node else ""}
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NODE_NAME, "namespace": _LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": {"holderIdentity": NODE_NAME, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now},
        }
        await self._client.create(kinds.LEASE, lease)


def node_status(node: Object, name: str, ips: Sequence[str], architecture: str, disk: Path, now: datetime) -> Object:
    """v1.NodeStatus of a healthy node on this machine; `disk` is where pods keep their files."""
    capacity = _capacity(disk)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in ips),
            {"type": "Hostname", "address": name},
        ],
        "conditions": _conditions(node, now),
        "nodeInfo": {
            "architecture": architecture,
            "bootID": _first_line("/proc/sys/kernel/random/boot_id"),
            "containerRuntimeVersion": f"{RUNTIME}{__version__}",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": _first_line("/etc/machine-id"),
            "operatingSystem": "linux",
            "osImage": _os_name(),
            "systemUUID": "",
        },
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    }


def _capacity(disk: Path) -> dict[str, str]:
    space = os.statvfs(disk)
    return {
        **environment.machine_capacity(),
        "ephemeral-storage": f"{space.f_blocks * space.f_frsize // 1024}Ki",
        "pods": str(_MAX_PODS),
    }


_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def _conditions(node: Object, now: datetime) -> list[Object]:
    old = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
    moment = objects.timestamp(now)
    result = []
    for kind, value, reason, message in _HEALTHY:
        before = old.get(kind, {})
        since = before.get("lastTransitionTime", moment) if before.get("status") == value else moment
        result.append(
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": moment,
                "lastTransitionTime": since,
            }
        )
    return result


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
