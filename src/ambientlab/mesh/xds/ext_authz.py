"""Policies of action CUSTOM: RBAC finds out which requests they match, and ext_authz asks the provider about those.

The first filter enforces nothing: it leaves the name of the rule that matched in the request's metadata, where the
second looks (pilot/pkg/security/authz/builder, buildHTTP, buildTCP and extauthz.go). Where there is no provider to ask,
the first refuses what the rules match.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz as HttpExtAuthz
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher

from ambientlab.mesh.ir import AuthorizationPolicy, Provider
from ambientlab.mesh.xds import rbac
from ambientlab.mesh.xds.messages import duration

_PREFIX = "istio-ext-authz"
_METADATA_PREFIX = "istio_ext_authz_"
_REFUSED = "-deny-due-to-bad-CUSTOM-action"


def http_matching(policies: Sequence[AuthorizationPolicy], provider: Provider | None) -> HttpRbac:
    rules = _rules(policies, provider, tcp=False)
    if rules is None or provider is None:
        return HttpRbac(rules=rules)
    return HttpRbac(shadow_rules=rules, shadow_rules_stat_prefix=_METADATA_PREFIX)


def network_matching(policies: Sequence[AuthorizationPolicy], provider: Provider | None) -> NetworkRbac:
    rules = _rules(policies, provider, tcp=True)
    if rules is None or provider is None:
        return NetworkRbac(rules=rules, stat_prefix="tcp.")
    return NetworkRbac(shadow_rules=rules, shadow_rules_stat_prefix=_METADATA_PREFIX, stat_prefix="tcp.")


def _rules(policies: Sequence[AuthorizationPolicy], provider: Provider | None, *, tcp: bool) -> RBAC | None:
    enforced = [policy for policy in policies if not policy.dry_run]
    if not enforced:
        return None
    if provider is not None:
        return rbac.rules(enforced, tcp=tcp, prefix=f"{_PREFIX}-{provider.name}-")
    result = RBAC(action=RBAC.DENY)
    for policy in enforced:
        made = rbac.rules([policy], tcp=tcp, prefix=f"{_PREFIX}-{policy.provider}-")
        for name, rule in made.policies.items():
            result.policies[name + _REFUSED].CopyFrom(rule)
    return result


def http_asking(provider: Provider, cluster: str) -> HttpExtAuthz:
    result = HttpExtAuthz(
        failure_mode_allow=provider.fail_open,
        transport_api_version=ApiVersion.V3,
        filter_enabled_metadata=_matched("envoy.filters.http.rbac", provider),
        clear_route_cache=provider.clear_route_cache,
    )
    if provider.status_on_error:
        result.status_on_error.code = provider.status_on_error
    if provider.body is not None:
        result.with_request_body.max_request_bytes = provider.body.max_bytes
        result.with_request_body.allow_partial_message = provider.body.partial
        result.with_request_body.pack_as_bytes = provider.body.as_bytes
    if provider.checked_headers:
        result.allowed_headers.CopyFrom(_headers(provider.checked_headers))
    if provider.grpc:
        result.grpc_service.CopyFrom(_grpc(provider, cluster))
        return result
    service = result.http_service
    service.path_prefix = provider.path_prefix
    service.server_uri.uri = f"http://{provider.host}"
    service.server_uri.cluster = cluster
    service.server_uri.timeout.CopyFrom(duration(provider.timeout_ms))
    for name, value in provider.added_headers:
        service.authorization_request.headers_to_add.add(key=name, value=value)
    answer = service.authorization_response
    for names, field in (
        (provider.upstream_headers, "allowed_upstream_headers"),
        (provider.denied_headers, "allowed_client_headers"),
        (provider.allowed_headers, "allowed_client_headers_on_success"),
    ):
        if names:
            getattr(answer, field).CopyFrom(_headers(names))
    return result


def network_asking(provider: Provider, cluster: str) -> NetworkExtAuthz:
    return NetworkExtAuthz(
        stat_prefix="tcp.",
        failure_mode_allow=provider.fail_open,
        transport_api_version=ApiVersion.V3,
        grpc_service=_grpc(provider, cluster),
        filter_enabled_metadata=_matched("envoy.filters.network.rbac", provider),
    )


def _grpc(provider: Provider, cluster: str) -> GrpcService:
    result = GrpcService(timeout=duration(provider.timeout_ms))
    result.envoy_grpc.cluster_name = cluster
    result.envoy_grpc.authority = provider.host
    return result


def _matched(filter_name: str, provider: Provider) -> MetadataMatcher:
    result = MetadataMatcher(filter=filter_name)
    result.path.add(key=f"{_METADATA_PREFIX}shadow_effective_policy_id")
    result.value.string_match.prefix = f"{_PREFIX}-{provider.name}"
    return result


def _headers(names: Sequence[str]) -> ListStringMatcher:
    result = ListStringMatcher()
    for name in names:
        pattern = result.patterns.add(ignore_case=True)
        if name.startswith("*"):
            pattern.suffix = name[1:]
        elif name.endswith("*"):
            pattern.prefix = name[:-1]
        else:
            pattern.exact = name
    return result
