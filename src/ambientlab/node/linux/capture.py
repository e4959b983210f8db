"""The mesh's rules: inside captured pods, and in the node for its own probes of them.

Inside, what istio-cni's native nftables rules are (istio, cni/pkg/nftables/nftables.go, AppendInpodRules), under the
same table and chain names, without DNS capture, which this mesh does not have:

- outbound TCP goes to the proxy's 15001, inbound TCP but HBONE's 15008 to 15006, unless the pod has asked for none of
  that (annotation ambient.istio.io/bypass-inbound-capture);
- the proxy's own sockets carry mark 0x539 and pass;
- what the proxy sends to the application comes with the client's address, so the application's answer would leave
  through eth0: connection mark 0x111 remembers such connections, and a rule and a table deliver the answers locally;
- nor does the client's port tell the two connections apart, when the kernel chooses for the proxy's the very one that
  the client has: the proxy's packets have a connection tracking zone of their own, or they would be redirected as the
  client's are and reach no application (Istio has no such rule);
- 169.254.7.127 passes: the node gives this source to its own connections to captured pods (kubelet probes), which
  must reach the application even where a policy wants mutual TLS.

Where the kernel has IPv6, the same goes for it, with rules and addresses of its own.

TCP queries to the cluster's DNS pass as UDP ones do. In the node, Istio finds captured pods in a set of addresses and
the kubelet by its uid. Here the pod's device is in a group, which cannot outlive the pod, and any socket of the node
counts: every process has the same uid, and what pods send is only forwarded.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ambientlab.cluster import (
    DNS_IP,
    HBONE_PORT,
    INBOUND_PLAINTEXT_PORT,
    OUTBOUND_PORT,
    PROBE_SOURCE,
    PROBE_SOURCE_6,
    PROXY_PORTS,
)
from ambientlab.node.linux import links, sockdiag
from ambientlab.node.linux.netlink import NETLINK_ROUTE, Message, Socket, visitor
from ambientlab.node.linux.nft import Batch, Hook, Nft, octets, port
from ambientlab.node.linux.nft_expr import (
    TCP,
    Family,
    Meta,
    Verdict,
    decide,
    differ,
    equal,
    immediate,
    load_ct_mark,
    load_destination,
    load_destination_port,
    load_meta,
    load_source,
    mask,
    redirect,
    reject_tcp,
    source_nat,
    store_ct_mark,
    store_meta,
    store_original_zone,
)

_NAT = "istio-ambient-nat"
_MANGLE = "istio-ambient-mangle"
_LEAVING = "istio-ambient-leaving"
"""Of a pod whose new connections are not redirected any more: without a nat chain the kernel would stop translating
what belongs to those that are open, and their ends would not hear of each other."""
_CLOSED = "istio-ambient-closed"
"""Of a pod that no proxy has: a program of its own may listen where the proxy would."""
_CAPTURED_GROUP = 1337
_PROXY_MARK = 0x539
_REPLY_MARK = 0x111
_MARK_MASK = 0xFFF
_PROXY_ZONE = 1
_TABLE = 100
_RULE_PRIORITY = 32764  # netlink picks this for the first rule Istio adds: just before the main table

_RAW_PRIORITY, _NAT_PRIORITY, _SNAT_PRIORITY, _MANGLE_PRIORITY, _FILTER_PRIORITY = -300, -100, 100, -150, 0
_LOOPBACK_NAME = b"lo".ljust(16, b"\0")
_ETH0 = 2


def _native(value: int) -> bytes:
    """Marks are numbers in the machine's byte order."""
    return struct.pack("=I", value)


_IS_TCP = (load_meta(Meta.PROTOCOL), equal(TCP))
_OF_PROXY = (load_meta(Meta.MARK), mask(_native(_MARK_MASK)), equal(_native(_PROXY_MARK)))
_NOT_OF_PROXY = (load_meta(Meta.MARK), mask(_native(_MARK_MASK)), differ(_native(_PROXY_MARK)))


@dataclass(frozen=True, slots=True)
class _Addresses:
    """What a family calls those that the rules are about."""

    family: Family
    loopback: str
    probe_source: str
    everything: str

    @property
    def not_loopback(self) -> tuple[bytes, ...]:
        return load_destination(0, self.family), differ(octets(self.loopback))


_IPV4 = _Addresses(Family.IPV4, "127.0.0.1", PROBE_SOURCE, "0.0.0.0/0")
_IPV6 = _Addresses(Family.IPV6, "::1", PROBE_SOURCE_6, "::/0")
_BOTH = (_IPV4, _IPV6)


