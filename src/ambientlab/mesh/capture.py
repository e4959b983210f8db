"""The contract between the data plane (who is captured on this node) and the control plane (who is told to serve them).

In Istio this is the ZDS protocol between istio-cni and ztunnel: a pod's network namespace and identity are handed to
the node proxy, which opens its listeners inside that namespace before any traffic is redirected to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Captured:
    """A pod whose traffic the node proxy carries. `netns` is a path Envoy can open; `identity` its SPIFFE ID, in
    whatever trust domain: the control plane knows the mesh's.

    The last three are what metrics call it, as when it was captured; "" is unknown.
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


class CaptureSink(Protocol):
    """The node proxy as the capture rules see it."""

    async def add(self, pod: Captured) -> None:
        """Returns when the proxy has acknowledged its listeners inside the pod; raises ConnectionError or TimeoutError
        when no proxy serves, in which case nothing may be redirected to it."""
        ...

    async def remove(self, uid: str) -> None:
        """Returns when the proxy has let go of the pod's network namespace. Idempotent."""
        ...
