"""The filters of HTTPRoutes and GRPCRoutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import Schema, atomic, boolean, enum, int32, integer, keyed, obj, string, unique

PATH_CHARACTERS = "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

_FIELD_OF_TYPE = {
    "CORS": "cors",
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
    "ExternalAuth": "externalAuth",
}
_ONCE = ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")
_ORIGIN = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"


def _alone(message: str) -> list[tuple[str, str]]:
    return [(message, "!('*' in self && self.size() > 1)")]


def _cors() -> Schema:
    return obj(
        "Answers to cross-origin requests.",
        {
            "allowCredentials": boolean("Whether requests may carry credentials."),
            "allowHeaders": unique(
                "Request headers that are allowed.",
                routes.header_name("A header, or *."),
                rules=_alone("AllowHeaders cannot contain '*' alongside other methods"),
                maxItems=64,
            ),
            "allowMethods": unique(
                "Methods that are allowed.",
                enum("A method, or *.", *METHODS, "*"),
                rules=_alone("AllowMethods cannot contain '*' alongside other methods"),
                maxItems=9,
            ),
            "allowOrigins": unique(
                "Origins that are allowed.",
                string(
                    "scheme://host[:port]; the host may have a wildcard.", minLength=1, maxLength=253, pattern=_ORIGIN
                ),
                rules=_alone("AllowOrigins cannot contain '*' alongside other origins"),
                maxItems=64,
            ),
            "exposeHeaders": unique(
                "Response headers that scripts may read.", routes.header_name("A header, or *."), maxItems=64
            ),
            "maxAge": int32("Seconds for which a preflight answer holds.", minimum=1, default=5),
        },
    )


def header_modifier(doc: str) -> Schema:
    def headers(what: str) -> Schema:
        header = obj(
            "One header.",
            {
                "name!": routes.header_name("Name of the header."),
                "value!": string("Value of the header.", minLength=1, maxLength=4096, pattern=routes.HEADER_VALUE),
            },
        )
        return keyed(what, "name", header, maxItems=16)

    return obj(
        doc,
        {
            "add": headers("Values that are added."),
            "remove": unique("Headers that are removed.", {"type": "string"}, maxItems=16),
            "set": headers("Headers that are overwritten."),
        },
    )


def _path_modifier(doc: str) -> Schema:
    rules: list[tuple[str, str]] = []
    for kind, field in (("ReplaceFullPath", "replaceFullPath"), ("ReplacePrefixMatch", "replacePrefixMatch")):
        rules += [
            (
                f"{field} must be specified when type is set to '{kind}'",
                f"self.type == '{kind}' ? has(self.{field}) : true",
            ),
            (
                f"type must be '{kind}' when {field} is set",
                f"has(self.{field}) ? self.type == '{kind}' : true",
            ),
        ]
    return obj(
        doc,
        {
            "replaceFullPath": string("The new path.", maxLength=1024),
            "replacePrefixMatch": string("What takes the place of the matched prefix.", maxLength=1024),
            "type!": enum("What is replaced.", "ReplaceFullPath", "ReplacePrefixMatch"),
        },
        rules=rules,
    )


def mirror() -> Schema:
    return obj(
        "Sends a copy of requests elsewhere, and drops the answers.",
        {
            "backendRef!": routes.backend_reference("Where the copies go."),
            "fraction": obj(
                "Share of requests that are copied.",
                {
                    "denominator": int32("Of how many.", minimum=1, default=100),
                    "numerator!": int32("How many.", minimum=0),
                },
                rules=[
                    (
                        "numerator must be less than or equal to denominator",
                        "self.numerator <= self.denominator",
                    )
                ],
            ),
            "percent": int32("Percentage of requests that are copied.", minimum=0, maximum=100),
        },
        rules=[
            (
                "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
                "!(has(self.percent) && has(self.fraction))",
            )
        ],
    )


def _redirect() -> Schema:
    return obj(
        "Answers with a redirect.",
        {
            "hostname": common.precise_hostname("Host of the new location."),
            "path": _path_modifier("Path of the new location."),
            "port": common.port("Port of the new location."),
            "scheme": enum("Scheme of the new location.", "http", "https"),
            "statusCode": integer("Status of the answer.", enum=[301, 302, 303, 307, 308], default=302),
        },
    )


def _external_auth() -> Schema:
    def headers(doc: str) -> Schema:
        return unique(doc, {"type": "string"}, maxItems=64)

    rules: list[tuple[str, str]] = []
    for protocol in ("GRPC", "HTTP"):
        field = protocol.lower()
        rules += [
            (
                f"{field} must be specified when protocol is set to '{protocol}'",
                f"self.protocol == '{protocol}' ? has(self.{field}) : true",
            ),
            (
                f"protocol must be '{protocol}' when {field} is set",
                f"has(self.{field}) ? self.protocol == '{protocol}' : true",
            ),
        ]
    return obj(
        "Asks a server whether a request may pass.",
        {
            "backendRef!": routes.backend_reference("The server that is asked."),
            "forwardBody": obj(
                "Whether the server sees bodies.", {"maxSize": integer("Bytes of a body at most; none if 0.")}
            ),
            "grpc": obj("For servers of gRPC.", {"allowedHeaders": headers("Headers it sees; all if empty.")}),
            "http": obj(
                "For servers of HTTP.",
                {
                    "allowedHeaders": headers("Headers it sees besides those it always sees."),
                    "allowedResponseHeaders": headers("Headers of its answer that the backend sees; all if empty."),
                    "path": string("What comes before the path.", maxLength=1024, pattern=PATH_CHARACTERS),
                },
            ),
            "protocol!": enum("What the server speaks.", "HTTP", "GRPC"),
        },
        rules=rules,
    )


def filter_rules(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """`fields` of each type of filter."""
    rules: list[tuple[str, str]] = []
    for kind, field in fields.items():
        rules += [
            (
                f"filter.{field} must be nil if the filter.type is not {kind}",
                f"!(has(self.{field}) && self.type != '{kind}')",
            ),
            (
                f"filter.{field} must be specified for {kind} filter.type",
                f"!(!has(self.{field}) && self.type == '{kind}')",
            ),
        ]
    return rules


def extension_reference() -> Schema:
    return obj(
        "A filter of the implementation.",
        {"group!": common.group(), "kind!": common.kind(), "name!": common.object_name()},
    )


def once(kinds: Iterable[str]) -> list[tuple[str, str]]:
    return [(f"{kind} filter cannot be repeated", f"self.filter(f, f.type == '{kind}').size() <= 1") for kind in kinds]


def _filter() -> Schema:
    return obj(
        "One filter.",
        {
            "cors": _cors(),
            "extensionRef": extension_reference(),
            "externalAuth": _external_auth(),
            "requestHeaderModifier": header_modifier("Changes headers of requests."),
            "requestMirror": mirror(),
            "requestRedirect": _redirect(),
            "responseHeaderModifier": header_modifier("Changes headers of responses."),
            "type!": enum(
                "Which filter this is.",
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "RequestRedirect",
                "URLRewrite",
                "ExtensionRef",
                "CORS",
                "ExternalAuth",
            ),
            "urlRewrite": obj(
                "Changes the URL that backends see.",
                {
                    "hostname": common.precise_hostname("The new host."),
                    "path": _path_modifier("The new path."),
                },
            ),
        },
        rules=filter_rules(_FIELD_OF_TYPE),
    )


def filter_list(doc: str) -> Schema:
    return atomic(
        doc,
        _filter(),
        rules=[
            (
                "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
                "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
            ),
            *once(_ONCE),
        ],
        maxItems=16,
    )
