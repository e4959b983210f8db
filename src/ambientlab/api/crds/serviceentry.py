"""ServiceEntry: a host that is no Service of the cluster (networking/v1alpha3/service_entry.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds import workloadentry
from ambientlab.api.crds.dsl import AGE, Printed, Schema, array, enum, keyed, mapping, obj, string
from ambientlab.api.objects import Object


def _port() -> Schema:
    return obj(
        "One port.",
        {
            "name!": string("Name of the port.", maxLength=256),
            "number!": common.port_number("Number that clients call."),
            "protocol": string("HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.", maxLength=256),
            "targetPort": common.port_number("Number at the endpoints, if another."),
        },
    )


def _spec() -> Schema:
    return obj(
        "The service.",
        {
            "addresses": array("Virtual addresses of the hosts.", string(maxLength=64), maxItems=256),
            "endpoints": array("What is behind the hosts.", workloadentry.spec("One endpoint."), maxItems=4096),
            "exportTo": common.strings("Namespaces it is for: names, . for its own, * for all."),
            "hosts!": array(
                "Names that clients call it by.",
                string(rules=[("hostname cannot be wildcard", 'self != "*"')]),
                minItems=1,
                maxItems=256,
            ),
            "location": enum("Whether it belongs to the mesh.", "MESH_EXTERNAL", "MESH_INTERNAL"),
            "ports": keyed(
                "Ports of the hosts.",
                "name",
                _port(),
                maxItems=256,
                rules=[
                    (
                        "port number cannot be duplicated",
                        "self.all(l1, self.exists_one(l2, l1.number == l2.number))",
                    )
                ],
            ),
            "resolution": enum(
                "How endpoints' addresses are found.", "NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"
            ),
            "subjectAltNames": common.strings("Names that a server's certificate must bear."),
            "workloadSelector": obj(
                "Pods and WorkloadEntries behind the hosts.",
                {
                    "labels": mapping(
                        "Labels they carry.",
                        string(
                            maxLength=63,
                            rules=[("wildcard is not supported in selector", '!self.contains("*")')],
                        ),
                        maxProperties=256,
                    )
                },
            ),
        },
        rules=[
            (
                "only one of WorkloadSelector or Endpoints can be set",
                "(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1",
            ),
            (
                "CIDR addresses are allowed only for NONE/STATIC resolution types",
                '!((has(self.addresses) ? self.addresses : []).exists(k, k.contains("/")) && '
                '!((has(self.resolution) ? self.resolution : "NONE") in ["STATIC", "NONE"]))',
            ),
            (
                "NONE mode cannot set endpoints",
                '((has(self.resolution) ? self.resolution : "NONE") == "NONE") ? !has(self.endpoints) : true',
            ),
            (
                "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
                '((has(self.resolution) ? self.resolution : "") == "DNS_ROUND_ROBIN") ? '
                "((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true",
            ),
        ],
    )


def crd() -> Object:
    return common.networking(
        "ServiceEntry",
        "serviceentries",
        "se",
        doc="A host that is no Service of the cluster: its addresses, ports and endpoints.",
        spec=_spec(),
        spec_required=True,
        columns=(
            Printed("Hosts", ".spec.hosts", doc="Names that clients call it by."),
            Printed("Location", ".spec.location", doc="Whether it belongs to the mesh."),
            Printed("Resolution", ".spec.resolution", doc="How endpoints' addresses are found."),
            AGE,
        ),
    )
