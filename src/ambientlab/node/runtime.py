"""The contract between the node agent (what should run) and `node.linux` (how Linux runs it), as CRI is for a kubelet.

Everything here lives inside the node's own user, pid, mount and network namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's shared namespaces. `ip` is None for hostNetwork: the pod then shares the node's network namespace. `ip6`
    is "" on a node without IPv6."""

    uid: str
    hostname: str
    ip: str | None
    ip6: str = ""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox. `pid` is the pause process as the node's pid namespace numbers it.

    `netns` is a path that any process of the node (Envoy among them) can open for as long as the sandbox lives.
    """

    spec: SandboxSpec
    pid: int
    netns: str


@dataclass(frozen=True, slots=True)
class Mount:
    """`source` (a path of the node) bind-mounted at `target` inside the container.

    `within` is a directory above `source` that it must not lead out of at the moment of mounting: what is below may be
    a container's to change, also after it was looked at.
    """

    source: str
    target: str
    read_only: bool = True
    within: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container: `argv[0]` is looked up in PATH of `env` inside the container's root.

    `files` are small files written into the container's own tmpfs (path -> (content, mode)): /etc/hosts,
    /etc/resolv.conf, service account tokens, configuration. `rootfs` names an unpacked image directory; empty means
    the synthetic root over the machine's own /usr. `privileged` keeps every capability of the user namespace, which
    only the node's own proxies need.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    rootfs: str = ""
    privileged: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the node: `pid` as its pid namespace numbers it, `start` to tell a reused pid apart."""

    pid: int
    start: int = 0


class Runtime(Protocol):
    """Raises OSError with a sentence a person can act on. File descriptors passed in stay the caller's to close."""

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        """Namespaces, root and network up: routable from the node and from other pods when this returns."""
        ...

    async def sandbox_ended(self, sandbox: Sandbox) -> None:
        """Returns when its pause process has ended, which nothing of it survives for long."""
        ...

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Kill whatever still runs in it and free its namespaces, network device and routes. Idempotent."""
        ...

    async def start_container(self, sandbox: Sandbox, spec: ContainerSpec, stdio: tuple[int, int, int]) -> Process:
        """Returns once the program has been executed (a failing execve raises OSError with the container's view)."""
        ...

    async def exec(
        self,
        container: Process,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        stdio: tuple[int, int, int] | None,
    ) -> tuple[Process, int | None]:
        """Run in a container's namespaces. With `stdio` None a terminal is made inside the container and the
        descriptor of its master end is returned."""
        ...

    async def wait(self, process: Process) -> int:
        """Exit code, or minus the signal number."""
        ...

    def signal(self, process: Process, signum: int) -> None: ...
