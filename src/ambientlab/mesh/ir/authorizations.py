"""Who may connect to a workload: what ztunnel holds of policies, in the shape in which istiod tells it of them
(pkg/workloadapi/security/authorization.proto)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ambientlab.mesh.ir.policies import Conditions, PolicyAction
from ambientlab.mesh.ir.workloads import Key


class Scope(StrEnum):
    """Which workloads a policy is for; values as ztunnel shows them."""

    GLOBAL = "Global"
    NAMESPACE = "Namespace"
    WORKLOAD_SELECTOR = "WorkloadSelector"


Clause = tuple[Conditions, ...]
"""One of its matches holds. A match without conditions never does (src/rbac.rs of istio/ztunnel, matches)."""

Clauses = tuple[Clause, ...]
"""A rule: all of them hold."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Denies or allows the connections that one of its rules matches; a rule without clauses matches every one.

    Conditions are about the client's identity (source.principal, without the scheme, source.namespace and
    source.serviceAccount, `namespace/name`), its address (source.ip), and the address and port that the workload is
    asked for (destination.ip and destination.port). A value may begin or end with a star, or be one: something is
    there. A client that showed no certificate has no identity.
    """

    key: Key
    action: PolicyAction
    scope: Scope
    rules: tuple[Clauses, ...] = ()


NONE_ALLOWED = "allow policies exist, but none allowed"
"""What ztunnel says of a connection that no policy denied (src/proxy.rs, AuthorizationRejectionError)."""

SELF_CALL = "attempted recursive call to ourselves"
"""What it says of connections to its own ports (src/proxy.rs, Error::SelfCall)."""


def denied_by(policy: Key) -> str:
    return f"explicitly denied by: {policy}"


def allowed_by(policy: Key) -> str:
    return f"allowed by: {policy}"
