"""HTTPRoute: matches requests and sends them to backends by weight."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import httpfilters as filters
from ambientlab.api.crds.dsl import (
    AGE,
    Printed,
    Schema,
    atomic,
    definition,
    enum,
    int32,
    keyed,
    obj,
    string,
)
from ambientlab.api.objects import Object

_DEFAULT_PATH = {"type": "PathPrefix", "value": "/"}
_PLAIN = "(self.type in ['Exact','PathPrefix'])"
_PLAIN_TEXT = "when type one of ['Exact', 'PathPrefix']"
_PATH_CHARACTERS = "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
_MAX_RULES = 16

_SAME_OBJECT = (
    "p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name && "
    "(((!has(p1.__namespace__) || p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == '')) || "
    "(has(p1.__namespace__) && has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__ ))"
)
_PARENT_RULES = [
    (
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.all(p2, {_SAME_OBJECT} ? ((!has(p1.sectionName) || p1.sectionName == '') == "
        "(!has(p2.sectionName) || p2.sectionName == '')) : true))",
    ),
    (
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.exists_one(p2, {_SAME_OBJECT} && (((!has(p1.sectionName) || p1.sectionName == '') && "
        "(!has(p2.sectionName) || p2.sectionName == '')) || (has(p1.sectionName) && has(p2.sectionName) && "
        "p1.sectionName == p2.sectionName))))",
    ),
]


def parent_reference(doc: str) -> Schema:
    return obj(
        doc,
        {
            "group": common.group(default=common.GROUP),
            "kind": common.kind("Gateway, or Service for traffic inside the mesh.", default="Gateway"),
            "name!": common.object_name(),
            "namespace": common.namespace(),
            "port": common.port("The port of the parent that is meant; all if absent."),
            "sectionName": common.section_name("The listener or named port that is meant; all if absent."),
        },
    )


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
            f"must only contain valid characters (matching {_PATH_CHARACTERS}) for types ['Exact', 'PathPrefix']",
            f'{_PLAIN} ? self.value.matches(r"""{_PATH_CHARACTERS}""") : true',
        ),
    ]


def _value_match(doc: str, what: str, limit: int) -> Schema:
    return obj(
        doc,
        {
            "name!": filters.header_name(f"Name of the {what}."),
            "type": enum("How the value is compared.", "Exact", "RegularExpression", default="Exact"),
            "value!": string(f"Value of the {what}.", minLength=1, maxLength=limit),
        },
    )


def _match() -> Schema:
    return obj(
        "One set of conditions, all of which must hold.",
        {
            "headers": keyed("Headers.", "name", _value_match("One header.", "header", 4096), maxItems=16),
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
                "Query parameters.", "name", _value_match("One parameter.", "parameter", 1024), maxItems=16
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


def _backend() -> Schema:
    reference = filters.backend_reference("Where requests go, and how many of them.")
    reference["properties"] = {
        "filters": filters.filter_list("Filters for requests to this backend."),
        **reference["properties"],
        "weight": int32(
            "Share of the requests, relative to the sum of all weights.", minimum=0, maximum=1_000_000, default=1
        ),
    }
    return reference


def _duration(doc: str) -> Schema:
    return string(doc, pattern="^([0-9]{1,5}(h|m|s|ms)){1,4}$")


def _rule() -> Schema:
    return obj(
        "What to do with requests that match.",
        {
            "backendRefs": atomic("Backends, by weight.", _backend(), maxItems=16),
            "filters": filters.filter_list("What is done to requests and responses on the way."),
            "matches": atomic(
                "Conditions, one of which must hold.", _match(), maxItems=64, default=[{"path": _DEFAULT_PATH}]
            ),
            "name": common.section_name("Name of the rule, unique in its route."),
            "timeouts": obj(
                "How long things may take.",
                {
                    "backendRequest": _duration("One attempt at a backend."),
                    "request": _duration("The request as a whole, retries included; 0s for no limit."),
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
    counts = " + ".join(f"(self.size() > {index} ? self[{index}].matches.size() : 0)" for index in range(_MAX_RULES))
    return obj(
        "What is wanted.",
        {
            "hostnames": atomic(
                "Hosts the route is for; those of its parents if absent.", common.hostname("One host."), maxItems=16
            ),
            "parentRefs": atomic(
                "What the route attaches to.", parent_reference("One parent."), rules=_PARENT_RULES, maxItems=32
            ),
            "rules": atomic(
                "Rules; the most specific match wins.",
                _rule(),
                rules=[
                    (
                        "While 16 rules and 64 matches per rule are allowed, the total number of matches across all "
                        "rules in a route must be less than 128",
                        f"{counts} <= 128",
                    )
                ],
                minItems=1,
                maxItems=_MAX_RULES,
                default=[{"matches": [{"path": _DEFAULT_PATH}]}],
            ),
        },
    )


def _status() -> Schema:
    return obj(
        "What became of it at each parent.",
        {
            "parents!": atomic(
                "One entry for each parent and controller.",
                obj(
                    "State at one parent.",
                    {
                        "conditions!": common.conditions(minItems=1),
                        "controllerName!": common.controller_name("Who says so."),
                        "parentRef!": parent_reference("The parent, as the spec names it."),
                    },
                ),
                maxItems=32,
            )
        },
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
        columns=(Printed("Hostnames", ".spec.hostnames"), AGE),
        fields={"spec!": _spec(), "status": _status()},
    )
