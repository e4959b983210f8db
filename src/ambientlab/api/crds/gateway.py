"""Gateway: listeners that routes attach to; with class istio-waypoint, the request for a waypoint."""

from __future__ import annotations

from ambientlab.api.crds import gatewayapi as common
from ambientlab.api.crds.dsl import (
    AGE,
    Printed,
    Rules,
    Schema,
    atomic,
    definition,
    enum,
    int32,
    keyed,
    mapping,
    obj,
    string,
)
from ambientlab.api.objects import Object

_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$"
)
_ADDRESS_TYPE = (
    r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/"
    r"[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$"
)
_PROTOCOL = (
    r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$"
)
_LABEL_VALUE = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"


def _unique_addresses(kind: str, space: str) -> tuple[str, str]:
    rule = (
        f"self.all(a1, a1.type == '{kind}'{space}&& has(a1.value) ? "
        "self.exists_one(a2, a2.type == a1.type && has(a2.value) && a2.value == a1.value) : true )"
    )
    return f"{kind} values must be unique", rule


def _address(doc: str, value: dict[str, Schema], rules: Rules) -> Schema:
    return obj(
        doc,
        {
            "type": string(
                "What the value is.",
                default="IPAddress",
                minLength=1,
                maxLength=253,
                pattern=_ADDRESS_TYPE,
            ),
            **value,
        },
        rules=rules,
        oneOf=[
            {
                "properties": {
                    "type": {"enum": ["IPAddress"]},
                    "value": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
                }
            },
            {"properties": {"type": {"not": {"enum": ["IPAddress"]}}}},
        ],
    )


def _requested_address() -> Schema:
    host = common.WILDCARD_HOST
    return _address(
        "One address.",
        {"value": string("The address; one of the type is chosen if absent.", maxLength=253)},
        [
            (
                f"Hostname value must be empty or contain only valid characters (matching {host})",
                f'self.type == \'Hostname\' ? (!has(self.value) || self.value.matches(r"""{host}""")): true',
            )
        ],
    )


def _given_address() -> Schema:
    host = common.WILDCARD_HOST
    return _address(
        "One address.",
        {"value!": string("The address.", minLength=1, maxLength=253)},
        [
            (
                f"Hostname value must only contain valid characters (matching {host})",
                f'self.type == \'Hostname\' ? self.value.matches(r"""{host}"""): true',
            )
        ],
    )


def _key_rules(what: str) -> Rules:
    return [
        (
            f"{what.capitalize()} keys must be in the form of an optional DNS subdomain prefix followed by a required "
            "name segment of up to 63 characters.",
            f'self.all(key, key.matches(r"""{_KEY}"""))',
        ),
        (
            f"If specified, the {what} key's prefix must be a DNS subdomain not longer than 253 characters in total.",
            'self.all(key, key.split("/")[0].size() < 253)',
        ),
    ]


def _infrastructure() -> Schema:
    return obj(
        "Settings of what is created for this Gateway.",
        {
            "annotations": mapping(
                "Annotations for everything created.",
                string(minLength=0, maxLength=4096),
                rules=_key_rules("annotation"),
                maxProperties=16,
            ),
            "labels": mapping(
                "Labels for everything created.",
                string(minLength=0, maxLength=63, pattern=_LABEL_VALUE),
                rules=_key_rules("label"),
                maxProperties=8,
            ),
            "parametersRef": obj(
                "An object with settings for the controller.",
                {"group!": common.group(), "kind!": common.kind(), "name!": common.object_name()},
            ),
        },
    )


def _client_validation(doc: str) -> Schema:
    certificate = obj(
        "An object with CA certificates.",
        {
            "group!": common.group(),
            "kind!": common.kind(),
            "name!": common.object_name(),
            "namespace": common.namespace(),
        },
    )
    return obj(
        doc,
        {
            "validation": obj(
                "How certificates of clients are checked.",
                {
                    "caCertificateRefs!": atomic("Authorities that are trusted.", certificate, minItems=1, maxItems=16),
                    "mode": enum(
                        "Whether a client without a valid certificate is let in.",
                        "AllowValidOnly",
                        "AllowInsecureFallback",
                        default="AllowValidOnly",
                    ),
                },
            )
        },
    )


def _gateway_tls() -> Schema:
    return obj(
        "TLS of the Gateway as a whole.",
        {
            "backend": obj(
                "TLS towards backends.",
                {"clientCertificateRef": common.secret_reference("Certificate to show to backends.")},
            ),
            "frontend": obj(
                "TLS towards clients.",
                {
                    "default!": _client_validation("What holds for every port without settings of its own."),
                    "perPort": keyed(
                        "Settings for single ports.",
                        "port",
                        obj(
                            "Settings for one port.",
                            {
                                "port!": common.port("The port."),
                                "tls!": _client_validation("What holds there."),
                            },
                        ),
                        rules=[
                            (
                                "Port for TLS configuration must be unique within the Gateway",
                                "self.all(t1, self.exists_one(t2, t1.port == t2.port))",
                            )
                        ],
                        maxItems=64,
                    ),
                },
            ),
        },
    )


