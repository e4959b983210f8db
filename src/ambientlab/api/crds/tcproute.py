"""TCPRoute and TLSRoute: send connections to backends, by weight."""

from __future__ import annotations

from typing import Any

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds import routes
from ambientlab.api.crds.dsl import AGE, Rules, Schema, atomic, definition, obj
from ambientlab.api.objects import Object

_ESCAPED = common.SUBDOMAIN.replace("\\", r"\\")
_HOSTS_RULES = [
    ("Hostnames cannot contain an IP", "self.all(h, !isIP(h))"),
    (
        "Hostnames must be valid based on RFC-1123",
        f"self.all(h, !h.contains('*') ? h.matches('^({_ESCAPED})$') : true)",
    ),
    (
        "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123",
        f"self.all(h, h.contains('*') ? (h.startsWith('*.') && h.substring(2).matches('^({_ESCAPED})$')) : true)",
    ),
]


def _hostnames(rules: Rules = (), **more: Any) -> Schema:
    doc = "Server names the route is for, as clients send them."
    return atomic(doc, common.hostname("One host."), rules=rules, maxItems=1024, **more)


def _rules(count: int, rules: Rules = ()) -> Schema:
    rule = obj(
        "Where connections go.",
        {"backendRefs!": routes.backends(minItems=1), "name": routes.rule_name()},
    )
    return atomic("Rules.", rule, rules=rules, minItems=1, maxItems=count)


_ONE = _rules(1)
_SEVERAL = _rules(routes.MAX_RULES, [routes.NAMES_RULE])
"""Until v1 a route could have as many as those for requests."""


def _fields(spec: Schema) -> dict[str, Schema]:
    return {"spec!": spec, "status": routes.status()}


def _definition(kind: str, old: tuple[str, ...], **more: Any) -> Object:
    return definition(
        common.GROUP,
        kind,
        f"{kind.lower()}s",
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1", *old),
        storage="v1",
        deprecated=common.deprecated(kind, *old),
        columns=(AGE,),
        **more,
    )


def tcp() -> Object:
    return _definition(
        "TCPRoute",
        ("v1alpha2",),
        doc="Sends TCP connections to backends, by weight.",
        fields=_fields(routes.spec(_ONE, ruled=True)),
        older={"v1alpha2": _fields(routes.spec(_SEVERAL, ruled=True))},
    )


def tls() -> Object:
    named = _hostnames(_HOSTS_RULES, minItems=1)
    return _definition(
        "TLSRoute",
        ("v1alpha2", "v1alpha3"),
        doc="Sends TLS connections to backends as they are, by server name and weight.",
        fields=_fields(routes.spec(_ONE, hostnames=named, ruled=True, named=True)),
        older={"v1alpha2": _fields(routes.spec(_SEVERAL, hostnames=_hostnames(), ruled=True))},
    )
