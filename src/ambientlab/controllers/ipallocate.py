"""Addresses for hosts of ServiceEntries, in `status.addresses` (pilot/pkg/controllers/ipallocate of istio/istio).

An address is not given to another host again before the whole range has been used, so that a stale DNS answer leads
nowhere else. Of two ServiceEntries with one address, the one whose user chose it keeps it, else the older.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import SERVICEENTRY
from ambientlab.api.objects import Object
from ambientlab.api.serviceentries import assigned, hosts_to_address
from ambientlab.cluster import SERVICEENTRY_CIDR, SERVICEENTRY_CIDR_6
from ambientlab.controllers.base import Key, key_of, write_status
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import PermanentError, Stop


class IPAllocator:
    name = "ip-autoallocate"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ranges = (_Range(IPv4Network(SERVICEENTRY_CIDR)), _Range(IPv6Network(SERVICEENTRY_CIDR_6)))

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def changed(event: Event) -> None:
            queue.add(key_of(event.object))
            for other in self._client.list(SERVICEENTRY) if _chosen(event.object) else ():
                if not set(_chosen(event.object)).isdisjoint(_addresses(other)):
                    queue.add(key_of(other))

        return [self._client.watch(SERVICEENTRY, changed)]

    async def reconcile(self, key: Key) -> None:
        """Raises PermanentError where no address is left."""
        obj = self._client.get(SERVICEENTRY, key.name, key.namespace)
        if obj is None:
            return
        wanted = hosts_to_address(obj)
        current = _assigned(obj)
        others = [other for other in self._client.list(SERVICEENTRY) if key_of(other) != key]
        taken = {address for other in others for address in _addresses(other)}
        lost = {address for other in others if _goes_before(other, obj) for address in _addresses(other)}
        lost |= {address for other in others for address in _chosen(other)}
        kept = {host: values for host, values in current.items() if host in wanted and not lost & set(values)}
        if set(kept) == set(wanted) == set(current) or not wanted:
            return
        given = {host: kept.get(host) or [r.next(taken, str(key)) for r in self._ranges] for host in wanted}
        addresses = [{"value": value, "host": host} for host, values in given.items() for value in values]
        await write_status(self._client, SERVICEENTRY, obj, {**(obj.get("status") or {}), "addresses": addresses})


class _Range:
    """Hands out addresses one after the other, and begins anew at the end."""

    def __init__(self, network: IPv4Network | IPv6Network) -> None:
        self._network = network
        self._next = 1
        self._given: set[str] = set()

    def next(self, taken: set[str], whom: str) -> str:
        for offset in self._offsets():
            address = str(self._network[offset])
            if address not in taken and address not in self._given:
                self._next = offset + 1
                self._given.add(address)
                return address
        raise PermanentError(f"no address of {self._network} is left for ServiceEntry {whom}")

    def _offsets(self) -> Iterator[int]:
        size = min(self._network.num_addresses, 1 << 16)
        yield from range(self._next, size)
        self._given.clear()
        yield from range(1, self._next)


def _assigned(obj: Object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host, value in assigned(obj):
        found.setdefault(host, []).append(value)
    return found


def _chosen(obj: Object) -> list[str]:
    found = []
    for text in obj["spec"].get("addresses") or []:
        try:
            found.append(str(ip_address(text)))
        except ValueError:
            continue  # a network
    return found


def _addresses(obj: Object) -> list[str]:
    return [*_chosen(obj), *(value for values in _assigned(obj).values() for value in values)]


def _goes_before(other: Object, obj: Object) -> bool:
    return _age(other) < _age(obj)


def _age(obj: Object) -> tuple[str, Key]:
    return obj["metadata"].get("creationTimestamp", ""), key_of(obj)
