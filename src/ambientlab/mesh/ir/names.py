"""How services are told apart by name: their host, which is what clients call them. Where those of one namespace mean
another service by it than all others do, theirs is `namespace/name`, as Istio writes it (istio/ztunnel,
src/state/workload.rs, NamespacedHostname)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")


def for_namespace(namespace: str, name: str) -> str:
    """The host of what `name` means to clients in `namespace`, if that is something of their own."""
    return f"{namespace}/{name}"


def meant(namespace: str, name: str, get: Callable[[str], V | None]) -> V | None:
    """What a name means to clients in `namespace`, where `get` has what there is by host."""
    return get(for_namespace(namespace, name)) or get(name)


def hostname(host: str) -> str:
    """What clients call it."""
    return host.rpartition("/")[2]


def namespace_of(host: str) -> str:
    """Whose clients alone mean it, "" if all do."""
    return host.rpartition("/")[0]
