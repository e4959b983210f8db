"""Sidecar: what a sidecar proxy listens on and knows of (networking/v1alpha3/sidecar.proto)."""

from __future__ import annotations

from ambientlab.api.crds import istioapi as common
from ambientlab.api.crds.destinationrule import connection_pool
from ambientlab.api.crds.dsl import Schema, array, enum, obj, string
from ambientlab.api.crds.istiogateway import server_tls
from ambientlab.api.objects import Object


def _port(doc: str) -> Schema:
    return obj(
        doc,
        {
            "name": string("Its name."),
            "number": common.uint32("Its number."),
            "protocol": string("What is spoken on it."),
            "targetPort": common.uint32("Not used."),
        },
    )


def _capture() -> Schema:
    return enum("How traffic gets to the listener.", "DEFAULT", "IPTABLES", "NONE")


def crd() -> Object:
    egress = {
        "bind": string("Address to listen on."),
        "captureMode": _capture(),
        "hosts!": common.strings("Services it may call, each with a namespace before it."),
        "port": _port("The port it listens on."),
    }
    ingress = {
        "bind": string("Address to listen on."),
        "captureMode": _capture(),
        "connectionPool": connection_pool(),
        "defaultEndpoint": string("Where the application listens."),
        "port!": _port("The port it listens on."),
        "tls": server_tls("How it speaks TLS."),
    }
    proxy = {
        "host!": string("The service."),
        "port": common.port_selector("Its port."),
        "subset": string("A subset of it."),
    }
    outbound = {
        "egressProxy": obj("A service that everything else goes through.", proxy),
        "mode": enum("What becomes of calls to what is not known.", "REGISTRY_ONLY", "ALLOW_ANY"),
    }
    return common.networking(
        "Sidecar",
        "sidecars",
        doc="What sidecar proxies listen on and know of.",
        columns=(),
        spec=obj(
            "The listeners, and the workloads whose proxies have them.",
            {
                "egress": array("Listeners for what the workload calls.", obj("One listener.", egress)),
                "inboundConnectionPool": connection_pool(),
                "ingress": array("Listeners for what calls the workload.", obj("One listener.", ingress)),
                "outboundTrafficPolicy": obj("What may be called besides.", outbound),
                "workloadSelector": common.labelled_workloads("The workloads; all of the namespace if absent."),
            },
        ),
    )