def inpod_rules(own: _Addresses = _IPV4, *, inbound: bool = True) -> tuple[Batch, Batch]:
    """The tables of a captured pod for a family, to be committed together. Without `inbound`, plain connections to it
    are left alone (IngressMode)."""
    return _redirection(own, inbound=inbound), _marks(own)


def _redirection(own: _Addresses, *, inbound: bool) -> Batch:
    nat = Batch(_NAT, own.family)
    not_loopback, probe_source = own.not_loopback, octets(own.probe_source)
    nat.add_table()
    _add_hooks(nat, _NAT_PRIORITY, prerouting="nat", output="nat")
    if inbound:
        from_probe = load_source(0, own.family), equal(probe_source)
        nat.add_rule("istio-prerouting", *_IS_TCP, *from_probe, decide(Verdict.ACCEPT))
        nat.add_rule(
            "istio-prerouting",
            *not_loopback,
            *_IS_TCP,
            load_destination_port(),
            differ(port(HBONE_PORT)),
            *_NOT_OF_PROXY,
            immediate(port(INBOUND_PLAINTEXT_PORT)),
            redirect(0),
        )
    to_probe = load_destination(0, own.family), equal(probe_source)
    nat.add_rule("istio-output", *_IS_TCP, *to_probe, decide(Verdict.ACCEPT))
    if own is _IPV4:
        dns = load_destination(), equal(octets(DNS_IP)), load_destination_port(), equal(port(53))
        nat.add_rule("istio-output", *_IS_TCP, *dns, decide(Verdict.ACCEPT))
    reply = load_meta(Meta.MARK), mask(_native(_MARK_MASK)), equal(_native(_REPLY_MARK))
    nat.add_rule("istio-output", *_IS_TCP, *reply, decide(Verdict.ACCEPT))
    nat.add_rule(
        "istio-output", load_meta(Meta.OUTPUT_NAME), equal(_LOOPBACK_NAME), *not_loopback, decide(Verdict.ACCEPT)
    )
    nat.add_rule("istio-output", *_IS_TCP, *not_loopback, *_NOT_OF_PROXY, immediate(port(OUTBOUND_PORT)), redirect(0))
    return nat


def _marks(own: _Addresses) -> Batch:
    mangle = Batch(_MANGLE, own.family)
    mangle.add_table()
    _add_hooks(mangle, _MANGLE_PRIORITY, prerouting="filter", output="route")
    mangle.add_rule(
        "istio-prerouting",
        *_OF_PROXY,
        load_ct_mark(),
        mask(_native(0xFFFFFFFF & ~_MARK_MASK), _native(_REPLY_MARK)),
        store_ct_mark(),
    )
    mangle.add_rule(
        "istio-output",
        load_ct_mark(),
        mask(_native(_MARK_MASK)),
        equal(_native(_REPLY_MARK)),
        load_ct_mark(),
        store_meta(Meta.MARK),
    )
    mangle.add_chain("before-tracking", Hook("filter", "output", _RAW_PRIORITY))
    mangle.add_rule(
        "before-tracking",
        load_meta(Meta.OUTPUT_NAME),
        equal(_LOOPBACK_NAME),
        *_OF_PROXY,
        immediate(struct.pack("=H", _PROXY_ZONE)),
        store_original_zone(),
    )
    return mangle


def _add_hooks(batch: Batch, priority: int, **kinds: str) -> None:
    """A chain of Istio's for each hook, and the hook that leads there."""
    for hook, kind in kinds.items():
        batch.add_chain(f"istio-{hook}")
        batch.add_chain(hook, Hook(kind, hook, priority))
        batch.add_rule(hook, decide(Verdict.JUMP, f"istio-{hook}"))


class InPodRules:
    """Installs and removes capture; call `start` once in the node's network namespace. Methods raise OSError."""

    def start(self, *, ipv6: bool) -> None:
        """The node's own tables: connections of its sockets to captured pods get the probe address."""
        self._families = _BOTH if ipv6 else (_IPV4,)
        self._node = Nft()
        self._route = Socket(NETLINK_ROUTE)
        self._node.commit(*map(_host_rules, self._families))

    def close(self) -> None:
        self._node.close()
        self._route.close()

    async def install(self, netns: str, *, inbound: bool = True, closed: bool = False) -> None:
        """Redirect the pod whose network namespace is at `netns`, at once and as a whole; where `closed`, to nobody.
        Idempotent: what is installed stays as it is."""
        device = await visitor.run(netns, lambda: _install(self._families, inbound=inbound, closed=closed))
        await self._set_group(device, _CAPTURED_GROUP)

    async def remove(self, netns: str) -> None:
        """Idempotent; connections that are redirected already stay with the proxy until `disconnect`."""
        device = await visitor.run(netns, _remove)
        await self._set_group(device, 0)

    async def disconnect(self, netns: str) -> None:
        """End what the proxy still has open in there. It keeps its tunnels for later, and a socket keeps the network
        namespace of a pod that is gone. Where the kernel cannot, or nobody can enter there because what held the
        namespace has ended by itself, they end when they have been idle. Idempotent."""
        with suppress(FileNotFoundError):
            await visitor.run(netns, _disconnect)

    async def installed(self, netns: str) -> bool:
        return await visitor.run(netns, _installed)

    async def _set_group(self, device: int, group: int) -> None:
        await visitor.run("", lambda: self._route.request([links.set_group(device, group)]))


