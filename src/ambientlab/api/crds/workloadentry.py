"""WorkloadEntry: a workload that is no pod (networking/v1alpha3/workload_entry.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.dsl import AGE, Printed, Schema, mapping, obj, string
from ambientlab.api.objects import Object


def spec(doc: str) -> Schema:
    """Also of the endpoints that a ServiceEntry lists itself."""
    return obj(
        doc,
        {
            "address": string(
                "IP address, host name or unix:// path.",
                maxLength=256,
                rules=[
                    (
                        "UDS must be an absolute path or abstract socket",
                        'self.startsWith("unix://") ? (self.substring(7, 8) == "/" || self.substring(7, 8) == "@")'
                        " : true",
                    ),
                    ("UDS may not be a dir", 'self.startsWith("unix://") ? !self.endsWith("/") : true'),
                ],
            ),
            "labels": mapping("Labels that selectors and subsets go by.", {"type": "string"}, maxProperties=256),
            "locality": string("Where it is: region/zone/subzone.", maxLength=2048),
            "network": string("Network it is in.", maxLength=2048),
            "ports": mapping(
                "Numbers of its ports, by the service's names for them.",
                common.port_number(""),
                maxProperties=128,
                rules=[
                    (
                        "port name must be valid",
                        'self.all(key, size(key) < 63 && key.matches("^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$"))',
                    )
                ],
            ),
            "serviceAccount": string("Identity of its proxy, if it has one.", maxLength=253),
            "weight": common.uint32("Its share of the traffic, relative to other endpoints'."),
        },
        rules=[
            ("Address is required", "has(self.address) || has(self.network)"),
            (
                "UDS may not include ports",
                '(has(self.address) ? self.address : "").startsWith("unix://") ? !has(self.ports) : true',
            ),
        ],
    )


def crd() -> Object:
    return common.networking(
        "WorkloadEntry",
        "workloadentries",
        "we",
        doc="A workload that is no pod, such as a virtual machine.",
        spec=spec("The workload."),
        spec_required=True,
        columns=(AGE, Printed("Address", ".spec.address", doc="Its address.")),
    )