def _listener_tls() -> Schema:
    return obj(
        "TLS of the listener.",
        {
            "certificateRefs": atomic(
                "Certificates to show to clients.", common.secret_reference("A certificate with its key."), maxItems=64
            ),
            "mode": enum(
                "Who ends the TLS session: the Gateway or the backend.",
                "Terminate",
                "Passthrough",
                default="Terminate",
            ),
            "options": mapping(
                "Settings of the implementation.", string(minLength=0, maxLength=4096), maxProperties=16
            ),
        },
        rules=[
            (
                "certificateRefs or options must be specified when mode is Terminate",
                "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : true",
            )
        ],
    )


def _listener() -> Schema:
    return obj(
        "A port that is listened on.",
        {
            "allowedRoutes": obj(
                "Which routes may attach.",
                {
                    "kinds": atomic(
                        "Their kinds; those the protocol suggests if absent.",
                        common.route_group_kind("One kind of route."),
                        maxItems=8,
                    ),
                    "namespaces": obj(
                        "Their namespaces.",
                        {
                            "from": enum("Which namespaces.", "All", "Selector", "Same", default="Same"),
                            "selector": common.label_selector("Labels of the namespaces, with from: Selector."),
                        },
                        default={"from": "Same"},
                    ),
                },
                default={"namespaces": {"from": "Same"}},
            ),
            "hostname": common.hostname("Host that is served; every host if absent."),
            "name!": common.section_name("Name of the listener, unique in its Gateway."),
            "port!": common.port("The port."),
            "protocol!": string(
                "HTTP, HTTPS, TLS, TCP, UDP, or one of the implementation such as HBONE.",
                minLength=1,
                maxLength=255,
                pattern=_PROTOCOL,
            ),
            "tls": _listener_tls(),
        },
    )


_LISTENER_RULES = [
    (
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
        "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
    ),
    (
        "tls mode must be Terminate for protocol HTTPS",
        "self.all(l, (l.protocol == 'HTTPS' && has(l.tls)) ? (l.tls.mode == '' || l.tls.mode == 'Terminate') : true)",
    ),
    (
        "tls mode must be set for protocol TLS",
        "self.all(l, (l.protocol == 'TLS' ? has(l.tls) && has(l.tls.mode) && l.tls.mode != '' : true))",
    ),
    (
        "hostname must not be specified for protocols ['TCP', 'UDP']",
        "self.all(l, l.protocol in ['TCP', 'UDP']  ? (!has(l.hostname) || l.hostname == '') : true)",
    ),
    (
        "Listener name must be unique within the Gateway",
        "self.all(l1, self.exists_one(l2, l1.name == l2.name))",
    ),
    (
        "Combination of port, protocol and hostname must be unique for each listener",
        "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && "
        "(has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : "
        "!has(l1.hostname) && !has(l2.hostname))))",
    ),
]


def _spec() -> Schema:
    return obj(
        "What is wanted.",
        {
            "addresses": atomic(
                "Addresses that are asked for.",
                _requested_address(),
                rules=[_unique_addresses("IPAddress", " "), _unique_addresses("Hostname", "  ")],
                maxItems=16,
            ),
            "allowedListeners": obj(
                "Which ListenerSets may attach.",
                {
                    "namespaces": obj(
                        "Their namespaces.",
                        {
                            "from": enum("Which namespaces.", "All", "Selector", "Same", "None", default="None"),
                            "selector": common.label_selector("Labels of the namespaces, with from: Selector."),
                        },
                        default={"from": "None"},
                    )
                },
            ),
            "gatewayClassName!": common.object_name("The GatewayClass, and with it the controller."),
            "defaultScope": enum(
                "Which routes without a parent attach to this Gateway; none if absent.", "All", "None"
            ),
            "infrastructure": _infrastructure(),
            "listeners!": keyed(
                "Ports that are listened on.",
                "name",
                _listener(),
                rules=_LISTENER_RULES,
                minItems=1,
                maxItems=64,
            ),
            "tls": _gateway_tls(),
        },
    )


def _status() -> Schema:
    waiting = common.pending("Accepted", "Programmed")
    return obj(
        "What the controller made of it.",
        {
            "addresses": atomic("Addresses that were given.", _given_address(), maxItems=16),
            "attachedListenerSets": int32("How many ListenerSets are attached."),
            "conditions": common.conditions(default=waiting),
            "listeners": keyed(
                "State of each listener.",
                "name",
                obj(
                    "State of one listener.",
                    {
                        "attachedRoutes!": int32("How many routes are attached."),
                        "conditions!": common.conditions(),
                        "name!": common.section_name("Name of the listener."),
                        "supportedKinds": atomic(
                            "Kinds of routes it takes.", common.route_group_kind("One kind of route."), maxItems=8
                        ),
                    },
                ),
                maxItems=64,
            ),
        },
        default={"conditions": waiting},
    )


def crd() -> Object:
    return definition(
        common.GROUP,
        "Gateway",
        "gateways",
        doc="A proxy with its listeners; routes attach to it.",
        short_names=("gtw",),
        categories=common.CATEGORIES,
        annotations=common.ANNOTATIONS,
        versions=("v1", "v1beta1"),
        storage="v1",
        columns=(
            Printed("Class", ".spec.gatewayClassName"),
            Printed("Address", ".status.addresses[*].value"),
            Printed("Programmed", '.status.conditions[?(@.type=="Programmed")].status'),
            AGE,
        ),
        fields={"spec!": _spec(), "status": _status()},
    )
