"""kube-proxy's role: connections to a service's address go to one of its endpoints.

Pure part: `service_rules` turns a Service and its EndpointSlices into map elements. The kernel's part is fixed rules
over maps and sets of table `kube-proxy`, which each family of IP has, so that a change is a difference of elements,
applied in one atomic batch:

    services   address . protocol . port              -> goto endpoints-N (or sticky-N), N being how many there are
    elsewhere  address . protocol . port              dropped: traffic is for this node, and all endpoints are on others
    endpoints  address . protocol . port . 0 to N-1   -> pod address . port
    hairpin    pod address . pod address              a pod that reaches itself through a service is masqueraded

`endpoints-N` draws the last part of the key at random per connection, `sticky-N` (session affinity ClientIP) from the
client's address. What still has a service address after translation has no endpoint or no such port, and is refused
at once: TCP with a reset, the rest as port unreachable.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar

from ambientlab.api.client import Client
from ambientlab.api.objects import Object
from ambientlab.cluster import DNS_IP, NODE_NAME, SERVICE_CIDR, SERVICE_CIDR_6
from ambientlab.node.linux.nft import Batch, Goto, Hook, Nft, concatenate, octets, port
from ambientlab.node.linux.nft_expr import (
    TCP,
    UDP,
    Family,
    Meta,
    Verdict,
    decide,
    destination_nat,
    differ,
    equal,
    jenkins_hash,
    load_destination,
    load_destination_port,
    load_meta,
    load_source,
    lookup,
    lookup_verdict,
    mask,
    masquerade,
    random,
    reject,
    reject_tcp,
)
from ambientlab.node.services import Key, ServiceIndex, endpoint_port

log = logging.getLogger("ambientlab.kube-proxy")

TABLE = "kube-proxy"

_PROTOCOLS = {"TCP": TCP, "UDP": UDP}
_SERVICE_NETWORKS = {Family.IPV4: ip_network(SERVICE_CIDR), Family.IPV6: ip_network(SERVICE_CIDR_6)}
_NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_BATCH_ELEMENTS = 2000  # what the send buffer of a netlink socket holds for certain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pool:
    """How many endpoints a service port has, and whether a client stays with one."""

    size: int
    sticky: bool = False

    @property
    def chain(self) -> str:
        return f"{'sticky' if self.sticky and self.size > 1 else 'endpoints'}-{self.size}"


@dataclass(frozen=True, slots=True)
class Rules:
    """Elements of the maps, by key."""

    services: Mapping[bytes, Pool] = field(default_factory=dict)
    endpoints: Mapping[bytes, bytes] = field(default_factory=dict)
    hairpins: frozenset[bytes] = frozenset()
    elsewhere: frozenset[bytes] = frozenset()


def service_rules(service: Object, slices: Iterable[Object], family: Family = Family.IPV4) -> Rules:
    """One Service's elements in a family; none for a headless, external or address-less one, and for the DNS address,
    which the node serves itself."""
    spec = service["spec"]
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    virtual = next((packed for address in addresses if (packed := _packed(address, family))), None)
    if spec.get("type") == "ExternalName" or virtual is None or addresses[0] == DNS_IP:
        return Rules()
    sticky = spec.get("sessionAffinity") == "ClientIP"
    known = [one for one in slices if one.get("addressType") == _NAMES[family]]
    services: dict[bytes, Pool] = {}
    endpoints: dict[bytes, bytes] = {}
    hairpins: set[bytes] = set()
    elsewhere: set[bytes] = set()
    local = spec.get("internalTrafficPolicy") == "Local"
    for service_port in spec.get("ports") or ():
        protocol = _PROTOCOLS.get(service_port.get("protocol", "TCP"))
        if protocol is None:
            continue
        tolerant = bool(spec.get("publishNotReadyAddresses"))
        targets = sorted(_targets(known, service_port, family, tolerant, local=local))
        key = concatenate(virtual, protocol, port(service_port["port"]))
        if not targets:
            if local and _targets(known, service_port, family, tolerant):
                elsewhere.add(key)
            continue
        services[key] = Pool(len(targets), sticky)
        for index, (pod, number) in enumerate(targets):
            endpoints[key + index.to_bytes(4, sys.byteorder)] = concatenate(pod, port(number))
            hairpins.add(pod + pod)
    return Rules(services, endpoints, frozenset(hairpins), frozenset(elsewhere))


def _targets(
    slices: Iterable[Object], service_port: Object, family: Family, publish_not_ready: bool, *, local: bool = False
) -> set[tuple[bytes, int]]:
    """Ready endpoints, or those that terminate but still serve when there are no ready ones (KEP-1669); with `local`,
    those of this node."""
    ready: set[tuple[bytes, int]] = set()
    terminating: set[tuple[bytes, int]] = set()
    for endpoint_slice in slices:
        number = endpoint_port(endpoint_slice, service_port)
        if number is None:
            continue
        for endpoint in endpoint_slice.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            packed = _packed(endpoint["addresses"][0], family)
            if packed is None or (local and endpoint.get("nodeName") != NODE_NAME):
                continue
            target = (packed, number)
            if publish_not_ready or conditions.get("ready") is not False:
                ready.add(target)
            elif conditions.get("serving") and conditions.get("terminating"):
                terminating.add(target)
    return ready or terminating


def _packed(text: str, family: Family) -> bytes | None:
    """None for "None" (headless) and for what is no address of the family."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.packed if _NAMES[family] == f"IPv{address.version}" else None


