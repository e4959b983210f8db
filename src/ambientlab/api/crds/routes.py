"""What the kinds of routes have in common (gateway.networking.k8s.io, CommonRouteSpec, RouteStatus, BackendRef)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds.dsl import AGE, Printed, Rules, Schema, atomic, enum, int32, obj, string

MAX_RULES = 16
HOSTNAMES = (Printed("Hostnames", ".spec.hostnames"), AGE)
HEADER_VALUE = r"^[!-~]+([\t ]?[!-~]+)*$"

_HERE = "((!has(p1.__namespace__) || p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == ''))"
_THERE = "(has(p1.__namespace__) && has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__"
_SAME = f"p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name && ({_HERE} || {_THERE}"
_PARENT_RULES = [
    (
        "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.all(p2, {_SAME})) ? ((!has(p1.sectionName) || p1.sectionName == '') == "
        "(!has(p2.sectionName) || p2.sectionName == '') && (!has(p1.port) || p1.port == 0) == "
        "(!has(p2.port) || p2.port == 0)): true))",
    ),
    (
        "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.exists_one(p2, {_SAME} )) && (((!has(p1.sectionName) || p1.sectionName == '') && "
        "(!has(p2.sectionName) || p2.sectionName == '')) || ( has(p1.sectionName) && has(p2.sectionName) && "
        "p1.sectionName == p2.sectionName)) && (((!has(p1.port) || p1.port == 0) && (!has(p2.port) || p2.port == 0)) "
        "|| (has(p1.port) && has(p2.port) && p1.port == p2.port))))",
    ),
]


def spec(rules: Schema, *, hostnames: Schema | None = None, ruled: bool = False, named: bool = False) -> Schema:
    """`ruled` routes must have rules, `named` ones hosts."""
    fields = {
        "parentRefs": atomic(
            "What the route attaches to.", parent_reference("One parent."), rules=_PARENT_RULES, maxItems=32
        ),
        "rules!" if ruled else "rules": rules,
        "useDefaultGateways": enum("Which default Gateways the route attaches to; none if absent.", "All", "None"),
    }
    if hostnames is not None:
        fields["hostnames!" if named else "hostnames"] = hostnames
    return obj("What is wanted.", fields)


def hostnames() -> Schema:
    """Of routes for requests."""
    doc = "Hosts the route is for; those of its parents if absent."
    return atomic(doc, common.hostname("One host."), maxItems=16)


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


def rule_name() -> Schema:
    return common.section_name("Name of the rule, unique in its route.")


NAMES_RULE = (
    "Rule name must be unique within the route",
    "self.all(l1, !has(l1.name) || self.exists_one(l2, has(l2.name) && l1.name == l2.name))",
)


def rules_of_rules(count: Callable[[int], str]) -> Rules:
    """`count` is the number of matches of the rule at an index, in CEL."""
    counts = " + ".join(f"(self.size() > {index} ? {count(index)} : 0)" for index in range(MAX_RULES))
    return [
        (
            "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a "
            "route must be less than 128",
            f"{counts} <= 128",
        ),
        NAMES_RULE,
    ]


def header_name(doc: str) -> Schema:
    return string(doc, minLength=1, maxLength=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")


def value_match(doc: str, what: str, limit: int, **more: Any) -> Schema:
    """`more` bounds the value."""
    return obj(
        doc,
        {
            "name!": header_name(f"Name of the {what}."),
            "type": enum("How the value is compared.", "Exact", "RegularExpression", default="Exact"),
            "value!": string(f"Value of the {what}.", minLength=1, maxLength=limit, **more),
        },
    )


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


def backends(filters: Schema | None = None, **more: Any) -> Schema:
    """`more` bounds the list."""
    reference = backend_reference("Where requests go, and how many of them.")
    weight = int32(
        "Share of the requests, relative to the sum of all weights.", minimum=0, maximum=1_000_000, default=1
    )
    own = {} if filters is None else {"filters": filters}
    reference["properties"] = {**own, **reference["properties"], "weight": weight}
    return atomic("Backends, by weight.", reference, maxItems=16, **more)


def duration(doc: str) -> Schema:
    return string(doc, pattern="^([0-9]{1,5}(h|m|s|ms)){1,4}$")


def session_persistence() -> Schema:
    return obj(
        "Sends the requests of a session to the same backend.",
        {
            "absoluteTimeout": duration("How long a session lasts."),
            "cookieConfig": obj(
                "How a session's cookie is made.",
                {
                    "lifetimeType": enum(
                        "Whether the cookie outlives the browser.", "Permanent", "Session", default="Session"
                    )
                },
            ),
            "sessionName": string("Name of the cookie or header.", maxLength=128),
            "type": enum("What a session is told by.", "Cookie", "Header", default="Cookie"),
        },
        rules=[
            (
                "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent",
                "!has(self.cookieConfig) || !has(self.cookieConfig.lifetimeType) || "
                "self.cookieConfig.lifetimeType != 'Permanent' || has(self.absoluteTimeout)",
            ),
            (
                "cookieConfig can only be set with type Cookie",
                "!has(self.cookieConfig) || self.type == 'Cookie'",
            ),
        ],
    )


def status() -> Schema:
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
