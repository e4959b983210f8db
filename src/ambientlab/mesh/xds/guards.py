"""The filters that enforce a Guard, as places in filter chains whose content comes by itself (ECDS).

A chain has the same places with a policy and without: one that has nothing to do lets everything pass. So a policy
touches no listener, takes effect on the next request of an open connection, and cuts none. The places are in Istio's
order (buildWaypointHTTPFilters in pilot/pkg/networking/core/listener_waypoint.go, and build in
pilot/pkg/security/authz/builder/builder.go). A place whose content never arrives refuses everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.message import Message

from ambientlab.mesh.ir import AuthorizationPolicy, Guard, JwtRule, PolicyAction, Provider
from ambientlab.mesh.xds.messages import ads, extension
from ambientlab.mesh.xds.types import PREFIX

_JWT = f"{PREFIX}envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_HTTP_EXT_AUTHZ = f"{PREFIX}envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_NETWORK_EXT_AUTHZ = f"{PREFIX}envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
_HEADERS = f"{PREFIX}envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_HTTP_RBAC = f"{PREFIX}envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK_RBAC = f"{PREFIX}envoy.extensions.filters.network.rbac.v3.RBAC"
_ACTIONS: Mapping[str, PolicyAction] = MappingProxyType(
    {"audit": PolicyAction.AUDIT, "deny": PolicyAction.DENY, "allow": PolicyAction.ALLOW}
)
"""Place -> the action of the policies in it."""

Make = Callable[..., Message]
Content = tuple[str, Make, tuple[Any, ...]]
"""The name of a place, and what makes its content from which inputs."""


def http_places(owner: str) -> list[HttpFilter]:
    """`owner` is the host that the chain is for, or the chain's own name."""
    places = {"xfcc": (_HEADERS,), "custom": (_HTTP_RBAC,), "ext-authz": (_HTTP_RBAC, _HTTP_EXT_AUTHZ), "jwt": (_JWT,)}
    places |= dict.fromkeys(_ACTIONS, (_HTTP_RBAC,))
    return [
        HttpFilter(name=_name("http", place, owner), config_discovery=_source(*type_urls))
        for place, type_urls in places.items()
    ]


def network_places(owner: str) -> list[Filter]:
    places = {"custom": (_NETWORK_RBAC,), "ext-authz": (_NETWORK_RBAC, _NETWORK_EXT_AUTHZ)}
    places |= dict.fromkeys(_ACTIONS, (_NETWORK_RBAC,))
    return [
        Filter(name=_name("tcp", place, owner), config_discovery=_source(*type_urls))
        for place, type_urls in places.items()
    ]


def http_contents(owner: str, guard: Guard, cluster: str = "") -> Iterator[Content]:
    """What is in the places of `owner`'s HTTP chains; `cluster` is the provider's."""
    custom = guard.of(PolicyAction.CUSTOM)
    yield _name("http", "xfcc", owner), _http_xfcc, (guard.tells_client,)
    yield _name("http", "custom", owner), _http_custom, (custom, guard.provider)
    yield _name("http", "ext-authz", owner), _http_ext_authz, (guard.provider, cluster)
    yield _name("http", "jwt", owner), _http_jwt, (guard.jwt_rules,)
    for place, action in _ACTIONS.items():
        yield _name("http", place, owner), _http_rbac, (guard.of(action),)


def network_contents(owner: str, guard: Guard, cluster: str = "") -> Iterator[Content]:
    custom = guard.of(PolicyAction.CUSTOM)
    yield _name("tcp", "custom", owner), _network_custom, (custom, guard.provider)
    yield _name("tcp", "ext-authz", owner), _network_ext_authz, (guard.provider, cluster)
    for place, action in _ACTIONS.items():
        yield _name("tcp", place, owner), _network_rbac, (guard.of(action),)


def _http_xfcc(tells_client: bool) -> Message:
    message: Message = _loaded("xfcc").client_identity(tells_client)
    return message


def _http_custom(policies: Sequence[AuthorizationPolicy], provider: Provider | None) -> Message:
    message: Message = _loaded("ext_authz").http_matching(policies, provider)
    return message


def _network_custom(policies: Sequence[AuthorizationPolicy], provider: Provider | None) -> Message:
    message: Message = _loaded("ext_authz").network_matching(policies, provider)
    return message


def _http_ext_authz(provider: Provider | None, cluster: str) -> Message:
    message: Message = _loaded("ext_authz").http_asking(provider, cluster) if provider else _http_rbac(())
    return message


def _network_ext_authz(provider: Provider | None, cluster: str) -> Message:
    """An HTTP provider cannot be asked about connections: Istio lets them pass."""
    if provider is None or not provider.grpc:
        return _network_rbac(())
    message: Message = _loaded("ext_authz").network_asking(provider, cluster)
    return message


def _http_jwt(rules: Sequence[JwtRule]) -> Message:
    message: Message = _loaded("jwt").authentication(rules)
    return message


def _http_rbac(policies: Sequence[AuthorizationPolicy]) -> Message:
    message: Message = _loaded("rbac").http(policies)
    return message


def _network_rbac(policies: Sequence[AuthorizationPolicy]) -> Message:
    message: Message = _loaded("rbac").network(policies)
    return message


def extension_config(name: str, make: Make, *inputs: Any) -> TypedExtensionConfig:
    return extension(name, make(*inputs))


def _name(kind: str, place: str, owner: str) -> str:
    return f"{kind}/{place}|{owner}"


def _source(*type_urls: str) -> ExtensionConfigSource:
    return ExtensionConfigSource(config_source=ads(), type_urls=type_urls)


def _loaded(module: str) -> Any:
    """A sibling, loaded when the first waypoint connects: its messages take milliseconds, which `up` has none of."""
    return import_module(f"ambientlab.mesh.xds.{module}")
