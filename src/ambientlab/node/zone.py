"""The names of cluster.local, derived from objects: Kubernetes' DNS specification 1.1.0, else what CoreDNS does.

    SERVICE.NS.svc                   A and AAAA of cluster IPs, or of a headless service's endpoints;
                                     CNAME for ExternalName
    _PORT._PROTO.SERVICE.NS.svc      SRV
    HOST.SERVICE.NS.svc              A and AAAA of one endpoint of a headless service: its hostname, or its address
                                     with dashes
    A-B-C-D.NS.pod                   A of a pod; AAAA of its other address, with dashes for colons
    PTR                              of cluster IPs, and of headless services' endpoints

A name that exists without records of the type asked for answers NODATA; only names that do not exist answer NXDOMAIN,
because a resolver that gets NXDOMAIN for AAAA gives up on A.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from ambientlab.api.objects import Object, name, namespace, pod_ips
from ambientlab.cluster import DOMAIN
from ambientlab.node.dnswire import (
    TYPE_A,
    TYPE_AAAA,
    TYPE_CNAME,
    TYPE_PTR,
    TYPE_SOA,
    TYPE_SRV,
    TYPE_TXT,
    encode_name,
    parent,
    record,
)
from ambientlab.node.services import endpoint_port

TTL = 5  # CoreDNS's kubernetes plugin's default
APEX = encode_name(DOMAIN)
REVERSE = (encode_name("10.in-addr.arpa"), encode_name("0.1.0.0.0.0.d.f.ip6.arpa"))
"""Of what this cluster's addresses begin with, 10 and fd00:10:."""
_SERVICES = encode_name(f"svc.{DOMAIN}")
_SOA = (
    encode_name(f"ns.dns.{DOMAIN}")
    + encode_name(f"hostmaster.{DOMAIN}")
    + struct.pack(">5I", 1, 7200, 1800, 86400, TTL)
)
_VERSION = "1.1.0"
NAME_ONLY = 0  # not a record: says that a name exists, as a headless service without endpoints does


@dataclass(frozen=True, slots=True)
class Record:
    """`data` is the record's payload in wire form."""

    name: str
    type: int
    data: bytes


def service_records(service: Object, slices: Iterable[Object]) -> list[Record]:
    """None for a name that DNS cannot carry."""
    try:
        return _service_records(service, slices)
    except ValueError:
        return []


def _service_records(service: Object, slices: Iterable[Object]) -> list[Record]:
    spec = service["spec"]
    host = f"{name(service)}.{namespace(service)}.svc.{DOMAIN}"
    if spec.get("type") == "ExternalName":
        return [Record(host, TYPE_CNAME, encode_name(spec["externalName"]))]
    addresses: list[str] = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    if addresses[0] == "None":
        return _headless_records(host, service, slices)
    if not addresses[0]:
        return []
    records = [Record(host, _address_type(address), _packed(address)) for address in addresses]
    records += [_pointer(address, host) for address in addresses]
    for port in spec.get("ports") or ():
        if port.get("name"):
            records.append(_service_location(host, port, port["port"], host))
    return records


def _headless_records(host: str, service: Object, slices: Iterable[Object]) -> list[Record]:
    records: list[Record] = []
    spec = service["spec"]
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") == "FQDN":
            continue
        ports = [(port, endpoint_port(endpoint_slice, port)) for port in spec.get("ports") or () if port.get("name")]
        for endpoint in endpoint_slice.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready") is not False
            if not ready and not spec.get("publishNotReadyAddresses"):
                continue
            address = endpoint["addresses"][0]
            label = endpoint.get("hostname") or _dashed(address)
            kind, packed = _address_type(address), _packed(address)
            member = f"{label}.{host}"
            records += [Record(host, kind, packed), Record(member, kind, packed), _pointer(address, member)]
            records += [_service_location(host, port, number, member) for port, number in ports if number]
    return list(dict.fromkeys(records)) or [Record(host, NAME_ONLY, b"")]


def pod_records(pod: Object) -> list[Record]:
    if pod["spec"].get("hostNetwork"):
        return []
    below = f"{namespace(pod)}.pod.{DOMAIN}"
    return [Record(f"{_dashed(ip)}.{below}", _address_type(ip), _packed(ip)) for ip in pod_ips(pod)]


def _dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _service_location(host: str, port: Object, number: int, target: str) -> Record:
    owner = f"_{port['name']}._{port.get('protocol', 'TCP').lower()}.{host}"
    return Record(owner, TYPE_SRV, struct.pack(">3H", 0, 100, number) + encode_name(target))


def _pointer(address: str, host: str) -> Record:
    return Record(ipaddress.ip_address(address).reverse_pointer, TYPE_PTR, encode_name(host))


def _address_type(address: str) -> int:
    return TYPE_AAAA if ":" in address else TYPE_A


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


class Zone:
    """Records by name and type, and who brought them: an object's records are replaced as a whole."""

    def __init__(self) -> None:
        self._records: dict[bytes, dict[int, list[bytes]]] = {}
        self._owned: dict[Hashable, list[_Entry]] = {}
        self._names: Counter[bytes] = Counter()
        self.authority = record(TYPE_SOA, TTL, _SOA, APEX)
        version = _VERSION.encode()
        self.replace("version", [Record(f"dns-version.{DOMAIN}", TYPE_TXT, bytes([len(version)]) + version)])
        self.replace("apex", [Record(DOMAIN, TYPE_SOA, _SOA)])

    def replace(self, owner: Hashable, records: Iterable[Record]) -> None:
        """No records: the owner is gone. Raises ValueError for a name DNS cannot carry."""
        for old in self._owned.pop(owner, ()):
            self._remove(*old)
        entries = [(encode_name(new.name), new.type, record(new.type, TTL, new.data)) for new in records]
        for entry in entries:
            self._insert(*entry)
        if entries:
            self._owned[owner] = entries

    def find(self, name_: bytes, kind: int) -> list[bytes]:
        """Records of that name and type, their owner written as a pointer to the question."""
        kinds = self._records.get(name_)
        return kinds.get(kind, []) if kinds else []

    def exists(self, name_: bytes) -> bool:
        """Whether the name, or one below it, has records."""
        return name_ in self._names

    def is_service(self, name_: bytes) -> bool:
        return name_.endswith(_SERVICES) and name_ in self._names

    def is_address(self, name_: bytes) -> bool:
        """Whether a service, or an endpoint of one, has an address by that name."""
        kinds = self._records.get(name_, {})
        return name_.endswith(_SERVICES) and (TYPE_A in kinds or TYPE_AAAA in kinds)

    def is_namespace(self, label: bytes) -> bool:
        """`label` in wire form, with its length."""
        return label + _SERVICES in self._names

    def _insert(self, wire: bytes, kind: int, rendered: bytes) -> None:
        if kind != NAME_ONLY:
            self._records.setdefault(wire, {}).setdefault(kind, []).append(rendered)
        for ancestor in _with_ancestors(wire):
            self._names[ancestor] += 1

    def _remove(self, wire: bytes, kind: int, rendered: bytes) -> None:
        if kind != NAME_ONLY:
            kinds = self._records[wire]
            kinds[kind].remove(rendered)
            if not kinds[kind]:
                del kinds[kind]
            if not kinds:
                del self._records[wire]
        for ancestor in _with_ancestors(wire):
            self._names[ancestor] -= 1
            if not self._names[ancestor]:
                del self._names[ancestor]


_Entry = tuple[bytes, int, bytes]  # name, type, record ready to be sent


def _with_ancestors(wire: bytes) -> Iterable[bytes]:
    while wire != b"\0":
        yield wire
        wire = parent(wire)
