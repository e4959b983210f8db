"""VirtualService: Istio's own routing rules (networking/v1alpha3/virtual_service.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import (
    AGE,
    Printed,
    Schema,
    array,
    at_most_one,
    boolean,
    enum,
    int32,
    mapping,
    obj,
    string,
)
from ambientlab.api.objects import Object


def _destination(doc: str) -> Schema:
    return obj(
        doc,
        {
            "host!": string("Name of a service in the registry."),
            "port": common.port_selector("Port of the service; needed if it has several."),
            "subset": string("A subset that a DestinationRule of the host defines."),
        },
    )


def _header_operations(doc: str) -> Schema:
    operations = {
        "add": common.labels("Values that are added."),
        "remove": common.strings("Headers that are removed."),
        "set": common.labels("Headers that are overwritten."),
    }
    return obj(
        doc, {"request": obj("Changes to requests.", operations), "response": obj("Changes to responses.", operations)}
    )


def _cors() -> Schema:
    return obj(
        "Answers to cross-origin requests.",
        {
            "allowCredentials": boolean("Whether requests may carry credentials.", nullable=True),
            "allowHeaders": common.strings("Request headers that are allowed."),
            "allowMethods": common.strings("Methods that are allowed."),
            "allowOrigin": common.strings("Deprecated: origins, written out."),
            "allowOrigins": array("Origins that are allowed.", common.string_match("One pattern.")),
            "exposeHeaders": common.strings("Response headers that scripts may read."),
            "maxAge": common.duration("How long a preflight answer holds."),
            "unmatchedPreflights": enum(
                "What becomes of preflight requests from other origins.", "UNSPECIFIED", "FORWARD", "IGNORE"
            ),
        },
    )


def _fault() -> Schema:
    return obj(
        "Faults that are injected before a request goes on.",
        {
            "abort": obj(
                "Answers with an error instead.",
                {
                    "grpcStatus": string("gRPC status of the answer."),
                    "http2Error": string("HTTP/2 error; not supported."),
                    "httpStatus": int32("HTTP status of the answer, 200 to 599."),
                    "percentage": common.percent("Share of requests; none if absent."),
                },
                oneOf=at_most_one("httpStatus", "grpcStatus", "http2Error"),
            ),
            "delay": obj(
                "Holds requests back.",
                {
                    "exponentialDelay": common.duration("Mean of a random delay; not supported."),
                    "fixedDelay": common.duration("How long."),
                    "percent": int32("Deprecated: share of requests in whole percent."),
                    "percentage": common.percent("Share of requests; none if absent."),
                },
                oneOf=at_most_one("fixedDelay", "exponentialDelay"),
            ),
        },
    )


def _http_match() -> Schema:
    return obj(
        "One set of conditions, all of which must hold.",
        {
            "authority": common.string_match("Host header."),
            "gateways": common.strings("Gateways at which the rule holds."),
            "headers": mapping("Headers, by lower-case name.", common.string_match("One header.")),
            "ignoreUriCase": boolean("Whether the case of exact and prefix URIs is ignored."),
            "method": common.string_match("Method."),
            "name": string("Name of the match, for statistics."),
            "port": common.uint32("Port the request was addressed to."),
            "queryParams": mapping("Query parameters.", common.string_match("One parameter.")),
            "scheme": common.string_match("Scheme."),
            "sourceLabels": common.labels("Labels of the client; has no effect at a waypoint."),
            "sourceNamespace": string("Namespace of the client."),
            "statPrefix": string("Prefix for statistics of this route."),
            "uri": common.string_match("Path."),
            "withoutHeaders": mapping("Headers that must not match.", common.string_match("One header.")),
        },
    )


def _http_route() -> Schema:
    return obj(
        "What to do with HTTP requests that match.",
        {
            "corsPolicy": _cors(),
            "delegate": obj(
                "A VirtualService that goes on from here.",
                {"name": string("Its name."), "namespace": string("Its namespace.")},
            ),
            "directResponse": obj(
                "Answers without a backend.",
                {
                    "body": obj(
                        "Body of the answer.",
                        {
                            "bytes": string("Body as base64.", format="byte"),
                            "string": string("Body as text."),
                        },
                        oneOf=at_most_one("string", "bytes"),
                    ),
                    "status!": common.uint32("HTTP status of the answer."),
                },
            ),
            "fault": _fault(),
            "headers": _header_operations("Changes to headers."),
            "match": array("Conditions, one of which must hold; always if absent.", _http_match()),
            "mirror": _destination("Where a copy of requests goes."),
            "mirror_percent": common.uint32("Deprecated: share that is mirrored.", nullable=True),
            "mirrorPercent": common.uint32("Deprecated: share that is mirrored.", nullable=True),
            "mirrorPercentage": common.percent("Share of requests that is mirrored; all if absent."),
            "mirrors": array(
                "Where copies of requests go.",
                obj(
                    "One mirror.",
                    {
                        "destination!": _destination("Where the copies go."),
                        "percentage": common.percent("Share of requests; all if absent."),
                    },
                ),
            ),
            "name": string("Name of the route, for logs."),
            "redirect": obj(
                "Answers with a redirect.",
                {
                    "authority": string("Host of the new location."),
                    "derivePort": enum("Where the port comes from.", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
                    "port": common.uint32("Port of the new location."),
                    "prefixRewrite": string("What takes the place of the matched prefix."),
                    "redirectCode": common.uint32("Status of the answer; 301 if absent."),
                    "scheme": string("Scheme of the new location."),
                    "uri": string("Path of the new location."),
                },
                oneOf=at_most_one("port", "derivePort"),
            ),
            "retries": obj(
                "When and how often to try again.",
                {
                    "attempts": int32("How often."),
                    "backoff": common.duration("Least time between attempts."),
                    "perTryTimeout": common.duration("How long one attempt may take."),
                    "retryIgnorePreviousHosts": boolean("Whether to prefer hosts not tried yet.", nullable=True),
                    "retryOn": string("On what, comma-separated, as Envoy names it."),
                    "retryRemoteLocalities": boolean("Whether other localities may be tried.", nullable=True),
                },
            ),
            "rewrite": obj(
                "Changes the URL that backends see.",
                {
                    "authority": string("The new host."),
                    "uri": string("What takes the place of the matched path or prefix."),
                    "uriRegexRewrite": obj(
                        "Rewrites the path by an expression.",
                        {
                            "match": string("An RE2 expression."),
                            "rewrite": string("What takes the place of the match."),
                        },
                    ),
                },
            ),
            "route": array(
                "Backends, by weight.",
                obj(
                    "One backend.",
                    {
                        "destination!": _destination("Where requests go."),
                        "headers": _header_operations("Changes to headers for this backend."),
                        "weight": int32("Share of the requests, relative to the sum of all weights."),
                    },
                ),
            ),
            "timeout": common.duration("How long a request may take; no limit if absent."),
        },
    )


def _plain_routes() -> Schema:
    return array(
        "Backends, by weight.",
        obj(
            "One backend.",
            {
                "destination!": _destination("Where connections go."),
                "weight": int32("Share of the connections."),
            },
        ),
    )


_L4_MATCH = {
    "destinationSubnets": common.strings("Addresses connections go to, in CIDR notation."),
    "gateways": common.strings("Gateways at which the rule holds."),
    "port": common.uint32("Port connections go to."),
    "sourceLabels": common.labels("Labels of the client."),
    "sourceNamespace": string("Namespace of the client."),
}


def _spec() -> Schema:
    return obj(
        "What is wanted.",
        {
            "exportTo": common.strings("Namespaces it is for: names, . for its own, * for all."),
            "gateways": common.strings("Gateways it is bound to; `mesh` means every client in the mesh."),
            "hosts": common.strings("Hosts it is for."),
            "http": array("Rules for HTTP, in order; the first that matches wins.", _http_route()),
            "tcp": array(
                "Rules for TCP.",
                obj(
                    "What to do with connections that match.",
                    {
                        "match": array(
                            "Conditions, one of which must hold.",
                            obj(
                                "One set of conditions.",
                                {**_L4_MATCH, "sourceSubnet": string("Deprecated: addresses of clients.")},
                            ),
                        ),
                        "route": _plain_routes(),
                    },
                ),
            ),
            "tls": array(
                "Rules for TLS that is passed through.",
                obj(
                    "What to do with connections that match.",
                    {
                        "match!": array(
                            "Conditions, one of which must hold.",
                            obj(
                                "One set of conditions.",
                                {**_L4_MATCH, "sniHosts!": common.strings("Server names that clients ask for.")},
                            ),
                        ),
                        "route": _plain_routes(),
                    },
                ),
            ),
        },
    )


def crd() -> Object:
    return common.networking(
        "VirtualService",
        "virtualservices",
        "vs",
        doc="Routes requests to hosts: matches, weights, faults, retries, timeouts.",
        spec=_spec(),
        columns=(
            Printed("Gateways", ".spec.gateways", doc="Gateways it is bound to."),
            Printed("Hosts", ".spec.hosts", doc="Hosts it is for."),
            AGE,
        ),
    )
