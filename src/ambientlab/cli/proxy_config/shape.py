"""What is read of Envoy's admin interface: envoy/admin/v3/config_dump.proto and clusters.proto, and what these lead to.

Envoy's own messages would do as well, and take longer to import than a command to run.
"""

from __future__ import annotations

from typing import Any

from ambientlab.cli.shapes import Shape, boolean, each, message, number, struct, text, values

HTTP = "envoy.filters.network.http_connection_manager"
TCP = "envoy.filters.network.tcp_proxy"


def _texts(*fields: str) -> dict[str, Shape]:
    return dict.fromkeys(fields, text)


def _list_of(shape: Shape, field: str, *lists: str) -> dict[str, Shape]:
    """Lists of messages that have this in a field."""
    return dict.fromkeys(lists, each(message({field: shape})))


_ADDRESS = message(
    {
        "socket_address": message({"address": text, "port_value": number}),
        "pipe": message({"path": text}),
        "envoy_internal_address": message(_texts("server_listener_name", "endpoint_id")),
    }
)
_METADATA = message({"filter_metadata": values(struct)})

_CLUSTER = message(
    {**_texts("name", "type"), "cluster_type": message({"name": text}), "metadata": _METADATA},
)

_PATH = message({**_texts("prefix", "path_separated_prefix", "path"), "safe_regex": message({"regex": text})})
_ROUTE = message({"match": _PATH, "metadata": _METADATA, "route": message({"cluster": text})})
_VIRTUAL_HOST = message({"name": text, "domains": each(text), "routes": each(_ROUTE)})
_ROUTES = message({"name": text, "virtual_hosts": each(_VIRTUAL_HOST)})

_FILTERS = {
    HTTP: message({"route_config": _ROUTES, "rds": message({"route_config_name": text})}),
    TCP: message({"cluster": text}),
}


def _filter(value: Any) -> Any:
    """Another filter's configuration has fields of its own under the same names."""
    name = message({"name": text})(value).get("name", "")
    return message({"typed_config": _FILTERS.get(name, struct)})(value)


_RANGE = message({"address_prefix": text, "prefix_len": number})
_CHAIN = message(
    {
        "name": text,
        "filters": each(_filter),
        "filter_chain_match": message(
            {
                "server_names": each(text),
                "transport_protocol": text,
                "application_protocols": each(text),
                "destination_port": number,
                "prefix_ranges": each(_RANGE),
            }
        ),
    }
)


def _on_match(value: Any) -> Any:
    return message({"action": message({"name": text}), "matcher": _matcher})(value)


def _matcher(value: Any) -> Any:
    networks = message({"range_matchers": each(message({"ranges": each(_RANGE), "on_match": _on_match}))})
    tree = {
        "input": message({"name": text}),
        "exact_match_map": message({"map": values(_on_match)}),
        "custom_match": message({"typed_config": networks}),
    }
    return message({"on_no_match": _on_match, "matcher_tree": message(tree)})(value)


_LISTENER = message(
    {
        "name": text,
        "address": _ADDRESS,
        "additional_addresses": each(message({"address": _ADDRESS})),
        "filter_chains": each(_CHAIN),
        "default_filter_chain": _CHAIN,
        "filter_chain_matcher": _matcher,
    }
)

_LB_ENDPOINT = message({"endpoint": message({"address": _ADDRESS}), "health_status": text})
_LOCALITY = message({"locality": message(_texts("region", "zone", "sub_zone")), "lb_endpoints": each(_LB_ENDPOINT)})
_ASSIGNMENT = message({"cluster_name": text, "endpoints": each(_LOCALITY)})

_BYTES = message({"inline_bytes": text})
_SECRET = message(
    {
        "tls_certificate": message({"certificate_chain": _BYTES}),
        "validation_context": message({"trusted_ca": _BYTES}),
    }
)
_SECRETS = each(message({"name": text, "secret": _SECRET}))

_VERSION = message(dict.fromkeys(("major_number", "minor_number", "patch"), number))
_NODE = message({"metadata": struct, "user_agent_build_version": message({"version": _VERSION, "metadata": struct})})

_SECTIONS = {
    "ClustersConfigDump": _list_of(_CLUSTER, "cluster", "dynamic_active_clusters", "static_clusters"),
    "ListenersConfigDump": {
        **_list_of(message({"listener": _LISTENER}), "active_state", "dynamic_listeners"),
        **_list_of(_LISTENER, "listener", "static_listeners"),
    },
    "RoutesConfigDump": {
        "dynamic_route_configs": each(message({"route_config": _ROUTES, "last_updated": text})),
        **_list_of(_ROUTES, "route_config", "static_route_configs"),
    },
    "EndpointsConfigDump": _list_of(
        _ASSIGNMENT, "endpoint_config", "dynamic_endpoint_configs", "static_endpoint_configs"
    ),
    "SecretsConfigDump": {"dynamic_warming_secrets": _SECRETS, "dynamic_active_secrets": _SECRETS},
    "BootstrapConfigDump": {"bootstrap": message({"node": _NODE})},
    "EcdsConfigDump": _list_of(
        message({"name": text, "typed_config": message({"@type": text})}), "ecds_filter", "ecds_filters"
    ),
}
"""By the name of the section's type."""


def _section(value: Any) -> Any:
    kind = message({"@type": text})(value).get("@type", "")
    return message(_SECTIONS.get(kind.rpartition(".")[2], {}))(value)


CONFIG_DUMP = message({"configs": each(_section)})

_HOST = message(
    {"address": _ADDRESS, "health_status": message({"eds_health_status": text, "failed_outlier_check": boolean})}
)
CLUSTERS = message({"cluster_statuses": each(message({"name": text, "host_statuses": each(_HOST)}))})
