"""Telemetry: what proxies write down of the traffic they carry (telemetry/v1alpha1/telemetry.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import Schema, array, at_most_one, boolean, double, enum, mapping, obj, string
from ambientlab.api.objects import Object

_METRICS = (
    "ALL_METRICS", "REQUEST_COUNT", "REQUEST_DURATION", "REQUEST_SIZE", "RESPONSE_SIZE", "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES", "TCP_RECEIVED_BYTES", "GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES",
)  # fmt: skip


def _mode() -> Schema:
    return enum("Which side of the traffic is meant; a waypoint is a server.", "CLIENT_AND_SERVER", "CLIENT", "SERVER")


def _match() -> Schema:
    return obj("Which traffic is meant.", {"mode": _mode()})


def _providers() -> Schema:
    one = obj("One provider.", {"name!": string("Its name in the mesh's configuration.", minLength=1)})
    return array("Where it goes; those of a wider scope if there are none.", one)


def _access_logging() -> Schema:
    return obj(
        "One rule.",
        {
            "disabled": boolean("Whether nothing is logged.", nullable=True),
            "filter": obj(
                "What is worth a line.", {"expression": string("CEL over the attributes of a request or connection.")}
            ),
            "match": _match(),
            "providers": _providers(),
        },
    )


def _override() -> Schema:
    selector = obj(
        "Which metrics are meant.",
        {
            "customMetric": string("One that is not Istio's.", minLength=1),
            "metric": enum("One of Istio's, or all of them.", *_METRICS),
            "mode": _mode(),
        },
        oneOf=at_most_one("metric", "customMetric"),
    )
    tag = obj(
        "What becomes of one label.",
        {
            "operation": enum("Whether it is set or left out.", "UPSERT", "REMOVE"),
            "value": string("CEL for its value."),
        },
        rules=[
            (
                "value must be set when operation is UPSERT",
                '((has(self.operation) ? self.operation : "") == "UPSERT") ? (self.value != "") : true',
            ),
            (
                "value must not be set when operation is REMOVE",
                '((has(self.operation) ? self.operation : "") == "REMOVE") ? !has(self.value) : true',
            ),
        ],
    )
    return obj(
        "One change.",
        {
            "disabled": boolean("Whether the metrics are not counted.", nullable=True),
            "match": selector,
            "tagOverrides": mapping("Changes of labels, by name.", tag),
        },
    )


def _tracing() -> Schema:
    def named(doc: str) -> Schema:
        return obj(doc, {"name!": string("Its name.", minLength=1), "defaultValue": string("What else to say.")})

    def valued(doc: str) -> Schema:
        return obj(doc, {"value!": string("The text.", minLength=1)})

    kinds = {
        "environment": named("A variable of the proxy's environment."),
        "formatter": valued("A format of access logs."),
        "header": named("A header of the request."),
        "literal": valued("A text."),
    }
    return obj(
        "One rule.",
        {
            "customTags": mapping("More tags of spans.", obj("One tag.", kinds, oneOf=at_most_one(*_KINDS))),
            "disableContextPropagation": boolean("Whether headers with the context are not passed on.", nullable=True),
            "disableSpanReporting": boolean("Whether no spans are reported.", nullable=True),
            "enableIstioTags": boolean("Whether spans have Istio's own tags.", nullable=True),
            "match": _match(),
            "providers": _providers(),
            "randomSamplingPercentage": double(
                "Share of requests without a decision that are sampled.", minimum=0, maximum=100, nullable=True
            ),
            "useRequestIdForTraceSampling": boolean("Whether the request's id decides.", nullable=True),
        },
    )


_KINDS = ("literal", "environment", "header", "formatter")


def crd() -> Object:
    metrics = {
        "overrides": array("Changes, the later ones on top.", _override()),
        "providers": _providers(),
        "reportingInterval": common.duration("How often metrics of connections are reported."),
    }
    spec = obj(
        "What is wanted.",
        common.targeted(
            {
                "accessLogging": array("Access logs.", _access_logging()),
                "metrics": array("Metrics.", obj("One rule.", metrics)),
                "tracing": array("Spans.", _tracing()),
            }
        ),
        rules=common.ONE_TARGETING,
    )
    return common.telemetry(
        "Telemetry", "telemetries", "telemetry", doc="Logs, metrics and spans of the proxies.", spec=spec
    )
