"""GRPCRoute: matches gRPC requests by service and method and sends them to backends by weight."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import httpfilters as filters
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import Schema, atomic, definition, enum, keyed, obj, string
from ambientlab.api.objects import Object

_SERVICE = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$"
_METHOD = "^[A-Za-z_][A-Za-z_0-9]*$"
_FIELD_OF_TYPE = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "ExtensionRef": "extensionRef",
}


def _characters(field: str, pattern: str) -> tuple[str, str]:
    return (
        f"{field} must only contain valid characters (matching {pattern})",
        f"(!has(self.type) || self.type == 'Exact') && has(self.{field}) ? "
        f'self.{field}.matches(r"""{pattern}"""): true',
    )


def _match() -> Schema:
    return obj(
        "One set of conditions, all of which must hold.",
        {
            "headers": keyed("Headers.", "name", routes.value_match("One header.", "header", 4096), maxItems=16),
            "method": obj(
                "Service and method.",
                {
                    "method": string("The method; any if absent.", maxLength=1024),
                    "service": string("The service; any if absent.", maxLength=1024),
                    "type": enum("How they are compared.", "Exact", "RegularExpression", default="Exact"),
                },
                rules=[
                    (
                        "One or both of 'service' or 'method' must be specified",
                        "has(self.type) ? has(self.service) || has(self.method) : true",
                    ),
                    _characters("service", _SERVICE),
                    _characters("method", _METHOD),
                ],
            ),
        },
    )


def _filter_list(doc: str) -> Schema:
    return atomic(
        doc,
        obj(
            "One filter.",
            {
                "extensionRef": filters.extension_reference(),
                "requestHeaderModifier": filters.header_modifier("Changes headers of requests."),
                "requestMirror": filters.mirror(),
                "responseHeaderModifier": filters.header_modifier("Changes headers of responses."),
                "type!": enum(
                    "Which filter this is.",
                    "ResponseHeaderModifier",
                    "RequestHeaderModifier",
                    "RequestMirror",
                    "ExtensionRef",
                ),
            },
            rules=filters.filter_rules(_FIELD_OF_TYPE),
        ),
        rules=filters.once(("RequestHeaderModifier", "ResponseHeaderModifier")),
        maxItems=16,
    )


def _rule() -> Schema:
    return obj(
        "What to do with requests that match.",
        {
            "backendRefs": routes.backends(_filter_list("Filters for requests to this backend.")),
            "filters": _filter_list("What is done to requests and responses on the way."),
            "matches": atomic("Conditions, one of which must hold; any request if absent.", _match(), maxItems=64),
            "name": routes.rule_name(),
            "sessionPersistence": routes.session_persistence(),
        },
    )


def crd() -> Object:
    rules = atomic(
        "Rules; the most specific match wins.",
        _rule(),
        rules=routes.rules_of_rules(lambda index: f"(has(self[{index}].matches) ? self[{index}].matches.size() : 0)"),
        maxItems=routes.MAX_RULES,
    )
    return definition(
        common.GROUP,
        "GRPCRoute",
        "grpcroutes",
        doc="Sends gRPC requests to backends, by service, method, headers and weight.",
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1",),
        storage="v1",
        columns=routes.HOSTNAMES,
        fields={
            "spec!": routes.spec(rules, hostnames=routes.hostnames()),
            "status": routes.status(),
        },
    )
