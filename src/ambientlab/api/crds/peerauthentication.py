"""PeerAuthentication: whether clients must use mutual TLS."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import AGE, Printed, Schema, enum, mapping, obj
from ambientlab.api.objects import Object


def _mtls(doc: str) -> Schema:
    return obj(doc, {"mode": enum("What is demanded.", "UNSET", "DISABLE", "PERMISSIVE", "STRICT")})


def crd() -> Object:
    spec = obj(
        "What is wanted.",
        {
            "mtls": _mtls("What is demanded on every port."),
            "portLevelMtls": mapping(
                "What is demanded on single ports.",
                _mtls("What is demanded on the port."),
                minProperties=1,
                rules=[("port must be between 1-65535", "self.all(key, 0 < int(key) && int(key) <= 65535)")],
            ),
            "selector": common.workload_selector("The workloads it is for; all of its namespace if absent."),
        },
        rules=[
            (
                "portLevelMtls requires selector",
                "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) "
                "? self.selector.matchLabels : {}).size() > 0) : true",
            )
        ],
    )
    return common.security(
        "PeerAuthentication",
        "peerauthentications",
        "pa",
        doc="Whether clients of workloads must use mutual TLS.",
        spec=spec,
        columns=(Printed("Mode", ".spec.mtls.mode", doc="What is demanded of clients."), AGE),
    )
