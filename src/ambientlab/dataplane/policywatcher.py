"""Open connections after a change of policies, as ztunnel treats them (src/proxy/connection_manager.rs, PolicyWatcher).

Whenever what it holds of policies changes, ztunnel asks again of every connection into a pod, and closes those that are
refused now. Policies of the namespace and the mesh are those of this moment; of the others it asks those that the pod
had when the connection was opened, as they are now (src/state.rs, assert_rbac, which goes by the workload as it was
then). So a new policy with a selector, and STRICT mutual TLS, which is one, leave open connections alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Protocol

from ambientlab.flow.collection import Change
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Authorization, Key, Scope, with_port

log = logging.getLogger("ambientlab.ztunnel")

_AGAIN = 1.0
"""Seconds from a look that has failed to the next."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A connection that the node proxy carries into a pod, from `client` to a `port` of the pod's address `target`.
    `inode` is of the socket by which it does, and tells it from all others; `tunnelled` is one that came by HBONE. A
    plain connection is two: the other one, `incoming`, is the client's, and has no word of its own in the log."""

    client: str
    client_port: int
    target: str
    port: int
    inode: int
    tunnelled: bool
    incoming: bool = False


class OpenedConnections(Protocol):
    """Those that the proxy had open at one moment, in all pods."""

    def close(self) -> None: ...

    async def into(self, netns: str, ips: Sequence[str]) -> list[Carried]:
        """Raises FileNotFoundError where the pod's network namespace is gone."""
        ...

    def cut(self, inode: int, say: Callable[[], None]) -> None:
        """Ends that one, after `say`, unless it has ended by itself."""
        ...


class CarriedConnections(Protocol):
    """How they are found and ended."""

    async def caught_up(self) -> None:
        """Returns when the proxy does what it has acknowledged, and opens no more connections as it did before: it
        acknowledges what its worker has yet to hear."""
        ...

    async def opened(self) -> OpenedConnections:
        """Costs as much as the proxy has open, and is the caller's to close."""
        ...


class PolicyWatcher:
    """Follows what is enforced for captured pods. `in_step` returns when the proxy enforces it for new connections, and
    `say` puts a line into the proxy's log."""

    def __init__(
        self,
        index: MeshIndex,
        captured: Callable[[], Iterable[Captured]],
        in_step: Callable[[], Awaitable[None]],
        connections: CarriedConnections,
        say: Callable[[str], None],
    ) -> None:
        self._index = index
        self._captured = captured
        self._in_step = in_step
        self._connections = connections
        self._say = say
        self._changed: dict[Key, tuple[Authorization, ...]] = {}
        self._older: dict[Key, dict[int, tuple[Key, ...]]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._index.security.ztunnel.enforced.watch(self._note)

    @property
    def busy(self) -> bool:
        return bool(self._changed) or (self._task is not None and not self._task.done())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _note(self, pod: Key, change: Change[tuple[Authorization, ...]]) -> None:
        """Nothing is asked of a pod that joins or leaves the mesh: who leaves it has no connection left to ask about
        (`InPodRules.disconnect`)."""
        if change.old is None or change.new is None:
            return
        self._changed.setdefault(pod, change.old)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._changed:
            # what changes from here on may come to the proxy later than what it is waited for now: it has its own turn
            changed, self._changed = self._changed, {}
            try:
                await self._in_step()
                await self._connections.caught_up()
                with closing(await self._connections.opened()) as opened:
                    await self._look(opened, changed)
            except Exception:  # whatever it is, what is refused must not stay open for it
                log.exception("connections into pods are looked at again in %g s", _AGAIN)
                self._changed |= changed
                await asyncio.sleep(_AGAIN)

    async def _look(self, opened: OpenedConnections, changed: Mapping[Key, tuple[Authorization, ...]]) -> None:
        identities = {ip: one.identity for one in self._index.mesh.workloads.values() for ip in one.ips}
        captured = {Key(pod.namespace, pod.name): pod for pod in self._captured()}
        for key in self._older.keys() - captured.keys():
            del self._older[key]
        for key, pod in captured.items():
            if key in changed or key in self._older:
                try:
                    await self._recheck(opened, key, pod, changed.get(key), identities)
                except FileNotFoundError as error:
                    log.debug("connections into pod %s: %s", key, error)
                except Exception:  # whatever it is, connections into other pods must not stay open for it
                    log.exception("connections into pod %s stay as they are", key)

    async def _recheck(
        self,
        opened: OpenedConnections,
        key: Key,
        pod: Captured,
        before: tuple[Authorization, ...] | None,
        identities: Mapping[str, str],
    ) -> None:
        """`before` is what was enforced, if that has changed."""
        found = await opened.into(pod.netns, pod.ips)
        mesh = self._index.mesh
        workload = mesh.workloads.get(key)
        if workload is None:  # gone meanwhile, and its connections with it
            return
        now = mesh.enforced.get(key, ())
        if key in self._changed:
            self._changed[key] = now  # what is open now is settled here
        then = _by_selector(now if before is None else before)
        known = self._older.get(key, {})
        opened_with = {connection.inode: known.get(connection.inode, then) for connection in found}
        if older := {inode: keys for inode, keys in opened_with.items() if keys != _by_selector(now)}:
            self._older[key] = older
        else:
            self._older.pop(key, None)
        current = [policy for policy in now if policy.scope is not Scope.WORKLOAD_SELECTOR]
        for connection in found:
            identity = identities.get(connection.client) if connection.tunnelled else ""
            if identity is None:
                continue
            own = (mesh.authorizations.get(policy) for policy in opened_with[connection.inode])
            policies = [*current, *(policy for policy in own if policy is not None)]
            if not _allowed(policies, identity, connection):
                line = "" if connection.incoming else _line(connection, identity, pod, workload.uid)
                opened.cut(connection.inode, partial(self._say, line))


def _allowed(policies: Sequence[Authorization], identity: str, connection: Carried) -> bool:
    # loaded with the first change: a start has no time for it
    admission = import_module("ambientlab.mesh.decide.admission")
    asked = admission.Connection(identity, connection.client, connection.target, connection.port)
    return bool(admission.admitted(policies, asked).allowed)


def _by_selector(policies: Iterable[Authorization]) -> tuple[Key, ...]:
    return tuple(policy.key for policy in policies if policy.scope is Scope.WORKLOAD_SELECTOR)


def _line(connection: Carried, identity: str, pod: Captured, uid: str) -> str:
    source = f"{with_port(connection.client, connection.client_port)}({identity or 'None'})"
    return (
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}\tinfo\tproxy::connection_manager\t"
        f"connection {source}->{with_port(connection.target, connection.port)} ({uid}) "
        "closed because it's no longer allowed after a policy update\n"
    )
