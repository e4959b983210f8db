"""How the labels of a metric travel through Envoy: as the value of one tag, spelled out when they are served.

Envoy's stats access logger formats every tag anew for every metric, so twenty-five tags would cost a request more than
its routing. Each group of labels is therefore one text, known as early as possible: of the source when its tunnel
begins, of a workload and a service as metadata of the endpoint and the cluster. Separators are control characters,
which neither headers nor names can contain. What is not known is left empty.

A group cannot be taken apart in Envoy, nor a text be a number. Where labels are to be left out, or what is counted is
part of a text, the value begins with instructions for the script that serves it, which adds up what becomes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ambientlab.cluster import CLUSTER_ID
from ambientlab.mesh.ir import Service, Workload

TAG = "istio"
"""The tag's name."""
PREFIX = "istiocustom"
"""The first element of the metrics' names in Envoy, as of Istio's own filter."""

IS = "\x01"
GIVEN = "\x11"
"""Instead of IS in labels that somebody asked for: they are not left out, although one of that name is."""
AND = "\x02"
"""After a value; an empty one is unknown."""
EMPTY_OR = "\x03"
"""After a value; an empty one is just that."""
DESTINATION = ("\x05", "\x06")
SERVICE = ("\x07", "\x08")
"""Around a group, which is empty as a whole where no endpoint or no service was chosen."""

INSTRUCTIONS = ("\x0e", "\x0f", "\x10")
"""Before the names of labels to leave out, before a count of messages, and behind it."""
MESSAGES = {"istio_request_messages_total": 1, "istio_response_messages_total": 2}
"""Metrics to be multiplied by a part of the count of messages, and by which."""

METADATA = "ambientlab.metrics"
GROUP = "labels"
"""Where endpoints and clusters carry their group."""


def text(labels: Mapping[str, str], sign: str = IS) -> str:
    return "".join(f"{name}{sign}{value}{AND}" for name, value in labels.items())


def instructions(left_out: Sequence[str], messages: str) -> str:
    """ "" where there is nothing to do."""
    if not left_out and not messages:
        return ""
    start, middle, end = INSTRUCTIONS
    return f"{start},{','.join(left_out)},{middle}{messages}{end}"


def peer(side: str, *, workload: str, service: str, revision: str, namespace: str, principal: str) -> dict[str, str]:
    """The labels of one side. Application and version are the canonical names, as in Istio's waypoints, which learn
    them by workload discovery (istio/proxy, source/extensions/common/workload_discovery/api.cc)."""
    return {
        f"{side}_workload": workload,
        f"{side}_canonical_service": service,
        f"{side}_canonical_revision": revision,
        f"{side}_workload_namespace": namespace,
        f"{side}_principal": principal,
        f"{side}_app": service,
        f"{side}_version": revision,
        f"{side}_cluster": CLUSTER_ID,
    }


def destination(workload: Workload) -> str:
    return text(
        peer(
            "destination",
            workload=workload.workload_name,
            service=workload.canonical_name,
            revision=workload.canonical_revision,
            namespace=workload.namespace,
            principal=workload.identity,
        )
    )


def service(value: Service) -> str:
    return text(_service(value.host, value.name, value.namespace))


def unknown(group: tuple[str, str]) -> str:
    """What stands for a group that is empty."""
    if group == SERVICE:
        return text(_service("", "", ""))
    empty = peer("destination", workload="", service="", revision="", namespace="", principal="")
    return text(dict.fromkeys(empty, ""))


def _service(host: str, name: str, namespace: str) -> dict[str, str]:
    return {
        "destination_service": host,
        "destination_service_name": name,
        "destination_service_namespace": namespace,
    }
