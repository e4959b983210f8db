"""PeerAuthentications as policies of ztunnel (pilot/pkg/serviceregistry/ambient/authorization.go).

ztunnel takes tunnels and plain connections alike. STRICT is a policy that denies those without an identity: one that is
always the same, or for a workload with exceptions for ports one of its own. Whatever is not STRICT is PERMISSIVE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.selectors import MESH, Place, Selector, selector_of
from ambientlab.mesh.ir import Authorization, Clause, Clauses, Condition, Key, PolicyAction, Scope

STRICT, PERMISSIVE, DISABLE, UNSET = "STRICT", "PERMISSIVE", "DISABLE", "UNSET"
_OPEN = (PERMISSIVE, DISABLE)


@dataclass(frozen=True, slots=True)
class Peer:
    """A PeerAuthentication. `created` orders them; `ports` are sorted. Those `of_root` are in the root namespace."""

    key: Key
    created: str
    selector: Selector
    mode: str
    ports: tuple[tuple[int, str], ...]
    of_root: bool

    @property
    def place(self) -> Place:
        mesh_wide = self.of_root and self.selector.labels is None
        return self.selector.place(MESH if mesh_wide else self.key.namespace)

    @property
    def wide(self) -> bool:
        """Whether it is for a whole namespace, or for the mesh."""
        return not self.selector.labels

    @property
    def modes(self) -> set[str]:
        return {mode for _, mode in self.ports}


def read(key: Key, obj: Object, root: str) -> Peer:
    spec = obj.get("spec") or {}
    ports = {int(port): _mode(mtls) for port, mtls in (spec.get("portLevelMtls") or {}).items()}
    created = obj["metadata"].get("creationTimestamp") or ""
    mode, of_root = _mode(spec.get("mtls")), key.namespace == root
    return Peer(key, created, selector_of(spec), mode, tuple(sorted(ports.items())), of_root)


def _mode(mtls: Object | None) -> str:
    return (mtls or {}).get("mode") or UNSET


def oldest(peers: Iterable[Peer]) -> Peer | None:
    """The one that counts, of those for the same."""
    return min(peers, key=lambda peer: (peer.created, peer.key), default=None)


def findings(peer: Peer) -> Iterator[Diagnostic]:
    """What Istio passes over."""
    ref = ObjectRef("PeerAuthentication", *peer.key)
    if peer.of_root and not peer.wide:
        yield ignored(ref, "spec.selector", "a policy of the root namespace with a selector is for no workload")
        return
    for port, mode in [(None, peer.mode), *peer.ports]:
        if mode == DISABLE:
            field = "spec.mtls.mode" if port is None else f"spec.portLevelMtls[{port}].mode"
            yield ignored(ref, field, "ztunnel goes on taking tunnels: DISABLE is as PERMISSIVE in ambient mode")


def without_effect(peer: Peer, rivals: Iterable[Peer]) -> Iterator[Diagnostic]:
    """`rivals` are those filed under the same place, of which for the same workloads one alone counts."""
    first = oldest(rival for rival in rivals if (rival.selector.labels or ()) == (peer.selector.labels or ()))
    if first is not None and first != peer:
        why = f"no effect: PeerAuthentication {first.key} is for the same workloads, and older"
        older = (ObjectRef("PeerAuthentication", *first.key),)
        yield Diagnostic(ObjectRef("PeerAuthentication", *peer.key), "OlderPolicy", why, field="spec", first=older)


def deciding(peers: Iterable[Peer]) -> tuple[Peer | None, Peer | None, Peer | None]:
    """The ones that count, of those that are all for one workload: of the mesh, of its namespace and of itself. What a
    later one sets goes before."""
    wide: dict[bool, list[Peer]] = {True: [], False: []}
    narrow: list[Peer] = []
    for peer in peers:
        if peer.wide:
            wide[peer.of_root].append(peer)
        elif not peer.of_root:
            narrow.append(peer)
    return oldest(wide[True]), oldest(wide[False]), oldest(narrow)


class Effective(NamedTuple):
    """What PeerAuthentications come to for a workload: the one that decides, and the policy of ztunnel's made of it."""

    peer: Peer
    policy: Key


def effective(peers: Iterable[Peer], root: str) -> Effective | None:
    """Of those that are all for one workload; None where nothing is denied (convertedSelectorPeerAuthentications)."""
    levels = deciding(peers)
    workload = levels[-1]
    strict: Peer | None = None
    for one in levels:
        if one is not None and one.mode != UNSET:
            strict = one if one.mode == STRICT else None
    if workload is not None:
        # a port's DISABLE is an exception only to the workload's own STRICT
        exceptions = (PERMISSIVE,) if workload.mode == UNSET else _OPEN
        if workload.modes & set(exceptions if strict is not None else (STRICT,)):
            return Effective(workload, converted_key(workload))
    return None if strict is None else Effective(strict, static_strict(root).key)


def converted_key(peer: Peer) -> Key:
    """Underscores because no object of the API has such a name."""
    return Key(peer.key.namespace, f"converted_peer_authentication_{peer.key.name}")


def converted(peer: Peer, of_namespace: Peer | None, of_mesh: Peer | None) -> Authorization | None:
    """What ztunnel is told of a policy with modes for single ports, whether it is enforced anywhere or not, given the
    policies for the whole namespace and the mesh; None where that is nothing (convertPeerAuthentication)."""
    if peer.of_root or peer.selector.labels is None:
        return None
    namespace = UNSET if of_namespace is None else of_namespace.mode
    strict_mesh = namespace == UNSET and of_mesh is not None and of_mesh.mode == STRICT
    above = of_namespace or of_mesh
    # Istio's own conditions: a STRICT mesh is taken to deny for a PERMISSIVE workload too, and a policy of the
    # namespace that says nothing hides what the mesh says
    denied_above = strict_mesh or (peer.mode == UNSET and namespace == STRICT)
    open_above = peer.mode == UNSET and (above is None or above.mode != STRICT)
    rules: list[Clauses] = []
    rule: list[Clause] = [_NOBODY] if peer.mode == STRICT else []
    exceptions: list[Clause] = []
    for port, mode in peer.ports:
        if mode == STRICT and peer.mode != STRICT and not denied_above:
            rules.append((((*_WITHOUT_IDENTITY, Condition(_PORT, (str(port),))),),))
        if mode in _OPEN and peer.mode not in _OPEN and not open_above:
            exceptions.append(((Condition(_PORT, (), (str(port),)),),))
    if peer.mode == STRICT and not exceptions:
        return None
    rule += exceptions
    if exceptions and (strict_mesh or namespace == STRICT):
        rule.append(_NOBODY)
    if rule:
        rules.append(tuple(rule))
    if not rules:
        return None
    return Authorization(converted_key(peer), PolicyAction.DENY, Scope.WORKLOAD_SELECTOR, tuple(rules))


_PORT = "destination.port"
_WITHOUT_IDENTITY = (Condition("source.principal", (), ("*",)),)
_NOBODY: Clause = (_WITHOUT_IDENTITY,)
_STATIC_STRICT = "istio_converted_static_strict"


def static_strict(root: str) -> Authorization:
    """ztunnel is told of it as soon as there is any PeerAuthentication (PolicyCollections in policies.go)."""
    return Authorization(Key(root, _STATIC_STRICT), PolicyAction.DENY, Scope.WORKLOAD_SELECTOR, ((_NOBODY,),))
