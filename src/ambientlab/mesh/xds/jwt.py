"""Rules for tokens as Envoy's JWT filter (pilot/pkg/security/authn/policy_applier.go, convertToEnvoyJwtConfig)."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication, JwtProvider, JwtRequirement

from ambientlab.mesh.ir import JwtRule

PAYLOAD = "payload"
"""Where in the filter's metadata the claims of a valid token are."""


def authentication(rules: Sequence[JwtRule]) -> JwtAuthentication:
    """A request may do without a token, but not with one that no rule accepts.

    With several rules, each must be met or find no token where it looks; a request that meets one is let through, as
    rules that look in the same places cannot all be met.
    """
    result = JwtAuthentication()
    if not rules:
        return result
    each = []
    for number, rule in enumerate(rules):
        name = f"origins-{number}"
        result.providers[name].CopyFrom(_provider(rule))
        optional = JwtRequirement()
        optional.requires_any.requirements.add(provider_name=name)
        optional.requires_any.requirements.add().allow_missing.SetInParent()
        each.append(optional)
    demand = result.rules.add()
    demand.match.prefix = "/"
    if len(each) == 1:
        demand.requires.CopyFrom(each[0])
    else:
        any_of = demand.requires.requires_any.requirements
        for number in range(len(rules)):
            any_of.add(provider_name=f"origins-{number}")
        any_of.add().requires_all.requirements.extend(each)
    result.bypass_cors_preflight = True
    return result


def _provider(rule: JwtRule) -> JwtProvider:
    result = JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forward,
        forward_payload_header=rule.payload_header,
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        payload_in_metadata=PAYLOAD,
        clear_route_cache=True,
    )
    result.local_jwks.inline_string = rule.keys
    for name, prefix in rule.from_headers:
        result.from_headers.add(name=name, value_prefix=prefix)
    for header, claim in rule.claim_headers:
        result.claim_to_headers.add(header_name=header, claim_name=claim)
    result.normalize_payload_in_metadata.space_delimited_claims.extend(rule.lists)
    return result
