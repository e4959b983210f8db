"""What the parts of a pod's life share: the node's means, and the pod they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ambientlab.api import kinds
from ambientlab.api.client import Client
from ambientlab.api.objects import Object
from ambientlab.cluster import NODE_NAME
from ambientlab.flow.clock import Clock
from ambientlab.node.agent import environment
from ambientlab.node.agent.events import EventRecorder
from ambientlab.node.agent.logs import LogFile, LogStore
from ambientlab.node.agent.volumes import PodVolumes
from ambientlab.node.runtime import Runtime, Sandbox

if TYPE_CHECKING:
    from ambientlab.images.registry import Images


@dataclass(frozen=True, slots=True)
class NodeMeans:
    """What this node works with. `components` are the logs of the daemon's parts, by `Program.component`; `ips` are the
    node's addresses."""

    client: Client
    runtime: Runtime
    images: Images
    recorder: EventRecorder
    logs: LogStore
    clock: Clock
    components: Mapping[str, LogFile]
    ips: tuple[str, ...]


@dataclass(slots=True)
class PodContext:
    """One pod as its containers see it. `pod` is replaced whenever the object changes."""

    means: NodeMeans
    pod: Object
    volumes: PodVolumes
    changed: Callable[[], None]
    sandbox: Sandbox | None = None
    ips: tuple[str, ...] = ()
    stopping: bool = False
    # A call to end now, whatever the grace period.
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ip(self) -> str:
        """Where probes go; "" as long as there is none."""
        return self.ips[0] if self.ips else ""

    @property
    def hostname(self) -> str:
        return NODE_NAME if self.pod["spec"].get("hostNetwork") else environment.hostname(self.pod)

    def lookup(self, kind: str, name: str) -> Object | None:
        """A ConfigMap or Secret of the pod's namespace."""
        resource = kinds.SECRET if kind == "Secret" else kinds.CONFIGMAP
        found = self.means.client.get(resource, name, self.pod["metadata"]["namespace"])
        return None if found is None else {"kind": kind, **found}
