"""DestinationRule: subsets of a host and how to talk to it (networking/v1alpha3/destination_rule.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import (
    AGE,
    Printed,
    Schema,
    array,
    at_most_one,
    boolean,
    double,
    enum,
    int32,
    integer,
    mapping,
    obj,
    string,
)
from ambientlab.api.objects import Object


def connection_pool() -> Schema:
    return obj(
        "Limits on connections and requests.",
        {
            "http": obj(
                "Limits on HTTP.",
                {
                    "h2UpgradePolicy": enum(
                        "Whether HTTP/1.1 is carried as HTTP/2.", "DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"
                    ),
                    "http1MaxPendingRequests": int32("Requests that may wait for a connection."),
                    "http2KeepAlive": obj(
                        "Pings on HTTP/2 connections.",
                        {
                            "interval": common.duration("Time between pings."),
                            "timeout": common.duration("How long an answer may take."),
                        },
                    ),
                    "http2MaxRequests": int32("Requests that may be under way."),
                    "idleTimeout": common.duration("After how long an idle connection is closed."),
                    "maxConcurrentStreams": int32("Streams on one HTTP/2 connection."),
                    "maxRequestsPerConnection": int32("Requests on one connection."),
                    "maxRetries": int32("Retries that may be under way."),
                    "useClientProtocol": boolean("Whether the client's HTTP version is kept."),
                },
            ),
            "tcp": obj(
                "Limits on connections.",
                {
                    "connectTimeout": common.duration("How long connecting may take."),
                    "idleTimeout": string("After how long an idle connection is closed; 0s for never."),
                    "maxConnectionDuration": common.duration("How long a connection may live."),
                    "maxConnections": int32("Connections to the host."),
                    "tcpKeepalive": obj(
                        "TCP keep-alive probes.",
                        {
                            "interval": common.duration("Time between probes."),
                            "probes": common.uint32("Probes without answer before giving up."),
                            "time": common.duration("Idle time before the first probe."),
                        },
                    ),
                },
            ),
        },
    )


def _failover(doc: str) -> Schema:
    return array(
        doc,
        obj("From one region to another.", {"from": string("Region of the client."), "to": string("Region to go to.")}),
    )


def _consistent_hash() -> Schema:
    sources = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
    return obj(
        "The same client or session to the same endpoint.",
        {
            "httpCookie": obj(
                "Hash of a cookie, which is made if it is not there.",
                {
                    "attributes": array(
                        "More attributes of the cookie.",
                        obj(
                            "One attribute.",
                            {"name!": string("Its name."), "value": string("Its value.")},
                        ),
                    ),
                    "name!": string("Name of the cookie."),
                    "path": string("Path of the cookie."),
                    "ttl": string("How long the cookie lives."),
                },
            ),
            "httpHeaderName": string("Hash of this header."),
            "httpQueryParameterName": string("Hash of this query parameter."),
            "maglev": obj("Maglev hashing.", {"tableSize": integer("Size of the table, a prime.", minimum=0)}),
            "minimumRingSize": integer("Deprecated: see ringHash.", minimum=0),
            "ringHash": obj("Ring hashing.", {"minimumRingSize": integer("Least number of virtual nodes.", minimum=0)}),
            "useSourceIp": boolean("Hash of the client's address."),
        },
        allOf=[{"oneOf": at_most_one(*sources)}, {"oneOf": at_most_one("ringHash", "maglev")}],
    )


def _load_balancer() -> Schema:
    return obj(
        "How an endpoint is chosen.",
        {
            "consistentHash": _consistent_hash(),
            "localityLbSetting": obj(
                "Preference by locality.",
                {
                    "distribute": array(
                        "Shares of localities.",
                        obj(
                            "Shares for clients of one locality.",
                            {
                                "from": string("Locality of the client."),
                                "to": mapping("Share of each locality, in percent.", common.uint32("")),
                            },
                        ),
                    ),
                    "enabled": boolean("Whether it is on.", nullable=True),
                    "failover": _failover("Where to go when endpoints fail."),
                    "failoverPriority": common.strings("Labels, by which endpoints are ranked."),
                },
            ),
            "simple": enum(
                "A plain algorithm.",
                "UNSPECIFIED",
                "LEAST_CONN",
                "RANDOM",
                "PASSTHROUGH",
                "ROUND_ROBIN",
                "LEAST_REQUEST",
            ),
            "warmup": obj(
                "Fewer requests for new endpoints.",
                {
                    "aggression": double("How the share grows.", minimum=0, nullable=True),
                    "duration!": common.duration("For how long."),
                    "minimumPercent": double("Least share.", minimum=0, maximum=100, nullable=True),
                },
            ),
            "warmupDurationSecs": common.duration("Deprecated: see warmup."),
            "zoneAwareLbSetting": obj(
                "Preference for the client's zone.",
                {
                    "enabled": boolean("Whether it is on.", nullable=True),
                    "failover": _failover("Where to go when endpoints fail."),
                    "failoverPriority": common.strings("Labels, by which endpoints are ranked."),
                    "minClusterSize": common.uint32("Endpoints there must be for it.", minimum=1, nullable=True),
                },
            ),
        },
        oneOf=at_most_one("simple", "consistentHash"),
    )


def _outlier_detection() -> Schema:
    return obj(
        "When an endpoint is left out for a while.",
        {
            "baseEjectionTime": common.duration("For how long, at first."),
            "consecutive5xxErrors": common.uint32("After how many 5xx answers.", nullable=True),
            "consecutiveErrors": int32("Deprecated: see consecutive5xxErrors."),
            "consecutiveGatewayErrors": common.uint32("After how many 502, 503 and 504 answers.", nullable=True),
            "consecutiveLocalOriginFailures": common.uint32("After how many failures to connect.", nullable=True),
            "interval": common.duration("How often this is looked at."),
            "maxEjectionPercent": int32("Share of endpoints that may be left out."),
            "minHealthPercent": int32("Share of healthy endpoints below which none is left out."),
            "outlierDetectionHttpErrorCodes": array(
                "Answers that count as errors.", {"type": "integer", "minimum": 100, "maximum": 599}
            ),
            "splitExternalLocalOriginErrors": boolean("Whether failures to connect count on their own."),
        },
    )


def _tls() -> Schema:
    return obj(
        "TLS towards the host.",
        {
            "caCertificates": string("File with authorities that are trusted."),
            "caCrl": string("File with revoked certificates."),
            "clientCertificate": string("File with the client's certificate."),
            "credentialName": string("Secret with certificates."),
            "insecureSkipVerify": boolean("Whether the host's certificate goes unchecked.", nullable=True),
            "mode": enum("Whether and how TLS is used.", "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"),
            "privateKey": string("File with the client's key."),
            "sni": string("Server name to ask for."),
            "subjectAltNames": common.strings("Names the host's certificate may have."),
        },
    )


def _traffic_policy(doc: str) -> Schema:
    shared = {
        "connectionPool": connection_pool(),
        "loadBalancer": _load_balancer(),
        "outlierDetection": _outlier_detection(),
        "tls": _tls(),
    }
    return obj(
        doc,
        {
            **shared,
            "portLevelSettings": array(
                "Settings for single ports.",
                obj("Settings for one port.", {**shared, "port": common.port_selector("The port.")}),
                maxItems=4096,
            ),
            "proxyProtocol": obj("PROXY protocol towards the host.", {"version": enum("Its version.", "V1", "V2")}),
            "retryBudget": obj(
                "Limit on retries, relative to requests.",
                {
                    "budgetInterval": string("Time over which requests are counted."),
                    "minRetryConcurrency": common.uint32("Retries that are always allowed."),
                    "percent": double("Share of requests.", minimum=0, maximum=100, nullable=True),
                },
            ),
            "tunnel": obj(
                "Carries connections through a proxy.",
                {
                    "protocol": string("CONNECT or POST."),
                    "targetHost!": string("Host that the proxy connects to."),
                    "targetPort!": common.uint32("Port that the proxy connects to."),
                },
            ),
        },
    )


def _spec() -> Schema:
    return obj(
        "What is wanted.",
        {
            "exportTo": common.strings("Namespaces it is for: names, . for its own, * for all."),
            "host!": string("Name of a service in the registry."),
            "subsets": array(
                "Named groups of the host's endpoints.",
                obj(
                    "One group.",
                    {
                        "labels": common.labels("Labels of the endpoints."),
                        "name!": string("Name of the subset."),
                        "trafficPolicy": _traffic_policy("What holds for this subset."),
                    },
                ),
            ),
            "trafficPolicy": _traffic_policy("What holds for the host."),
            "workloadSelector": common.workload_selector("Clients it is for; all if absent."),
        },
    )


def crd() -> Object:
    return common.networking(
        "DestinationRule",
        "destinationrules",
        "dr",
        doc="Subsets of a host, and how connections to it are made.",
        spec=_spec(),
        columns=(Printed("Host", ".spec.host", doc="Service it is for."), AGE),
    )
