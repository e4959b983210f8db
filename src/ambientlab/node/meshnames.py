"""Hosts of ServiceEntries, as captured pods resolve them: what ztunnel's DNS proxy knows beside the cluster's own names
(istio/ztunnel, src/dns/server.rs). The pods' questions come to the cluster's DNS server, which answers them itself.

A host without an address is not known here, so that it resolves as it would without a mesh.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ambientlab.node.dnswire import TYPE_A, TYPE_AAAA, encode_name, parent, record

_TTL = 5
_TYPES = {4: TYPE_A, 6: TYPE_AAAA}
_WILDCARD = b"\x01*"


class MeshNames:
    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], dict[int, list[bytes]]] = {}

    def put(self, host: str, addresses: Iterable[str], namespace: str = "") -> None:
        """For pods of a namespace, or for all. Without addresses the host is gone. A name that DNS cannot carry is not
        known either."""
        try:
            name = encode_name(host)
        except ValueError:
            return
        found: dict[int, list[bytes]] = {}
        for address in map(ipaddress.ip_address, addresses):
            kind = _TYPES[address.version]
            found.setdefault(kind, []).append(record(kind, _TTL, address.packed))
        if found:
            self._records[namespace, name] = found
        else:
            self._records.pop((namespace, name), None)

    def find(self, name: bytes, kind: int, namespace: str = "", *, taken: bool = False) -> list[bytes] | None:
        """The host's records for pods of a namespace, or those of the closest wildcard over it, unless the name is
        `taken` by a service; None for a name, or a type, that somebody else has to know about."""
        if kind not in (TYPE_A, TYPE_AAAA):
            return None
        found, above = self._of(namespace, name), name
        while found is None and not taken and above != b"\0":
            above = parent(above)
            found = self._of(namespace, _WILDCARD + above)
        return None if found is None else found.get(kind, [])

    def _of(self, namespace: str, name: bytes) -> dict[int, list[bytes]] | None:
        return self._records.get((namespace, name)) or self._records.get(("", name))