class Proxy:
    """Construct, then `start` in the node's network namespace and on the event loop; follows the API until `close`."""

    def __init__(self, client: Client) -> None:
        self._services = ServiceIndex(client, self._apply)
        self._tables: list[Table] = []

    def start(self, *, ipv6: bool) -> None:
        """The fixed rules stand and every service that exists is served when this returns."""
        self._nft = Nft()
        self._tables = tables(self._nft, ipv6=ipv6)
        self._services.start()

    def close(self) -> None:
        self._services.close()
        self._nft.close()

    def _apply(self, changed: Collection[Key]) -> None:
        for table in self._tables:
            table.apply({key: self._services.get(key) for key in changed})


def tables(nft: Nft, *, ipv6: bool) -> list[Table]:
    """With the fixed rules, and no service yet."""
    return [Table(nft, family) for family in Family if ipv6 or family is Family.IPV4]


class Table:
    """Of a family, and what is in it."""

    def __init__(self, nft: Nft, family: Family) -> None:
        self._nft = nft
        self._family = family
        self._applied: dict[Key, Rules] = {}
        self._hairpins: Counter[bytes] = Counter()
        self._chains: set[str] = set()
        nft.commit(_fixed_rules(family))

    def apply(self, changed: Mapping[Key, tuple[Object | None, Collection[Object]]]) -> None:
        changes = _Changes(self._family)
        for key, (service, slices) in changed.items():
            rules = service_rules(service, slices, self._family) if service else Rules()
            changes.replace(self._applied.pop(key, Rules()), rules, self._hairpins)
            if service:
                self._applied[key] = rules
        try:
            self._commit(changes)
        except OSError as error:
            log.error("%s; writing every rule anew", error)
            self._rebuild()

    def _commit(self, changes: _Changes) -> None:
        for batch in changes.batches(self._chains):
            self._nft.commit(batch)
        self._chains |= changes.chains()

    def _rebuild(self) -> None:
        away = Batch(TABLE, self._family)
        away.add_table()
        away.delete_table()
        self._nft.commit(away, _fixed_rules(self._family))
        self._chains.clear()
        self._hairpins.clear()
        everything = _Changes(self._family)
        for rules in self._applied.values():
            everything.replace(Rules(), rules, self._hairpins)
        self._commit(everything)


