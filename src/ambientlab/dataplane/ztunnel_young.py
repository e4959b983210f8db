"""Open connections that the node proxy has not told of yet: it reports what is open once in REPORT_EVERY_MS.

Who asks for all that are open waits until those that were there when it asked have been reported, or are gone: seldom,
and never for longer than a report takes. The kernel knows them: of a captured pod's own, the socket at which the proxy
has taken it; of those into the pod, the proxy's socket to the application.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from ambientlab.dataplane.ztunnel_connections import Open
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import Key
from ambientlab.mesh.xds.access_log import REPORT_EVERY_MS

_AT_MOST = REPORT_EVERY_MS / 1000 + 0.5
_LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Held:
    """A captured pod's connections that the proxy has: `leaving` by the client's address and port, `entering` by both
    ends of the socket to the application."""

    leaving: frozenset[str]
    entering: frozenset[tuple[str, str]]


Look = Callable[[str, tuple[str, ...]], Awaitable[Held]]
"""By a pod's network namespace and addresses. Raises OSError where the pod is gone."""


async def reported(
    pods: Iterable[Captured], look: Look, known: Callable[[], Iterable[Open]], *, at_most: float = _AT_MOST
) -> None:
    """Returns when `known` are all that are open in these pods as this is called, or after so many seconds."""
    before = {pod: held for pod in pods if (held := await _held(pod, look)) is not None}
    deadline = asyncio.get_running_loop().time() + at_most
    while (young := _young(before, list(known()))) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LOOK_EVERY)
        before = {pod: still for pod in young if (still := _both(before[pod], await _held(pod, look))) is not None}


async def _held(pod: Captured, look: Look) -> Held | None:
    with suppress(OSError):
        return await look(pod.netns, pod.ips)
    return None


def _both(before: Held, now: Held | None) -> Held | None:
    return None if now is None else Held(before.leaving & now.leaving, before.entering & now.entering)


def _young(held: dict[Captured, Held], known: list[Open]) -> list[Captured]:
    """Pods with connections that are not known."""
    leaving = {one.source for one in known if one.ends.reporter == "source"}
    entering = Counter(
        Key(one.ends.destination_namespace, one.ends.destination) for one in known if one.ends.reporter != "source"
    )
    return [
        pod
        for pod, here in held.items()
        if here.leaving - leaving or len(here.entering) > entering[Key(pod.namespace, pod.name)]
    ]
