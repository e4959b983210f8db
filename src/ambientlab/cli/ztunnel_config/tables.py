"""What is printed of a dump by default: the rows of the tables, and which of them are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ambientlab.cli.shapes import moment
from ambientlab.cli.ztunnel_config.dump import Dump, Message

Rows = list[list[str]]

CERTIFICATE_PADDING = 5
"""Wider than the other tables', in istioctl as well."""


@dataclass(frozen=True, slots=True)
class WorkloadFilter:
    """What is empty admits everything; names are compared without regard to case, as by istioctl."""

    namespace: str = ""
    name: str = ""
    address: str = ""
    node: str = ""

    def admits(self, workload: Message) -> bool:
        return (
            _same(self.name, workload["name"])
            and _same(self.namespace, workload["namespace"])
            and _same(self.node, workload["node"])
            and (not self.address or any(_same(self.address, ip) for ip in workload["workloadIps"] or ()))
        )


@dataclass(frozen=True, slots=True)
class ConnectionFilter:
    """`raw` leaves addresses as they are."""

    namespace: str = ""
    workload: str = ""
    direction: str = ""
    raw: bool = False

    def admits(self, state: Message) -> bool:
        info = state["info"]
        return self.namespace in ("", info["namespace"]) and _same(self.workload, info["name"])


def _same(wanted: str, found: str) -> bool:
    return not wanted or wanted.lower() == found.lower()


def in_namespace(namespace: str) -> Callable[[Message], bool]:
    return lambda one: _same(namespace, one["namespace"])


def workloads(dump: Dump, chosen: WorkloadFilter) -> Rows:
    found = [one for one in dump.workloads if chosen.admits(one)]
    found.sort(key=lambda one: (f"{one['namespace']}.{one['name']}", one["node"]))
    rows = [
        [
            one["namespace"],
            one["name"],
            ",".join(one["workloadIps"] or ()) or one["hostname"],
            one["node"],
            _waypoint(one, dump.services),
            one["protocol"],
        ]
        for one in found
    ]
    return [["NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"], *rows]


def services(dump: Dump, namespace: str) -> Rows:
    healthy = {one["uid"] for one in dump.workloads if one["status"] == "Healthy"}
    rows = []
    for one in ordered_services(dump, namespace):
        endpoints = one["endpoints"] or {}
        ready = sum(endpoint is not None and endpoint["workloadUid"] in healthy for endpoint in endpoints.values())
        vips = ",".join(_ip(vip) for vip in one["vips"] or ())
        rows.append(
            [one["namespace"], one["name"], vips, _waypoint(one, dump.services), f"{ready}/{len(endpoints)}"],
        )
    return [["NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS"], *rows]


def ordered_services(dump: Dump, namespace: str) -> list[Message]:
    found = filter(in_namespace(namespace), dump.services)
    return sorted(found, key=lambda one: (one["namespace"], one["name"], one["hostname"]))


def policies(dump: Dump, namespace: str) -> Rows:
    rows = [[one[name] for name in ("namespace", "name", "action", "scope")] for one in ordered(dump, namespace)]
    return [["NAMESPACE", "POLICY NAME", "ACTION", "SCOPE"], *rows]


def ordered(dump: Dump, namespace: str) -> list[Message]:
    """Policies."""
    found = filter(in_namespace(namespace), dump.policies)
    return sorted(found, key=lambda one: (one["namespace"], one["name"]))


def certificates(dump: Dump, now: datetime) -> Rows:
    """A chain without roots of its own is one of older versions, whose last certificate is the root."""
    rows = []
    for one in dump.certificates:
        state = "Unavailable" if "Unavailable" in one["state"] else one["state"]
        chain, roots = one["certChain"] or [], one["rootCerts"] or []
        if not chain:
            rows.append([one["identity"], "NA", state, "false", "NA", "NA", "NA"])
            continue
        types = ["Leaf", *("Intermediate" for _ in chain[1:])]
        if not roots and len(chain) > 1:
            types[-1] = "Root"
        for kind, certificate in [*zip(types, chain, strict=True), *(("Root", root) for root in roots)]:
            times = [certificate["expirationTime"] or "NA", certificate["validFrom"] or "NA"]
            valid, serial = str(_valid(certificate, now)).lower(), _hexadecimal(certificate["serialNumber"])
            rows.append([one["identity"], kind, state, valid, serial, *times])
    head = ["CERTIFICATE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]
    return [head, *rows]


def connections(dump: Dump, chosen: ConnectionFilter) -> Rows:
    names = {
        **{(one["workloadIps"] or ["None"])[0]: f"{one['name']}.{one['namespace']}" for one in dump.workloads},
        **{_ip((one["vips"] or ["/None"])[0]): one["hostname"] for one in dump.services},
    }

    def named(address: str) -> str:
        ip, _, port = address.rpartition(":")
        name = None if chosen.raw else names.get(ip.strip("[]"))
        return address if name is None else f"{name}:{port}"

    rows = []
    for state in ordered_states(dump, chosen):
        info, found = state["info"], state["connections"]
        name = f"{info['name']}.{info['namespace']}"
        if chosen.direction != "outbound":
            for one in found["inbound"] or ():
                local, remote = named(one["actualDst"]), named(one["src"])
                rows.append([name, "Inbound", local, remote, one["originalDst"], one["protocol"]])
        if chosen.direction != "inbound":
            for one in found["outbound"] or ():
                ends = [named(one[end]) for end in ("src", "actualDst", "originalDst")]
                rows.append([name, "Outbound", *ends, one["protocol"]])
    return [["WORKLOAD", "DIRECTION", "LOCAL", "REMOTE", "REMOTE TARGET", "PROTOCOL"], *rows]


def ordered_states(dump: Dump, chosen: ConnectionFilter) -> list[Message]:
    found = [state for state in dump.states if chosen.admits(state)]
    return sorted(found, key=lambda state: (state["info"]["namespace"], state["info"]["name"]))


def _waypoint(one: Message, known: Sequence[Message]) -> str:
    """The name of the service that the waypoint's address, or host, is of."""
    if (waypoint := one.get("waypoint")) is None:
        return "None"
    target = waypoint["destination"]
    for service in known:
        if target == f"{service['namespace']}/{service['hostname']}" or target in (service["vips"] or ()):
            name: str = service["name"]
            return name
    return "NA"


def _ip(address: str) -> str:
    """Of `network/address`."""
    return address.partition("/")[2]


def _hexadecimal(number: str) -> str:
    """What is no number is shown as Go shows one that is not there."""
    try:
        return f"{int(number):x}"
    except ValueError:
        return "<nil>"


def _valid(certificate: Message, now: datetime) -> bool:
    begin, end = moment(certificate["validFrom"]), moment(certificate["expirationTime"])
    return begin is not None and end is not None and begin < now < end
