"""The filters of an HTTPRoute, and what they refer to."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds.dsl import Schema, atomic, boolean, enum, int32, integer, keyed, obj, string, unique

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

_FIELD_OF_TYPE = {
    "CORS": "cors",
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
}
_ONCE = ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")
_ORIGIN = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"


def header_name(doc: str) -> Schema:
    return string(doc, minLength=1, maxLength=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")


def backend_reference(doc: str) -> Schema:
    return obj(
        doc,
        {
            "group": common.group(default=""),
            "kind": common.kind(default="Service"),
            "name!": common.object_name(),
            "namespace": common.namespace("Namespace of the referent; another one needs a ReferenceGrant there."),
            "port": common.port("Port of the Service."),
        },
        rules=[
            (
                "Must have port for Service reference",
                "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
            )
        ],
    )


def _alone(message: str) -> list[tuple[str, str]]:
    return [(message, "!('*' in self && self.size() > 1)")]


def _cors() -> Schema:
    return obj(
        "Answers to cross-origin requests.",
        {
            "allowCredentials": boolean("Whether requests may carry credentials."),
            "allowHeaders": unique(
                "Request headers that are allowed.",
                header_name("A header, or *."),
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
                "Response headers that scripts may read.", header_name("A header, or *."), maxItems=64
            ),
            "maxAge": int32("Seconds for which a preflight answer holds.", minimum=1, default=5),
        },
    )


def _header_modifier(doc: str) -> Schema:
    def headers(what: str) -> Schema:
        header = obj(
            "One header.",
            {
                "name!": header_name("Name of the header."),
                "value!": string("Value of the header.", minLength=1, maxLength=4096),
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


def _mirror() -> Schema:
    return obj(
        "Sends a copy of requests elsewhere, and drops the answers.",
        {
            "backendRef!": backend_reference("Where the copies go."),
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


def _filter_rules() -> list[tuple[str, str]]:
    rules: list[tuple[str, str]] = []
    for kind, field in _FIELD_OF_TYPE.items():
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


def _filter() -> Schema:
    return obj(
        "One filter.",
        {
            "cors": _cors(),
            "extensionRef": obj(
                "A filter of the implementation.",
                {"group!": common.group(), "kind!": common.kind(), "name!": common.object_name()},
            ),
            "requestHeaderModifier": _header_modifier("Changes headers of requests."),
            "requestMirror": _mirror(),
            "requestRedirect": _redirect(),
            "responseHeaderModifier": _header_modifier("Changes headers of responses."),
            "type!": enum(
                "Which filter this is.",
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "RequestRedirect",
                "URLRewrite",
                "ExtensionRef",
                "CORS",
            ),
            "urlRewrite": obj(
                "Changes the URL that backends see.",
                {
                    "hostname": common.precise_hostname("The new host."),
                    "path": _path_modifier("The new path."),
                },
            ),
        },
        rules=_filter_rules(),
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
            *(
                (f"{kind} filter cannot be repeated", f"self.filter(f, f.type == '{kind}').size() <= 1")
                for kind in _ONCE
            ),
        ],
        maxItems=16,
    )
