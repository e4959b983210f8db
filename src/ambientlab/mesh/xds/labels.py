"""How the labels of a metric travel through Envoy: as the value of one tag, spelled out when they are served.

Envoy's stats access logger formats every tag anew for every metric of every request, and finds the counter by the whole
of what comes out: twenty-five tags would cost a request more than its routing. So what travels are values alone: no
names, nothing that is always the same or that follows from something else. They are where reading them costs little;
metadata costs five times as much as a name. The source's are filter state made when its tunnel begins, a workload's are
the `hostname` of its endpoint, and a service's the `alt_stat_name` of its clusters. Neither of the two names decides
where a request goes.

    source | destination | service | response flags | code | protocol | gRPC status | labels somebody asked for ...

Separators are control characters, which neither headers nor names can contain. What is not known is left empty; where
no endpoint or no service is described, Envoy gives the address or the cluster's name instead, which has no separator.

A group cannot be taken apart in Envoy, nor a text be a number. Where labels are to be left out, or what is counted is
part of a text, the value begins with instructions for the script that serves it, which adds up what becomes the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ambientlab.mesh.ir import Service, Workload

TAG = "istio"
"""The tag's name."""
PREFIX = "istiocustom"
"""The first element of the metrics' names in Envoy, as of Istio's own filter."""

AND = "\x01"
"""Between the values of a group."""
NEXT = "\x02"
"""Between groups."""
IS = "\x03"
"""Between name and value of a label that somebody asked for."""
END = "\x04"
LIST = ","
"""Between the names of a peer, which are one value of its group: a header can hold them."""

PEER = ("workload", "canonical_service", "canonical_revision", "workload_namespace")
"""The names of a source and of a destination."""
SERVICE = ("destination_service", "destination_service_name", "destination_service_namespace")

INSTRUCTIONS = ("\x0e", "\x0f", "\x10")
"""Before the names of labels to leave out, before a count of messages, and behind it."""
MESSAGES = {"istio_request_messages_total": 1, "istio_response_messages_total": 2}
"""Metrics to be multiplied by a part of the count of messages, and by which."""


def group(values: Iterable[str]) -> str:
    return AND.join(values)


def tag(groups: Sequence[str], given: Mapping[str, str]) -> str:
    return NEXT.join([*groups, *(f"{name}{IS}{value}" for name, value in given.items())]) + END


def instructions(left_out: Sequence[str], messages: str) -> str:
    """ "" where there is nothing to do."""
    if not left_out and not messages:
        return ""
    start, middle, end = INSTRUCTIONS
    return f"{start},{','.join(left_out)},{middle}{messages}{end}"


def names(*, workload: str, service: str, revision: str, namespace: str) -> str:
    """What a peer is called, in the order of PEER. Application and version are the canonical names, as in Istio's
    waypoints, which learn them by workload discovery (istio/proxy,
    source/extensions/common/workload_discovery/api.cc)."""
    return LIST.join((workload, service, revision, namespace))


def peer(names: str, principal: str) -> str:
    """The values of one side. Only the principal of a source is proved: whatever its names are, they end before it."""
    return group((names, principal))


def destination(workload: Workload) -> str:
    called = names(
        workload=workload.workload_name,
        service=workload.canonical_name,
        revision=workload.canonical_revision,
        namespace=workload.namespace,
    )
    return peer(called, workload.identity)


def service(value: Service) -> str:
    return group((value.hostname, value.name, value.namespace))
