"""BackendTLSPolicy: how a gateway, or here a waypoint, speaks TLS to a backend (Gateway API, GEP-1897)."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import AGE, Schema, atomic, definition, enum, mapping, obj, string
from ambientlab.api.objects import Object

_SAME_TARGET = "p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name"


def _unset(one: str) -> str:
    return f"(!has({one}.sectionName) || {one}.sectionName == '')"


def _targets() -> Schema:
    first, second = _unset("p1"), _unset("p2")
    sections = "has(p1.sectionName) && has(p2.sectionName) && p1.sectionName == p2.sectionName"
    several = "when targetRefs includes 2 or more references to the same target"
    return atomic(
        "Backends that it is for.",
        obj(
            "One backend, in the namespace of the policy.",
            {
                "group!": common.group("API group of the backend; empty for the core group."),
                "kind!": common.kind("Kind of the backend."),
                "name!": common.object_name("Name of the backend."),
                "sectionName": common.section_name("Name of the one port that is meant; all if absent."),
            },
        ),
        minItems=1,
        maxItems=16,
        rules=[
            (
                f"sectionName must be specified {several}",
                f"self.all(p1, self.all(p2, {_SAME_TARGET} ? ({first} == {second}) : true))",
            ),
            (
                f"sectionName must be unique {several}",
                f"self.all(p1, self.exists_one(p2, {_SAME_TARGET} && (({first} && {second}) || ({sections}))))",
            ),
        ],
    )


def _alternative_name() -> Schema:
    def must(kind: str, field: str) -> list[tuple[str, str]]:
        given = f"has(self.{field}) && self.{field} != "
        return [
            (
                f"SubjectAltName element must contain {kind}, if Type is set to {kind}",
                f'!(self.type == "{kind}" && (!has(self.{field}) || self.{field} == ""))',
            ),
            (
                f"SubjectAltName element must not contain {kind}, if Type is not set to {kind}",
                f'!(self.type != "{kind}" && {given}"")',
            ),
        ]

    return obj(
        "One name that the certificate may have.",
        {
            "hostname": common.hostname("A name in DNS."),
            "type!": enum("What kind of name it is.", "Hostname", "URI"),
            "uri": string(
                "A URI, such as a SPIFFE ID.",
                minLength=1,
                maxLength=253,
                pattern=r"^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\?([^#]*))?(#(.*))?",
            ),
        },
        rules=[*must("Hostname", "hostname"), *must("URI", "uri")],
    )


def _validation() -> Schema:
    references = "has(self.caCertificateRefs) && size(self.caCertificateRefs) > 0"
    known = 'has(self.wellKnownCACertificates) && self.wellKnownCACertificates != ""'
    return obj(
        "How the certificate of the backend is verified.",
        {
            "caCertificateRefs": atomic(
                "Objects of this namespace that hold authorities.",
                obj(
                    "One object.",
                    {"group!": common.group(), "kind!": common.kind(), "name!": common.object_name()},
                ),
                maxItems=8,
            ),
            "hostname!": common.precise_hostname("Server name to ask for."),
            "subjectAltNames": atomic("Names the certificate may have.", _alternative_name(), maxItems=5),
            "wellKnownCACertificates": string(
                "A known set of authorities: System, or one of an implementation's own.",
                minLength=1,
                maxLength=253,
                pattern=f"^(System|({common.SUBDOMAIN}/([A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]))$",
            ),
        },
        rules=[
            (
                "must not contain both CACertificateRefs and WellKnownCACertificates",
                f"!({references} && {known})",
            ),
            (
                "must specify either CACertificateRefs or WellKnownCACertificates",
                f"({references} || {known})",
            ),
        ],
    )


def _status() -> Schema:
    return obj(
        "What became of it at each of its ancestors.",
        {
            "ancestors!": atomic(
                "One entry for each ancestor and controller.",
                obj(
                    "State at one ancestor.",
                    {
                        "ancestorRef!": routes.parent_reference("The ancestor."),
                        "conditions!": common.conditions(minItems=1),
                        "controllerName!": common.controller_name("Who says so."),
                    },
                ),
                maxItems=16,
            )
        },
    )


def crd() -> Object:
    return definition(
        common.GROUP,
        "BackendTLSPolicy",
        "backendtlspolicies",
        doc="How TLS is spoken to backends.",
        short_names=("btlspolicy",),
        categories=common.CATEGORIES,
        labels={f"{common.GROUP}/policy": "Direct"},
        annotations=common.ANNOTATIONS,
        versions=("v1", "v1alpha3"),
        storage="v1",
        deprecated=common.deprecated("BackendTLSPolicy", "v1alpha3"),
        columns=(AGE,),
        fields={
            "spec!": obj(
                "What is wanted.",
                {
                    "options": mapping(
                        "Settings of implementations.", string(minLength=0, maxLength=4096), maxProperties=16
                    ),
                    "targetRefs!": _targets(),
                    "validation!": _validation(),
                },
            ),
            "status": _status(),
        },
    )
