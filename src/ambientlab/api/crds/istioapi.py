"""What the kinds of Istio's APIs have in common.

Their schemas are generated from protobuf: a oneof is `oneOf` with a branch for none, a duration a string that CEL
parses, an unsigned 32-bit number an integer with its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ambientlab.api.crds.dsl import (
    AGE,
    Printed,
    Rules,
    Schema,
    array,
    at_most_one,
    definition,
    enum,
    integer,
    mapping,
    obj,
    string,
)
from ambientlab.api.objects import Object

_UINT32_MAX = 4_294_967_295


def duration(doc: str) -> Schema:
    """At least a millisecond."""
    rule = ("must be a valid duration greater than 1ms", "duration(self) >= duration('1ms')")
    return string(doc, rules=[rule])


def uint32(doc: str, *, minimum: int = 0, rules: Rules = (), **more: Any) -> Schema:
    return integer(doc, minimum=minimum, maximum=_UINT32_MAX, rules=rules, **more)


def port_number(doc: str) -> Schema:
    return uint32(doc, rules=[("port must be between 1-65535", "0 < self && self <= 65535")])


def strings(doc: str) -> Schema:
    return array(doc, {"type": "string"})


def labels(doc: str) -> Schema:
    return mapping(doc, {"type": "string"})


def string_match(doc: str) -> Schema:
    return obj(
        doc,
        {
            "exact": string("The whole value."),
            "prefix": string("How the value begins."),
            "regex": string("An RE2 expression for the whole value."),
        },
        oneOf=at_most_one("exact", "prefix", "regex"),
    )


def percent(doc: str) -> Schema:
    return obj(
        doc, {"value": {"type": "number", "format": "double", "description": "0 to 100; 0.1 is one in a thousand."}}
    )


def port_selector(doc: str) -> Schema:
    return obj(doc, {"number": uint32("Number of the port.")})


def _int_or_string(doc: str) -> Schema:
    return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "description": doc}


def status() -> Schema:
    """IstioStatus; analyzers may write more than the schema says."""
    schema = obj(
        "What the control plane says of it.",
        {
            "conditions": array(
                "Current state of this object.",
                obj(
                    "One aspect of the state.",
                    {
                        "lastProbeTime": string("When it was last looked at.", format="date-time"),
                        "lastTransitionTime": string("When the status last changed.", format="date-time"),
                        "message": string("Details for people."),
                        "observedGeneration": _int_or_string("metadata.generation this was computed from."),
                        "reason": string("Why the status is what it is, in CamelCase."),
                        "status": string("True, False or Unknown."),
                        "type": string("What this condition is about."),
                    },
                ),
            ),
            "observedGeneration": _int_or_string("metadata.generation the status as a whole was computed from."),
            "validationMessages": array(
                "Findings of analyzers.",
                obj(
                    "One finding.",
                    {
                        "documentationUrl": string("Where it is explained."),
                        "level": enum("How serious it is.", "UNKNOWN", "ERROR", "WARNING", "INFO"),
                        "type": obj(
                            "What kind of finding.",
                            {"code": string("Its code, such as IST0101."), "name": string("Its name.")},
                        ),
                    },
                ),
            ),
        },
    )
    return schema | {"x-kubernetes-preserve-unknown-fields": True}


def networking(
    kind: str,
    plural: str,
    *short_names: str,
    doc: str,
    spec: Schema,
    columns: Sequence[Printed],
    spec_required: bool = False,
    versions: Sequence[str] = ("v1", "v1alpha3", "v1beta1"),
) -> Object:
    """A CRD of networking.istio.io as Istio serves it: versions of one schema, the first stored."""
    return definition(
        "networking.istio.io",
        kind,
        plural,
        doc=doc,
        short_names=short_names,
        categories=("istio-io", "networking-istio-io"),
        versions=versions,
        storage=versions[0],
        columns=columns,
        fields={"spec!" if spec_required else "spec": spec, "status": status()},
    )


def security(kind: str, plural: str, short_name: str, *, doc: str, spec: Schema, columns: Sequence[Printed]) -> Object:
    """A CRD of security.istio.io as Istio serves it: two versions of one schema, v1 stored."""
    return definition(
        "security.istio.io",
        kind,
        plural,
        doc=doc,
        short_names=(short_name,),
        categories=("istio-io", "security-istio-io"),
        versions=("v1", "v1beta1"),
        storage="v1",
        columns=columns,
        fields={"spec": spec, "status": status()},
    )


def telemetry(kind: str, plural: str, short_name: str, *, doc: str, spec: Schema) -> Object:
    """The CRD of telemetry.istio.io as Istio serves it: two versions of one schema, v1 served, v1alpha1 stored."""
    return definition(
        "telemetry.istio.io",
        kind,
        plural,
        doc=doc,
        short_names=(short_name,),
        categories=("istio-io", "telemetry-istio-io"),
        versions=("v1", "v1alpha1"),
        storage="v1alpha1",
        columns=(AGE,),
        fields={"spec": spec, "status": status()},
    )


def workload_selector(doc: str) -> Schema:
    """Labels of the workloads a policy is for."""
    return obj(
        doc,
        {
            "matchLabels": mapping(
                "Labels that a workload must have.",
                string(maxLength=63, rules=[("wildcard not allowed in label value match", '!self.contains("*")')]),
                rules=[
                    ("wildcard not allowed in label key match", 'self.all(key, !key.contains("*"))'),
                    ("key must not be empty", "self.all(key, key.size() != 0)"),
                ],
                maxProperties=4096,
            )
        },
    )


def _target(doc: str) -> Schema:
    return obj(
        doc,
        {
            "group": string(
                "API group of the object; empty for the core group.",
                maxLength=253,
                pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            ),
            "kind!": string(
                "Kind of the object.", maxLength=63, minLength=1, pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"
            ),
            "name!": string("Name of the object.", maxLength=253, minLength=1),
            "namespace": string(
                "Not to be used: the object is in the policy's own namespace.",
                rules=[("cross namespace referencing is not currently supported", "self.size() == 0")],
            ),
        },
    )


def target_refs(doc: str) -> Schema:
    return array(doc, _target("One object."), maxItems=16)


def labelled_workloads(doc: str) -> Schema:
    """A selector as the networking API has it."""
    wildcard = ("wildcard is not supported in selector", '!self.contains("*")')
    labels_ = mapping("Labels that a workload must have.", string(maxLength=63, rules=[wildcard]), maxProperties=256)
    return obj(doc, {"labels": labels_})


def targeted(fields: Mapping[str, Schema]) -> Mapping[str, Schema]:
    """`fields` of a policy that is for workloads by their labels, or for the objects it names."""
    return {
        **fields,
        "selector": workload_selector("The workloads it is for, by their labels; not honoured by waypoints."),
        "targetRef": _target("The object it is for; an older form of targetRefs."),
        "targetRefs": target_refs("The objects it is for."),
    }


ONE_TARGETING: Rules = [
    (
        "only one of targetRefs or selector can be set",
        "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",
    )
]