def _host_rules(own: _Addresses) -> Batch:
    host = Batch(_NAT, own.family)
    host.add_table()
    host.add_chain("postrouting", Hook("nat", "postrouting", _SNAT_PRIORITY - 1))
    host.add_rule(
        "postrouting",
        *_IS_TCP,
        load_meta(Meta.OUTPUT_GROUP),
        equal(_native(_CAPTURED_GROUP)),
        load_meta(Meta.SOCKET_UID),  # ends the rule for packets without a socket here
        immediate(octets(own.probe_source)),
        source_nat(0, own.family),
    )
    return host


def _routing(families: Sequence[_Addresses], *, remove: bool) -> Iterator[Message]:
    for own in families:
        yield links.local_table(own.everything, _TABLE, remove=remove)
        yield links.mark_rule(own.everything, _REPLY_MARK, _MARK_MASK, _TABLE, _RULE_PRIORITY, remove=remove)


def _install(families: Sequence[_Addresses], *, inbound: bool, closed: bool) -> int:
    route, nft = Socket(NETLINK_ROUTE), Nft()
    try:
        for message in _routing(families, remove=False):
            _tolerate(route, message, errno.EEXIST)
        changes = _away(nft, _CLOSED)
        if closed:
            changes += [_closed(own) for own in families]
        if not nft.has_table(_NAT):
            rules = (batch for own in families for batch in inpod_rules(own, inbound=inbound))
            changes += [*_away(nft, _LEAVING, _MANGLE), *rules]
        if changes:
            nft.commit(*changes)
        return links.peer_index(route, _ETH0)
    finally:
        route.close()
        nft.close()


def _remove() -> int:
    route, nft = Socket(NETLINK_ROUTE), Nft()
    try:
        if nft.has_table(_NAT):
            families = [own.family for own in _BOTH if nft.has_table(_NAT, own.family)]
            nft.commit(*map(_leaving, families), *_away(nft, _NAT, _CLOSED))
        return links.peer_index(route, _ETH0)
    finally:
        route.close()
        nft.close()


def _closed(own: _Addresses) -> Batch:
    batch = Batch(_CLOSED, own.family)
    batch.add_table()
    batch.add_chain("input", Hook("filter", "input", _FILTER_PRIORITY))
    for number in PROXY_PORTS:
        batch.add_rule("input", *_IS_TCP, load_destination_port(), equal(port(number)), reject_tcp())
    return batch


def _leaving(family: Family) -> Batch:
    batch = Batch(_LEAVING, family)
    batch.add_table()
    for hook in ("prerouting", "output"):
        batch.add_chain(hook, Hook("nat", hook, _NAT_PRIORITY))
    return batch


def _disconnect() -> None:
    try:
        sockdiag.end(lambda one: one.mark & _MARK_MASK == _PROXY_MARK or one.local_port in PROXY_PORTS)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    route, nft = Socket(NETLINK_ROUTE), Nft()
    try:
        if nft.has_table(_LEAVING):
            nft.commit(*_away(nft, _LEAVING, _MANGLE))
            for message in _routing(_BOTH, remove=True):
                _tolerate(route, message, errno.ENOENT, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
    finally:
        route.close()
        nft.close()


def _away(nft: Nft, *tables: str) -> list[Batch]:
    """The deletion of those that are there."""
    places = ((table, own.family) for table in tables for own in _BOTH)
    found = [Batch(table, family) for table, family in places if nft.has_table(table, family)]
    for batch in found:
        batch.delete_table()
    return found


def _installed() -> bool:
    nft = Nft()
    try:
        return nft.has_table(_NAT)
    finally:
        nft.close()


def _tolerate(route: Socket, message: Message, *numbers: int) -> None:
    try:
        route.request([message])
    except OSError as error:
        if error.errno not in numbers:
            raise
