"""Whether ztunnel lets a connection in, at the workload that it is for (src/rbac.rs and assert_rbac in src/state.rs of
istio/ztunnel): what a DENY policy matches is refused, and with ALLOW policies whatever none of them matches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ambientlab.mesh.ir import (
    NONE_ALLOWED,
    Authorization,
    Condition,
    Conditions,
    Mesh,
    PolicyAction,
    Protocol,
    Workload,
    denied_by,
)

_SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class Connection:
    """As the workload's ztunnel sees it: `identity` is "" for a client that came without a tunnel, `port` that which
    the workload is asked for."""

    identity: str
    client_ip: str
    target_ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Admission:
    """`policy` is the one that denied or allowed, with the index of the first of its rules that matches; None where
    nothing was asked, or where none allowed."""

    allowed: bool
    policy: Authorization | None = None
    rule: int | None = None

    def __str__(self) -> str:
        """In ztunnel's words, where it has any."""
        if self.policy is None:
            return "no policy" if self.allowed else NONE_ALLOWED
        return f"allowed by: {self.policy.key}" if self.allowed else denied_by(self.policy)


OPEN = Admission(True)
"""Where nothing is enforced."""


def at(mesh: Mesh, workload: Workload | None, connection: Connection) -> Admission:
    """Ztunnel stands before workloads that take tunnels and have no proxy of their own."""
    if workload is None or workload.protocol is not Protocol.HBONE:
        return OPEN
    return admitted(mesh.enforced.get(workload.key, ()), connection)


def admitted(policies: Sequence[Authorization], connection: Connection) -> Admission:
    for action in (PolicyAction.DENY, PolicyAction.ALLOW):
        for policy in policies:
            if policy.action is action and (rule := _matching(policy, connection)) is not None:
                return Admission(action is PolicyAction.ALLOW, policy, rule)
    return Admission(all(policy.action is not PolicyAction.ALLOW for policy in policies))


def _matching(policy: Authorization, connection: Connection) -> int | None:
    for number, rule in enumerate(policy.rules):
        if all(any(_match(match, connection) for match in clause) for clause in rule):
            return number
    return None


def _match(conditions: Conditions, connection: Connection) -> bool:
    """One without conditions never holds."""
    return bool(conditions) and all(_holds(condition, connection) for condition in conditions)


def _holds(condition: Condition, connection: Connection) -> bool:
    def one_of(values: Iterable[str]) -> bool:
        return any(_has(condition.attribute, value, connection) for value in values)

    return (not condition.values or one_of(condition.values)) and not one_of(condition.not_values)


def _has(attribute: str, value: str, connection: Connection) -> bool:
    match attribute:
        case "source.ip":
            return _within(connection.client_ip, value)
        case "destination.ip":
            return _within(connection.target_ip, value)
        case "destination.port":
            return connection.port == int(value)
        case "source.principal":
            found = connection.identity
            return found.startswith(_SPIFFE) and _like(found.removeprefix(_SPIFFE), value)
    parts = connection.identity.removeprefix(_SPIFFE).split("/")
    _, _, namespace, _, account = parts if len(parts) == 5 else [""] * 5
    return _like(namespace, value) if attribute == "source.namespace" else f"{namespace}/{account}" == value


def _like(found: str, value: str) -> bool:
    if value == "*":
        return found != ""
    if value.startswith("*"):
        return found.endswith(value[1:])
    return found.startswith(value[:-1]) if value.endswith("*") else found == value


def _within(address: str, block: str) -> bool:
    try:
        return ip_address(address) in ip_network(block, strict=False)
    except ValueError:
        return False
