"""The filters that enforce a Guard, as places in filter chains whose content comes by itself (ECDS).

A chain has the same places with a policy and without: one that has nothing to do lets everything pass. So a policy
touches no listener, takes effect on the next request of an open connection, and cuts none. For requests there is one
place, whose content is a chain of the filters that are needed, since each filter costs every request; those that routes
tell what to do are there as well. For connections there is one for each. Filters are in Istio's order
(buildWaypointHTTPFilters in pilot/pkg/networking/core/listener_waypoint.go, and build in
pilot/pkg/security/authz/builder/builder.go). A place whose content never arrives refuses everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.message import Message

from ambientlab.mesh.ir import AuthorizationPolicy, Guard, PolicyAction, Provider
from ambientlab.mesh.xds import routes
from ambientlab.mesh.xds.messages import ads, extension
from ambientlab.mesh.xds.types import PREFIX

DIRECT = "direct"
"""Whose policies are enforced where a workload is asked for by its own address."""

_FILTER_CHAIN = f"{PREFIX}envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig"
_NETWORK_EXT_AUTHZ = f"{PREFIX}envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
_NETWORK_RBAC = f"{PREFIX}envoy.extensions.filters.network.rbac.v3.RBAC"
_ACTIONS: Mapping[str, PolicyAction] = MappingProxyType(
    {"audit": PolicyAction.AUDIT, "deny": PolicyAction.DENY, "allow": PolicyAction.ALLOW}
)
"""Place -> the action of the policies in it."""


def http_place(owner: str) -> HttpFilter:
    """`owner` is the host that the chain is for, or the chain's own name."""
    return HttpFilter(name=_http_name(owner), config_discovery=_source(_FILTER_CHAIN))


def network_places(owner: str) -> list[Filter]:
    places = {"custom": (_NETWORK_RBAC,), "ext-authz": (_NETWORK_RBAC, _NETWORK_EXT_AUTHZ)}
    places |= dict.fromkeys(_ACTIONS, (_NETWORK_RBAC,))
    return [
        Filter(name=_network_name(place, owner), config_discovery=_source(*type_urls))
        for place, type_urls in places.items()
    ]


def http_content(
    owner: str, guard: Guard, cluster: str = "", of_routes: frozenset[str] = frozenset()
) -> TypedExtensionConfig:
    """What is in the place of `owner`'s HTTP chains; `cluster` is the provider's, `of_routes` what else routes need."""
    filters: dict[str, Message] = {}
    if guard.tells_client:
        filters["xfcc"] = _loaded("xfcc").client_identity()
    if custom := guard.of(PolicyAction.CUSTOM):
        filters["custom"] = _loaded("ext_authz").http_matching(custom, guard.provider)
        if guard.provider is not None:
            filters["ext-authz"] = _loaded("ext_authz").http_asking(guard.provider, cluster)
    if guard.jwt_rules:
        filters["jwt"] = _loaded("jwt").authentication(guard.jwt_rules)
    for place, action in _ACTIONS.items():
        if policies := guard.of(action):
            filters[place] = _loaded("rbac").http(policies)
    filters.update(routes.filter_configs(of_routes))
    chain = _loaded("filter_chain").filter_chain(extension(*each) for each in filters.items())
    return extension(_http_name(owner), chain)


def network_contents(owner: str, guard: Guard, cluster: str = "") -> Iterator[TypedExtensionConfig]:
    custom = _loaded("ext_authz").network_matching(guard.of(PolicyAction.CUSTOM), guard.provider)
    yield extension(_network_name("custom", owner), custom)
    yield extension(_network_name("ext-authz", owner), _network_ext_authz(guard.provider, cluster))
    for place, action in _ACTIONS.items():
        yield extension(_network_name(place, owner), _network_rbac(guard.of(action)))


def _network_ext_authz(provider: Provider | None, cluster: str) -> Message:
    """An HTTP provider cannot be asked about connections: Istio lets them pass."""
    if provider is None or not provider.grpc:
        return _network_rbac(())
    message: Message = _loaded("ext_authz").network_asking(provider, cluster)
    return message


def _network_rbac(policies: Sequence[AuthorizationPolicy]) -> Message:
    message: Message = _loaded("rbac").network(policies)
    return message


def owner_of(name: str) -> str:
    """The host that the content of this name is for, "" for workloads asked for by their own address."""
    owner = name.partition("|")[2]
    return "" if owner == DIRECT else owner


def _http_name(owner: str) -> str:
    return f"http|{owner}"


def _network_name(place: str, owner: str) -> str:
    return f"tcp/{place}|{owner}"


def _source(*type_urls: str) -> ExtensionConfigSource:
    return ExtensionConfigSource(config_source=ads(), type_urls=type_urls)


def _loaded(module: str) -> Any:
    """A sibling, loaded when the first waypoint connects: its messages take milliseconds, which `up` has none of."""
    return import_module(f"ambientlab.mesh.xds.{module}")
