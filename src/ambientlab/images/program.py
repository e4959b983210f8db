"""What an image is here: a name people write in a pod, and the program that it stands for.

An image of a registry brings a file system, an entrypoint and environment; a built-in program brings the same things,
but its files are those of this installation, bound read-only into the container at their own paths.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ambientlab.api.objects import Object


class Bind(NamedTuple):
    """`source`, a path of the node, appears at `target` inside the container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Launch:
    """What to execute and what it needs to see. `env` are the image's defaults, which the container's own override."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    privileged: bool = False


Bootstrap = Callable[[Object, Object], Launch]
"""Makes the launch of a proxy for (pod, container): its configuration depends on the pod it runs in."""

Drain = Callable[[int], Awaitable[None]]
"""Returns when the process with this pid has nothing left to do and nobody will ask it for more, or is gone."""


Output = Callable[[bytes], bytes]
MakeOutput = Callable[[Callable[[bytes], None]], Output]
"""Is given what adds whole lines to the log besides."""
"""Gets what a process writes, of which the last line may be unfinished, and returns what its log gets."""


@dataclass(frozen=True, slots=True)
class Program:
    """`entrypoint` and `arguments` are ENTRYPOINT and CMD of the image that people name.

    `commands` maps executables which that image has and the machine lacks to what stands for them here, as the command
    of a container; `files` are the image's own, for what is executed later. `component` names a part of the daemon:
    such a container has no process of its own, only a log. `bootstrap` replaces the entrypoint of a proxy, and `drain`
    is waited for before it is told to end; `output` makes, for each run, what its standard output passes through.
    """

    name: str
    version: str
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    ports: tuple[int, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    component: str = ""
    bootstrap: Bootstrap | None = None
    drain: Drain | None = None
    output: MakeOutput | None = None

    def launch(self, pod: Object, container: Object, command: Sequence[str], arguments: Sequence[str]) -> Launch:
        """The launch for a container whose `command` and `args` are already expanded.

        `command` replaces ENTRYPOINT and drops CMD, `args` replaces CMD
        (kubernetes.io, "Define a Command and Arguments for a Container"). Raises ValueError when there is nothing to
        run.
        """
        if self.bootstrap is not None and not command:
            return self.bootstrap(pod, container)
        argv = tuple(command) + tuple(arguments) if command else self.entrypoint + (tuple(arguments) or self.arguments)
        if not argv:
            raise ValueError(f"image {self.name} has no default command: set command in container {container['name']}")
        argv = self.commands.get(argv[0], argv[:1]) + argv[1:]
        return Launch(argv, self.env, files=self.files, binds=self.binds)

    def named(self, version: str) -> Program:
        return replace(self, version=version)
