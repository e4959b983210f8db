"""Who may ask for what: authorization policies, and the tokens that requests carry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ambientlab.mesh.ir.workloads import Key


class PolicyAction(StrEnum):
    """In the order of evaluation, AUDIT apart: it decides nothing."""

    CUSTOM = "CUSTOM"
    DENY = "DENY"
    ALLOW = "ALLOW"
    AUDIT = "AUDIT"


@dataclass(frozen=True, slots=True)
class Condition:
    """The attribute has one of `values`, if there are any, and none of `not_values`.

    Attributes are named as in a policy's `when`, and request.host, request.method and request.path. A value may begin
    or end with a star, or be one; a path may be a template. Service accounts are `namespace/name`.
    """

    attribute: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


Conditions = tuple[Condition, ...]
"""All of them hold."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Matches if one of `sources` holds, which are about who asks, and one of `operations`, about what is asked for."""

    sources: tuple[Conditions, ...]
    operations: tuple[Conditions, ...]


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """Matches if one of the rules does; without rules, never. A dry run is evaluated and decides nothing."""

    key: Key
    action: PolicyAction
    rules: tuple[PolicyRule, ...]
    dry_run: bool = False
    provider: str = ""


@dataclass(frozen=True, slots=True)
class JwtRule:
    """Tokens of one issuer, and where in a request to look for them: in the usual places if none is named.

    `keys` is a JSON Web Key Set. `from_headers` are (name, what comes before the token); `claim_headers` are (header,
    claim) to be copied from a valid token; `payload_header` gets the whole of it.
    """

    issuer: str
    keys: str
    audiences: tuple[str, ...] = ()
    from_headers: tuple[tuple[str, str], ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    space_delimited: tuple[str, ...] = ()

    @property
    def lists(self) -> tuple[str, ...]:
        """The claims that are lists written as one text: those that the rule names, and two that always are."""
        return tuple(sorted({*self.space_delimited, "permission", "scope"}))


@dataclass(frozen=True, slots=True)
class CheckedBody:
    """How much of a request's body a provider is shown."""

    max_bytes: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A service at `host` that decides about requests, asked by HTTP or by gRPC (ext_authz).

    `fail_open` lets requests pass where it does not answer; else `status_on_error` is the answer, 0 for the usual one.
    Headers may begin or end with a star. Those of `checked_headers` are shown to it, besides `added_headers`, which are
    not the request's; of what it answers, some are passed on, and some returned to the client.
    """

    name: str
    host: str
    port: int
    grpc: bool
    timeout_ms: int
    fail_open: bool = False
    status_on_error: int = 0
    path_prefix: str = ""
    checked_headers: tuple[str, ...] = ()
    added_headers: tuple[tuple[str, str], ...] = ()
    upstream_headers: tuple[str, ...] = ()
    denied_headers: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    body: CheckedBody | None = None
    clear_route_cache: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """What stands before a service, or before all of a waypoint's workloads.

    First `provider` is asked about a request that a CUSTOM policy matches; where it cannot be, because of a
    `provider_problem`, such a request is refused. A request with a token that is not valid by the rule it falls under
    is refused with 401; one without a token goes on. A request is refused if a DENY policy matches it, or if there are
    ALLOW policies and none does. `tells_client`: the application is told who the client is, in the header
    x-forwarded-client-cert; what a client itself puts there never gets through.
    """

    policies: tuple[AuthorizationPolicy, ...] = ()
    jwt_rules: tuple[JwtRule, ...] = ()
    provider: Provider | None = None
    provider_problem: str = ""
    tells_client: bool = False

    def __bool__(self) -> bool:
        return bool(self.policies or self.jwt_rules or self.tells_client)

    def of(self, action: PolicyAction) -> tuple[AuthorizationPolicy, ...]:
        return tuple(policy for policy in self.policies if policy.action is action)
