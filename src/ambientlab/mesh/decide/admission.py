"""Whether ztunnel lets a connection in, at the workload that it is for (src/rbac.rs and assert_rbac in src/state.rs of
istio/ztunnel): what a DENY policy matches is refused, and with ALLOW policies whatever none of them matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ambientlab.cluster import HBONE_PORT, PROBE_SOURCE, PROBE_SOURCE_6, PROXY_PORTS
from ambientlab.mesh.decide.conditions import holds, like, within
from ambientlab.mesh.ir import (
    NONE_ALLOWED,
    SELF_CALL,
    Authorization,
    Conditions,
    Mesh,
    PolicyAction,
    Workload,
    allowed_by,
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
    nothing was asked, or where none allowed. `unasked` says why there was nothing to ask about, and `by_waypoint` that
    the workload is one, which has no ztunnel before it and refuses by itself."""

    allowed: bool
    policy: Authorization | None = None
    rule: int | None = None
    unasked: str = ""
    by_waypoint: bool = False

    def __str__(self) -> str:
        """In ztunnel's words, where it has any."""
        if self.unasked:
            return self.unasked
        if self.policy is None:
            return "no policy" if self.allowed else NONE_ALLOWED
        return allowed_by(self.policy.key) if self.allowed else denied_by(self.policy.key)


OPEN = Admission(True)
"""Where nothing is enforced."""
OWN_PORT = Admission(False, unasked=SELF_CALL)
NO_TUNNEL = Admission(False, unasked=f"port {HBONE_PORT} takes the tunnels of the mesh alone")
FROM_ITS_NODE = Admission(True, unasked="not asked about what its own node sends")
TO_A_WAYPOINT = Admission(False, unasked="it carries what is meant for others, and nothing to itself", by_waypoint=True)


def at(mesh: Mesh, workload: Workload | None, connection: Connection) -> Admission:
    """Ztunnel stands before workloads that take tunnels and have no proxy of their own. Its own ports are nobody's
    (src/config.rs, illegal_ports); what comes to that of tunnels without one is not even asked for."""
    if workload is None:
        return OPEN
    if not workload.captured:
        tunnels = connection.identity or connection.port == HBONE_PORT
        return TO_A_WAYPOINT if tunnels and _is_waypoint(mesh, workload) else OPEN
    if connection.port in PROXY_PORTS:
        return OWN_PORT if connection.identity or connection.port != HBONE_PORT else NO_TUNNEL
    if connection.client_ip in (PROBE_SOURCE, PROBE_SOURCE_6):
        return FROM_ITS_NODE
    return admitted(mesh.enforced.get(workload.key, ()), connection)


def _is_waypoint(mesh: Mesh, workload: Workload) -> bool:
    """Where tunnels end, and nothing knows a way to the waypoint's own addresses: its pods are no workloads that take
    tunnels, so that ztunnel brings whoever calls them there in plain TCP, as anybody outside of the mesh comes
    (istio/ztunnel, src/proxy/outbound.rs, build_request; listener_waypoint.go, buildWaypointInternal)."""
    return any(member.key == workload.key for waypoint in mesh.waypoints.values() for member in waypoint.members)


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
    return bool(conditions) and all(holds(condition, partial(has, connection)) for condition in conditions)


def has(connection: Connection, attribute: str, value: str) -> bool:
    match attribute:
        case "source.ip":
            return within(connection.client_ip, value)
        case "destination.ip":
            return within(connection.target_ip, value)
        case "destination.port":
            return connection.port == int(value)
        case "source.principal":
            found = connection.identity
            return found.startswith(_SPIFFE) and like(found.removeprefix(_SPIFFE), value)
    parts = connection.identity.removeprefix(_SPIFFE).split("/")
    _, _, namespace, _, account = parts if len(parts) == 5 else [""] * 5
    return like(namespace, value) if attribute == "source.namespace" else f"{namespace}/{account}" == value
