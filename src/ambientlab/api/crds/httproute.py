"""HTTPRoute: matches requests and sends them to backends by weight."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import httpfilters as filters
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import Schema, atomic, definition, enum, integer, keyed, obj, string, unique
from ambientlab.api.crds.httpfilters import PATH_CHARACTERS
from ambientlab.api.objects import Object

_DEFAULT_PATH = {"type": "PathPrefix", "value": "/"}
_PLAIN = "(self.type in ['Exact','PathPrefix'])"
_PLAIN_TEXT = "when type one of ['Exact', 'PathPrefix']"


def _path_rules() -> list[tuple[str, str]]:
    def rule(text: str, condition: str) -> tuple[str, str]:
        return f"{text} {_PLAIN_TEXT}", f"{_PLAIN} ? {condition} : true"

    return [
        rule("value must be an absolute path and start with '/'", "self.value.startsWith('/')"),
        *(
            rule(f"must not contain '{part}'", f"!self.value.contains('{part}')")
            for part in ("//", "/./", "/../", "%2f", "%2F", "#")
        ),
        *(rule(f"must not end with '{part}'", f"!self.value.endsWith('{part}')") for part in ("/..", "/.")),
        (
            "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']",
            "self.type in ['Exact','PathPrefix'] || self.type == 'RegularExpression'",
        ),
        (
            f"must only contain valid characters (matching {PATH_CHARACTERS}) for types ['Exact', 'PathPrefix']",
            f'{_PLAIN} ? self.value.matches(r"""{PATH_CHARACTERS}""") : true',
        ),
    ]


def _match() -> Schema:
    return obj(
        "One set of conditions, all of which must hold.",
        {
            "headers": keyed(
                "Headers.",
                "name",
                routes.value_match("One header.", "header", 4096, pattern=routes.HEADER_VALUE),
                maxItems=16,
            ),
            "method": enum("Method.", *filters.METHODS),
            "path": obj(
                "Path.",
                {
                    "type": enum(
                        "How the path is compared.",
                        "Exact",
                        "PathPrefix",
                        "RegularExpression",
                        default="PathPrefix",
                    ),
                    "value": string("The path, or the expression.", maxLength=1024, default="/"),
                },
                rules=_path_rules(),
                default=_DEFAULT_PATH,
            ),
            "queryParams": keyed(
                "Query parameters.", "name", routes.value_match("One parameter.", "parameter", 1024), maxItems=16
            ),
        },
    )


def _prefix_rule(message: str, found: str) -> tuple[str, str]:
    """A filter that replaces the matched prefix needs a prefix to have been matched."""
    rule = (
        f"({found}) ? ((size(self.matches) != 1 || !has(self.matches[0].path) || "
        "self.matches[0].path.type != 'PathPrefix') ? false : true) : true"
    )
    return f"{message} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified", rule


def _rule_rules() -> list[tuple[str, str]]:
    def replaces(field: str) -> str:
        return (
            f"exists_one(f, has(f.{field}) && has(f.{field}.path) && f.{field}.path.type == 'ReplacePrefixMatch' && "
            f"has(f.{field}.path.replacePrefixMatch))"
        )

    def own(field: str) -> str:
        return f"has(self.filters) && self.filters.{replaces(field)}"

    def backend(field: str) -> str:
        inner = f"(has(b.filters) && b.filters.{replaces(field)})"
        return f"has(self.backendRefs) && self.backendRefs.exists_one(b, {inner} )"

    return [
        (
            "RequestRedirect filter must not be used together with backendRefs",
            "(has(self.backendRefs) && size(self.backendRefs) > 0) ? "
            "(!has(self.filters) || self.filters.all(f, !has(f.requestRedirect))): true",
        ),
        _prefix_rule("When using RequestRedirect", own("requestRedirect")),
        _prefix_rule("When using URLRewrite", own("urlRewrite")),
        _prefix_rule("Within backendRefs, when using RequestRedirect", backend("requestRedirect")),
        _prefix_rule("Within backendRefs, When using URLRewrite", backend("urlRewrite")),
    ]


def _rule() -> Schema:
    return obj(
        "What to do with requests that match.",
        {
            "backendRefs": routes.backends(filters.filter_list("Filters for requests to this backend.")),
            "filters": filters.filter_list("What is done to requests and responses on the way."),
            "matches": atomic(
                "Conditions, one of which must hold.", _match(), maxItems=64, default=[{"path": _DEFAULT_PATH}]
            ),
            "name": routes.rule_name(),
            "retry": obj(
                "When a request is sent once more.",
                {
                    "attempts": integer("How often at most, the first time not counted.", minimum=1),
                    "backoff": routes.duration("How long to wait before."),
                    "codes": unique(
                        "Statuses of answers that are not taken for one.", integer("", minimum=400, maximum=599)
                    ),
                },
            ),
            "sessionPersistence": routes.session_persistence(),
            "timeouts": obj(
                "How long things may take.",
                {
                    "backendRequest": routes.duration("One attempt at a backend."),
                    "request": routes.duration("The request as a whole, retries included; 0s for no limit."),
                },
                rules=[
                    (
                        "backendRequest timeout cannot be longer than request timeout",
                        "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') "
                        "&& duration(self.backendRequest) > duration(self.request))",
                    )
                ],
            ),
        },
        rules=_rule_rules(),
    )


def _spec() -> Schema:
    return routes.spec(
        atomic(
            "Rules; the most specific match wins.",
            _rule(),
            rules=routes.rules_of_rules(lambda index: f"self[{index}].matches.size()"),
            minItems=1,
            maxItems=routes.MAX_RULES,
            default=[{"matches": [{"path": _DEFAULT_PATH}]}],
        ),
        hostnames=routes.hostnames(),
    )


def crd() -> Object:
    return definition(
        common.GROUP,
        "HTTPRoute",
        "httproutes",
        doc="Sends HTTP requests to backends, by host, path, headers and weight.",
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1", "v1beta1"),
        storage="v1",
        columns=routes.HOSTNAMES,
        fields={"spec!": _spec(), "status": routes.status()},
    )
