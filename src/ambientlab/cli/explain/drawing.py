"""An explanation drawn for a terminal: the way from top to bottom, then what had no part in it, then what to type.

It reads without colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from ambientlab.cli.layout import INDENT, NOT_SEEN, located, not_seen, page, sides, to_paste, wrapped
from ambientlab.mesh.decide import Candidate, Delivered, Hop, Passage, Request, Result, Routing, Why
from ambientlab.mesh.explain import Explanation, Finding, Place, words
from ambientlab.mesh.ir import Distribution, Port, Protocol, with_port

_MOST_CLOSE = 3
_DISTRIBUTIONS = {
    Distribution.SAME_ZONE: "of those nearest to the client, by zone",
    Distribution.SAME_NODE: "of those nearest to the client, by node",
    Distribution.LOCAL: "of those on the client's node alone",
}
_BAR = f"{INDENT}│  "
_ARROW = f"{INDENT}▼  "


def draw(found: Explanation) -> str:
    parts = [_title(found), _way(found)]
    for title, findings in (("Problems", found.problems), ("Without effect", found.ignored)):
        if findings:
            parts.append([title, *(line for finding in findings for line in _finding(finding))])
    if found.remedies:
        parts.append(["To change that", *(line for remedy in found.remedies for line in to_paste(remedy))])
    if found.unseen:
        parts.append([NOT_SEEN, *not_seen(found.unseen)])
    return page(parts)


def _title(found: Explanation) -> list[str]:
    client = _who(found, "somebody outside of the cluster")
    chosen = f" ({found.client.chosen})" if found.client.chosen else ""
    return [f"{found.decision.request.method} {url(found.decision.request)}", *wrapped(f"from {client}{chosen}", "")]


def _who(found: Explanation, nobody: str) -> str:
    node = found.decision.source.node
    return str(found.client.key or (f"node {node}" if node else nobody))


def url(request: Request) -> str:
    own = {"http": 80, "https": 443}[request.scheme]
    host = with_port(request.host, request.port)
    return f"{request.scheme}://{host.removesuffix(f':{own}')}{request.path}"


def _way(found: Explanation) -> list[str]:
    lines = [*_client(found), *_facts(_target(found)), *_facts([_choice(found)])]
    for number, passage in enumerate(found.decision.passages):
        if number:
            lines.append(f"{INDENT}or, in its place,")
        lines += [*_leg(passage.hop), *_waypoint(found, passage)]
    if not found.decision.passages and found.decision.target.service and any(found.decision.delivered()):
        lines += _facts([_unseeing(found)])
    return [*lines, *_ends(found)]


def _client(found: Explanation) -> Iterator[str]:
    source, client = found.decision.source, found.client
    yield from sides(INDENT, _who(found, "outside"), source.address)
    if found.decision.why is Why.ITSELF:
        yield from _facts([f"no ztunnel takes it: {found.decision.why}"])
    elif source.captured:
        by = f" {client.ztunnel}" if client.ztunnel is not None else ""
        yield from _facts([f"in the mesh: taken by ztunnel{by} as {words.identity(source.identity)}"])
    else:
        yield from _facts([f"not in the mesh: {client.outside}"])


def _target(found: Explanation) -> Iterator[str]:
    request, target, callee = found.decision.request, found.decision.target, found.callee
    if callee.object is None:
        yield f"{request.host} is nothing that the mesh knows"
        return
    port = "" if callee.port is None else f", port {_port(callee.port)}"
    address = f" at {target.address}" if target.address and target.address != request.host else ""
    yield f"{request.host} is {callee.object}{address}{port}"
    if target.service and callee.port is None and callee.ports:
        yield f"it has no port {request.port}: it has {', '.join(map(_port, callee.ports))}"


def _port(port: Port) -> str:
    return f"{port.number} ({f'{port.name}, ' if port.name else ''}{port.protocol})"


def _unseeing(found: Explanation) -> str:
    distribution = found.callee.distribution
    local = f" ({_DISTRIBUTIONS[distribution]})" if distribution is Distribution.LOCAL else ""
    if not found.decision.source.captured:
        return f"the rules of the client's node choose an endpoint for each connection{local}"
    if not found.decision.target.address:
        return "its name stands for its pods: the client chooses one, and ztunnel sees no requests"
    near = f" ({_DISTRIBUTIONS[distribution]})" if distribution is not Distribution.ANY else ""
    return f"ztunnel chooses an endpoint for each connection{near}, and sees no requests"


def _choice(found: Explanation) -> str:
    key, choice = found.decision.waypoint, found.waypoint
    if found.decision.why is Why.ITSELF:
        return "no waypoint and no policy: they are for what comes from others"
    if key is not None and found.decision.passages:
        return f"waypoint {key}: {choice.why}"
    if key is not None:
        return f"waypoint {key} ({choice.why}) does not get the request"
    if not found.decision.source.captured and choice.asked is not None:
        return f"past the waypoint {choice.asked}: what is not in the mesh is taken to none"
    return f"no waypoint: {choice.why}"


def _leg(hop: Hop) -> Iterator[str]:
    if hop.protocol is Protocol.HBONE:
        yield f"{_ARROW}HBONE (mTLS) to {words.identity(hop.target_identity)}"
    else:
        yield f"{_ARROW}plain TCP"


def _waypoint(found: Explanation, passage: Passage) -> Iterator[str]:
    share = "" if passage.probability == 1 else f"{words.percent(passage.probability)} of connections"
    yield from sides(INDENT, f"waypoint {passage.hop.waypoint}", share or passage.hop.endpoint)
    yield from _facts([f"policies: {words.verdict(passage.verdict)}", *_policies(found)])
    if passage.routing is not None:
        yield from _facts(_routing(passage.routing))
    elif passage.connections is not None:
        kind, key = passage.connections.origin
        yield from _facts([f"connections by {kind} {key}: nobody looks into them"])
    else:
        yield from _facts(["no route: nobody looks into the connection"])


def _policies(found: Explanation) -> Iterator[str]:
    for one in found.applied:
        security = one.object.kind in ("AuthorizationPolicy", "RequestAuthentication")
        if security and one.place is Place.WAYPOINT:
            yield f"  {one.object}: {one.part}"


def _routing(routing: Routing) -> Iterator[str]:
    if routing.table is None:
        yield "route: none, so the request goes to the service itself"
    elif routing.chosen is None:
        yield f"route: none of {len(routing.candidates)} matches"
    else:
        yield f"route: {_route(routing.chosen)} ({words.matching(routing.chosen.route.match)})"
    before = routing.chosen.index if routing.chosen is not None else len(routing.candidates)
    close = [candidate for candidate in routing.came_close if candidate.index < before]
    for candidate in close[:_MOST_CLOSE]:
        yield f"  came close: {_route(candidate)}: {candidate.failed[0]}"
    if len(close) > _MOST_CLOSE:
        yield f"  and {len(close) - _MOST_CLOSE} more"
    yield from words.doing(routing)


def _route(candidate: Candidate) -> str:
    """The object, and the rule if it can be told: by the name that it has or that Istio gives it, by its number."""
    (kind, key), name = candidate.route.origin, candidate.route.name
    own = name.removeprefix(f"{key.namespace}.{key.name}.")
    rule = f", rule {own}" if own.isdigit() or own == name else ""
    return f"{kind} {key}{rule if name else ''}"


def _ends(found: Explanation) -> Iterator[str]:
    """The last leg, and where it leads: by destination, where there are several."""
    outcomes = found.decision.outcomes
    yield from _facts(_admissions(found))
    legs = dict.fromkeys(_last_leg(o.result) for o in outcomes if isinstance(o.result, Delivered))
    yield from wrapped(" or ".join(legs), _ARROW, " " * len(_ARROW)) or [_ARROW.rstrip()]
    if (delays := found.decision.delays()) != {0: 1}:
        late = [f"{words.percent(share)} after {words.duration(ms)}" for ms, share in delays.items() if ms]
        yield f"{INDENT}({', '.join(late)})"
    places: dict[str, dict[_End, Fraction]] = {}
    for outcome in outcomes:
        end = _end(found, outcome.result)
        ends = places.setdefault(end.place, {})
        ends[end] = ends.get(end, Fraction(0)) + outcome.probability
    several = sum(map(bool, places)) > 1
    for place, ends in sorted(places.items(), key=lambda each: (not each[0], -sum(each[1].values()))):
        if place and several:
            yield from wrapped(f"{words.percent(sum(ends.values(), Fraction(0)))} to {place}", INDENT)
        indent = INDENT * 2 if place and several else INDENT
        width = max(len(words.percent(share)) for share in ends.values())
        for end, share in sorted(ends.items(), key=lambda each: -each[1]):
            lead = f"{indent}{words.percent(share).rjust(width)}  "
            yield from sides(lead, end.text, end.address) if end.address else wrapped(end.text, lead, " " * len(lead))


class _End(NamedTuple):
    """One of the last lines: the destination that it is below, what is there, and at which address."""

    place: str
    text: str
    address: str


def _end(found: Explanation, result: Result) -> _End:
    if not isinstance(result, Delivered):
        return _End("", words.result(result), "")
    place = words.destination(result.destination) if result.destination.host else ""
    workload = result.endpoint.workload
    version = dict(workload.labels).get("version", "") if workload is not None else ""
    said = "  out of reach" if result.endpoint in found.beyond else f"  version={version}" if version else ""
    return _End(place, f"{words.result(result)}{said}", result.hop.endpoint)


def _admissions(found: Explanation) -> Iterator[str]:
    """What ztunnel makes of the last leg, where it is asked."""
    results = [outcome.result for outcome in found.decision.outcomes]
    met = [result for result in results if isinstance(result, Delivered) or not result.admission.allowed]
    asked = [one for one in found.applied if one.place is Place.ZTUNNEL]
    if met and asked:
        yield f"ztunnel before the pods: {', '.join(dict.fromkeys(str(result.admission) for result in met))}"
        yield from (f"  {one.object}: {one.part}" for one in asked)


def _last_leg(end: Delivered) -> str:
    if end.hop.protocol is Protocol.HBONE:
        return f"HBONE (mTLS) to {words.identity(end.hop.target_identity)}"
    return "plain TCP"


def _finding(finding: Finding) -> Iterator[str]:
    yield from sides(f"{INDENT}✗ ", str(finding.object), str(finding.cause))
    yield from wrapped(located(finding.field, finding.message), f"{INDENT}  ")


def _facts(facts: Iterable[str]) -> Iterator[str]:
    for fact in facts:
        more = "  " if not fact.startswith(" ") else "    "
        yield from wrapped(fact, _BAR, _BAR + more)
