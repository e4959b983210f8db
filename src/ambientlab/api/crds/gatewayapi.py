"""What the kinds of Gateway API have in common (gateway.networking.k8s.io/v1, shared_types)."""

from __future__ import annotations

from typing import Any

from ambientlab.api.crds.dsl import Schema, enum, int32, integer, keyed, mapping, obj, string

GROUP = "gateway.networking.k8s.io"
CATEGORIES = ("gateway-api",)
ANNOTATIONS = {
    "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/4530",
    f"{GROUP}/bundle-version": "v1.6.0",
    f"{GROUP}/channel": "experimental",
}

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
WILDCARD_HOST = rf"^(\*\.)?{SUBDOMAIN}$"
_EPOCH = "1970-01-01T00:00:00Z"


def deprecated(kind: str, *versions: str) -> dict[str, str]:
    """What whoever uses one of these versions is warned of."""
    advice = "has been deprecated and will be removed in a future release of the API. Please upgrade to v1."
    return {version: f"The {version} version of {kind} {advice}" for version in versions}


def group(doc: str = "API group of the referent; empty for the core group.", **more: Any) -> Schema:
    return string(doc, maxLength=253, pattern=f"^$|^{SUBDOMAIN}$", **more)


def kind(doc: str = "Kind of the referent.", **more: Any) -> Schema:
    return string(doc, minLength=1, maxLength=63, pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", **more)


def object_name(doc: str = "Name of the referent.") -> Schema:
    return string(doc, minLength=1, maxLength=253)


def namespace(doc: str = "Namespace of the referent; that of this object if absent.") -> Schema:
    return string(doc, minLength=1, maxLength=63, pattern=f"^{_LABEL}$")


def section_name(doc: str) -> Schema:
    return string(doc, minLength=1, maxLength=253, pattern=f"^{SUBDOMAIN}$")


def hostname(doc: str) -> Schema:
    """May begin with a wildcard label."""
    return string(doc, minLength=1, maxLength=253, pattern=WILDCARD_HOST)


def precise_hostname(doc: str) -> Schema:
    return string(doc, minLength=1, maxLength=253, pattern=f"^{SUBDOMAIN}$")


def port(doc: str) -> Schema:
    return int32(doc, minimum=1, maximum=65535)


def controller_name(doc: str, *, immutable: bool = False) -> Schema:
    return string(
        doc,
        minLength=1,
        maxLength=253,
        pattern=rf"^{SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$",
        rules=[("Value is immutable", "self == oldSelf")] if immutable else [],
    )


def label_selector(doc: str) -> Schema:
    atomic = {"x-kubernetes-list-type": "atomic"}
    requirement = obj(
        "One requirement.",
        {
            "key!": string("Key of the label."),
            "operator!": string("In, NotIn, Exists or DoesNotExist."),
            "values": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Values for In and NotIn.",
                **atomic,
            },
        },
    )
    schema = obj(
        doc,
        {
            "matchExpressions": {
                "type": "array",
                "items": requirement,
                "description": "Requirements, all of which must hold.",
                **atomic,
            },
            "matchLabels": mapping("Labels that must be there with just these values.", {"type": "string"}),
        },
    )
    return schema | {"x-kubernetes-map-type": "atomic"}


def secret_reference(doc: str) -> Schema:
    return obj(
        doc,
        {"group": group(default=""), "kind": kind(default="Secret"), "name!": object_name(), "namespace": namespace()},
    )


def conditions(doc: str = "Current state of this object, one entry a type.", **more: Any) -> Schema:
    """metav1.Condition, as a list-map by type."""
    condition = obj(
        "One aspect of the state.",
        {
            "lastTransitionTime!": string("When the status last changed.", format="date-time"),
            "message!": string("Details for people.", maxLength=32768),
            "observedGeneration": integer("metadata.generation this was computed from.", format="int64", minimum=0),
            "reason!": string(
                "Why the status is what it is, in CamelCase.",
                minLength=1,
                maxLength=1024,
                pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            ),
            "status!": enum("Whether it holds.", "True", "False", "Unknown"),
            "type!": string(
                "What this condition is about.",
                maxLength=316,
                pattern=rf"^({SUBDOMAIN}/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            ),
        },
    )
    return keyed(doc, "type", condition, maxItems=8, **more)


def pending(*types: str) -> list[dict[str, str]]:
    """The conditions of an object that no controller has looked at."""
    return [
        {
            "type": one,
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": _EPOCH,
        }
        for one in types
    ]


def route_group_kind(doc: str) -> Schema:
    return obj(doc, {"group": group("API group of the route.", default=GROUP), "kind!": kind("Kind of the route.")})