class _Changes:
    """Elements to delete and to add, by map. Deletions come first: an element that changes is in both."""

    def __init__(self, family: Family = Family.IPV4) -> None:
        self._family = family
        self._delete: dict[str, list[bytes]] = {"services": [], "endpoints": [], "hairpin": [], "elsewhere": []}
        self._add: dict[str, list[tuple[bytes, Goto | bytes | None]]] = {
            "hairpin": [],
            "endpoints": [],
            "services": [],
            "elsewhere": [],
        }

    def replace(self, old: Rules, new: Rules, hairpins: Counter[bytes]) -> None:
        """`hairpins` counts the services behind each hairpin element, and is kept up to date here."""
        self._delete["services"] += [key for key, pool in old.services.items() if new.services.get(key) != pool]
        self._delete["endpoints"] += [key for key, to in old.endpoints.items() if new.endpoints.get(key) != to]
        self._add["endpoints"] += [item for item in new.endpoints.items() if old.endpoints.get(item[0]) != item[1]]
        self._add["services"] += [
            (key, Goto(pool.chain)) for key, pool in new.services.items() if old.services.get(key) != pool
        ]
        self._delete["elsewhere"] += old.elsewhere - new.elsewhere
        self._add["elsewhere"] += [(key, None) for key in new.elsewhere - old.elsewhere]
        for pair in new.hairpins - old.hairpins:
            hairpins[pair] += 1
            if hairpins[pair] == 1:
                self._add["hairpin"].append((pair, None))
        for pair in old.hairpins - new.hairpins:
            hairpins[pair] -= 1
            if not hairpins[pair]:
                del hairpins[pair]
                self._delete["hairpin"].append(pair)

    def chains(self) -> set[str]:
        return {value.chain for _, value in self._add["services"] if isinstance(value, Goto)}

    def batches(self, existing: set[str]) -> Iterator[Batch]:
        """One batch, unless there is more than a socket takes: then services are the last to appear."""
        batch = Batch(TABLE, self._family)
        for chain in sorted(self.chains() - existing):
            _add_endpoint_chain(batch, chain, self._family)
        room = _BATCH_ELEMENTS
        for name_, keys in self._delete.items():
            for some in _split(keys):
                batch, room = yield from self._room(batch, room, len(some))
                batch.delete_elements(name_, some)
        for name_, elements in self._add.items():
            for part in _split(elements):
                batch, room = yield from self._room(batch, room, len(part))
                batch.add_elements(name_, part)
        if batch.messages:
            yield batch

    def _room(self, batch: Batch, room: int, needed: int) -> Generator[Batch, None, tuple[Batch, int]]:
        if needed <= room:
            return batch, room - needed
        yield batch
        return Batch(TABLE, self._family), _BATCH_ELEMENTS - needed


def _split(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), _BATCH_ELEMENTS):
        yield items[start : start + _BATCH_ELEMENTS]


def _flow(family: Family) -> tuple[bytes, ...]:
    """What services are known by, in the first registers."""
    next_ = family.registers
    return load_destination(0, family), load_meta(Meta.PROTOCOL, next_), load_destination_port(next_ + 1)


def _fixed_rules(family: Family) -> Batch:
    address = 4 * family.registers
    batch = Batch(TABLE, family)
    batch.add_table()
    batch.add_set("services", key=address + 8, value=Goto)
    batch.add_set("endpoints", key=address + 12, value=address + 4)
    batch.add_set("hairpin", key=2 * address)
    batch.add_set("elsewhere", key=address + 8)
    for chain in ("services", "unserved"):
        batch.add_chain(chain)
    for hook in ("prerouting", "output"):
        batch.add_chain(f"nat-{hook}", Hook("nat", hook, -100))
        batch.add_rule(f"nat-{hook}", decide(Verdict.JUMP, "services"))
    batch.add_rule("services", *_flow(family), lookup_verdict("services"))
    batch.add_chain("nat-postrouting", Hook("nat", "postrouting", 100))
    pair = load_source(0, family), load_destination(family.registers, family)
    batch.add_rule("nat-postrouting", *pair, lookup("hairpin"), masquerade())
    for hook in ("forward" if family is Family.IPV4 else "input", "output"):  # where the node's routes lead it
        batch.add_chain(f"filter-{hook}", Hook("filter", hook, 0))
        batch.add_rule(f"filter-{hook}", decide(Verdict.JUMP, "unserved"))
    network = _SERVICE_NETWORKS[family]
    still_a_service = (
        load_destination(0, family),
        *((differ(octets(DNS_IP)),) if family is Family.IPV4 else ()),
        mask(network.netmask.packed),
        equal(network.network_address.packed),
    )
    batch.add_rule("unserved", *_flow(family), lookup("elsewhere"), decide(Verdict.DROP))
    batch.add_rule("unserved", *still_a_service, load_meta(Meta.PROTOCOL), equal(TCP), reject_tcp())
    batch.add_rule("unserved", *still_a_service, reject(family))
    return batch


def _add_endpoint_chain(batch: Batch, chain: str, family: Family) -> None:
    kind, _, size = chain.partition("-")
    words = family.registers
    last, target = words + 2, words + 3
    by_client = (load_source(last, family), jenkins_hash(last, 4 * words, int(size), last))
    choice = by_client if kind == "sticky" else (random(int(size), last),)
    batch.add_chain(chain)
    found = lookup("endpoints", 0, into=target)
    batch.add_rule(chain, *_flow(family), *choice, found, destination_nat(target, target + words, family))
