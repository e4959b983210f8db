"""TCPRoute and TLSRoute: send connections to backends, by weight."""

from __future__ import annotations

from typing import Any

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import AGE, Rules, Schema, atomic, definition, obj
from ambientlab.api.objects import Object

_OLD = (
    "The {} version of TLSRoute has been deprecated and will be removed in a future release of the API. "
    "Please upgrade to v1."
)
_HOSTNAMES = "Server names the route is for, as clients send them."


def _rules(count: int, rules: Rules = ()) -> Schema:
    rule = obj(
        "Where connections go.",
        {"backendRefs!": routes.backends(minItems=1), "name": routes.rule_name()},
    )
    return atomic("Rules.", rule, rules=rules, minItems=1, maxItems=count)


def _fields(spec: Schema) -> dict[str, Schema]:
    return {"spec!": spec, "status": routes.status()}


def _definition(kind: str, **more: Any) -> Object:
    return definition(
        common.GROUP,
        kind,
        f"{kind.lower()}s",
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        columns=(AGE,),
        **more,
    )


def tcp() -> Object:
    return _definition(
        "TCPRoute",
        doc="Sends TCP connections to backends, by weight.",
        versions=("v1alpha2",),
        storage="v1alpha2",
        fields=_fields(routes.spec(_rules(routes.MAX_RULES, [routes.NAMES_RULE]), ruled=True)),
    )


def tls() -> Object:
    older = routes.spec(_rules(routes.MAX_RULES, [routes.NAMES_RULE]), hostnames=_HOSTNAMES, ruled=True)
    return _definition(
        "TLSRoute",
        doc="Sends TLS connections to backends as they are, by server name and weight.",
        versions=("v1", "v1alpha2", "v1alpha3"),
        storage="v1",
        fields=_fields(routes.spec(_rules(1), hostnames=_HOSTNAMES, ruled=True, named=True)),
        older={"v1alpha2": _fields(older)},
        deprecated={version: _OLD.format(version) for version in ("v1alpha2", "v1alpha3")},
    )
