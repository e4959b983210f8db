"""Where the data plane joins a pod's life: the CNI chain's place."""

from __future__ import annotations

from typing import Protocol

from ambientlab.api.objects import Object
from ambientlab.node.runtime import Sandbox


class SandboxHook(Protocol):
    async def sandbox_ready(self, pod: Object, sandbox: Sandbox) -> None:
        """After the sandbox has its network, before any container starts. Raising fails the sandbox: it is removed
        and retried, with an event FailedCreatePodSandBox carrying the message."""
        ...

    async def sandbox_removing(self, pod: Object, sandbox: Sandbox) -> None:
        """After the containers have ended, before the namespaces go; also after a `sandbox_ready` that has raised."""
        ...
