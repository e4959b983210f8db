"""EnvoyFilter: patches of what the control plane tells Envoy (networking/v1alpha3/envoy_filter.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import Schema, any_object, array, at_most_one, enum, int32, mapping, obj, string
from ambientlab.api.objects import Object

_KINDS = ("listener", "routeConfiguration", "cluster", "waypoint")


def _filter(doc: str) -> Schema:
    return obj(
        doc,
        {
            "name": string("Name of the filter."),
            "subFilter": obj("A filter of HTTP within it.", {"name": string("Name of the filter.")}),
        },
    )


def _listener() -> Schema:
    chain = {
        "applicationProtocols": string("Application protocols it is for."),
        "destinationPort": common.uint32("Port it is for."),
        "filter": _filter("A filter of it."),
        "name": string("Name of the chain."),
        "sni": string("Server name it is for."),
        "transportProtocol": string("Transport protocol it is for."),
    }
    return obj(
        "A listener.",
        {
            "filterChain": obj("A chain of it.", chain),
            "listenerFilter": string("Name of a listener filter."),
            "name": string("Name of the listener."),
            "portName": string("Name of the port, of gateways."),
            "portNumber": common.uint32("Number of the port."),
        },
    )


def _routes() -> Schema:
    route = {
        "action": enum("What the route does.", "ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"),
        "name": string("Name of the route."),
    }
    host = {
        "domainName": string("A domain of the virtual host."),
        "name": string("Name of the virtual host."),
        "route": obj("A route of it.", route),
    }
    return obj(
        "A route configuration.",
        {
            "gateway": string("The Gateway it was made for."),
            "name": string("Name of the configuration."),
            "portName": string("Name of the port, of gateways."),
            "portNumber": common.uint32("Number of the port."),
            "vhost": obj("A virtual host of it.", host),
        },
    )


def _match() -> Schema:
    port = [("port must be between 1-65535", "0 < self && self <= 65535")]
    return obj(
        "Where the patch applies; everywhere if absent.",
        {
            "cluster": obj(
                "A cluster.",
                {
                    "name": string("Name of the cluster."),
                    "portNumber": common.uint32("Port of the service."),
                    "service": string("The service's fully qualified name."),
                    "subset": string("Subset of the service."),
                },
            ),
            "context": enum("Which proxies.", "ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"),
            "listener": _listener(),
            "proxy": obj(
                "Which proxies, by what they say of themselves.",
                {
                    "metadata": mapping("Metadata they must have.", {"type": "string"}),
                    "proxyVersion": string("A regular expression for their version."),
                },
            ),
            "routeConfiguration": _routes(),
            "waypoint": obj(
                "A place in a waypoint.",
                {
                    "filter": _filter("A filter of its chains."),
                    "portNumber": common.uint32("Port of the service.", rules=port),
                    "route": obj("A route.", {"name": string("Name of the route.")}),
                },
            ),
        },
        oneOf=at_most_one(*_KINDS),
        rules=[
            (
                "only support waypointMatch when context is WAYPOINT",
                'has(self.context) ? ((self.context == "WAYPOINT") ? has(self.waypoint) : !has(self.waypoint)) : '
                "!has(self.waypoint)",
            )
        ],
    )


def _patch() -> Schema:
    return obj(
        "What to change.",
        {
            "filterClass": enum("Where among filters of its kind.", "UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"),
            "operation": enum(
                "How.",
                *("INVALID", "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE"),
                "MERGE_AND_REPLACE_LIST",
            ),
            "value": any_object("Envoy's own configuration, in JSON."),
        },
    )


def crd() -> Object:
    patch = {
        "applyTo": enum(
            "What kind of thing.",
            *("INVALID", "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION"),
            *("VIRTUAL_HOST", "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER"),
        ),
        "match": _match(),
        "patch": _patch(),
    }
    return common.networking(
        "EnvoyFilter",
        "envoyfilters",
        doc="Changes to what the control plane tells Envoy.",
        versions=("v1alpha3",),
        columns=(),
        spec=obj(
            "What to change, and where.",
            {
                "configPatches": array("The changes, in their order.", obj("One change.", patch)),
                "priority": int32("The order among EnvoyFilters; lower ones first."),
                "targetRefs": common.target_refs("The objects whose proxies are meant."),
                "workloadSelector": common.labelled_workloads("The workloads whose proxies are meant."),
            },
            rules=[
                (
                    "only one of targetRefs or workloadSelector can be set",
                    "(has(self.workloadSelector) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",
                )
            ],
        ),
    )
