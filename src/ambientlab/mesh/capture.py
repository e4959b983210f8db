"""The contract between the data plane (who is captured on this node) and the control plane (who is told to serve them).

In Istio this is the ZDS protocol between istio-cni and ztunnel: a pod's network namespace and identity are handed to
the node proxy, which opens its listeners inside that namespace before any traffic is redirected to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Captured:
    """A pod whose traffic the node proxy carries. `netns` is a path Envoy can open; `identity` its SPIFFE ID, in
    whatever trust domain: the control plane knows the mesh's.

    The three after that are what metrics call it, as when it was captured; "" is unknown. `ip6` is "" on a node without
    IPv6.
    """

    uid: str
    namespace: str
    name: str
    ip: str
    netns: str
    identity: str
    workload_name: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    ip6: str = ""

    @property
    def ips(self) -> tuple[str, ...]:
        return (self.ip, self.ip6) if self.ip6 else (self.ip,)


class CaptureSink(Protocol):
    """The node proxy as the capture rules see it."""

    def follow(self, told: Callable[[int], None], refused: Callable[[str], None]) -> None:
        """Call `told` with the number of proxies whenever one has come or gone, and `refused` with the uid of a pod
        in which a proxy turns out not to listen, of those added before."""
        ...

    async def present(self) -> None:
        """Wait for a proxy that is starting, as when the node starts; raises ConnectionError if none comes."""
        ...

    async def add(self, pod: Captured) -> None:
        """Returns when the proxy has acknowledged its listeners inside the pod. Raises OSError: ConnectionError at once
        where there is no proxy, TimeoutError where it does not answer, any other with its words where it refuses."""
        ...

    async def remove(self, uid: str) -> None:
        """Returns when the proxy has let go of the pod's network namespace. Idempotent."""
        ...
