"""What of a decision makes a difference to traffic, aspect by aspect: values to compare, with words for each.

Whose object a route or a policy is, what it is called and which pod of several alike is chosen are no such difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from ambientlab.mesh.decide import Answered, Decision, Delivered, Passage, Reason, Result, Routing, Verdict, paths
from ambientlab.mesh.explain import words
from ambientlab.mesh.ir import (
    DEFAULT_RETRIES,
    Destination,
    Fault,
    Forward,
    HeaderChange,
    Key,
    Mesh,
    PolicyAction,
    Protocol,
    Route,
    WeightedDestination,
)
from ambientlab.mesh.plain import plain

NONE = "none"
USUAL = "as usual"


class Aspect(StrEnum):
    """Values are part of the documented JSON; the order is that of the way."""

    CLIENT = "client"
    WAYPOINT = "waypoint"
    PROTOCOL = "protocol"
    TOKENS = "tokens"
    POLICY = "policy"
    ACTION = "action"
    FAULT = "fault"
    REWRITE = "rewrite"
    REQUEST_HEADERS = "request headers"
    RESPONSE_HEADERS = "response headers"
    CORS = "CORS"
    CLIENT_CERTIFICATE = "x-forwarded-client-cert"
    TIMEOUT = "timeout"
    RETRIES = "retries"
    MIRROR = "mirror"
    SETTINGS = "settings"
    SPLIT = "split"
    PODS = "pods"
    LAST_LEG = "last leg"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a request and its share; `delivered` is one that an endpoint gets."""

    name: str
    share: Fraction
    delivered: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """One aspect of a decision. Equal values make no difference. One that is `usual` follows from there being a
    waypoint at all. `shares` are those of a split, which is `refused` where tokens or policies let nothing pass; `ends`
    tell by the name of each a value and words."""

    value: Hashable
    text: str
    usual: bool = False
    shares: tuple[End, ...] = ()
    ends: tuple[tuple[str, Hashable, str], ...] = ()
    refused: bool = False


Facets = Mapping[Aspect, Facet]


def facets(mesh: Mesh, decision: Decision) -> Facets:
    found = dict(_way(mesh, decision))
    found |= dict(_ends(decision))
    first = decision.passages[0] if decision.passages else None
    if first is not None:
        found |= dict(_at_waypoint(mesh, decision, first))
    return found


def _way(mesh: Mesh, decision: Decision) -> Iterator[tuple[Aspect, Facet]]:
    source = decision.source
    taken = f"in the mesh as {words.identity(source.identity)}" if source.captured else "not in the mesh"
    yield Aspect.CLIENT, Facet((source.captured, source.identity), taken)
    through = [(p.hop.waypoint, p.probability, p.hop.target_identity) for p in decision.passages]
    shares = [(str(key), share) for key, share, _ in through]
    asked = decision.waypoint
    text = _shared(shares) or (NONE if asked is None else f"{asked}, which does not get the request")
    yield Aspect.WAYPOINT, Facet((tuple(through), asked is None), text)


def _at_waypoint(mesh: Mesh, decision: Decision, passage: Passage) -> Iterator[tuple[Aspect, Facet]]:
    guards = [mesh.guards.get((p.hop.waypoint or Key("", ""), decision.target.service)) for p in decision.passages]
    rules = tuple(guard.jwt_rules if guard is not None else () for guard in guards)
    issuers = ", ".join(dict.fromkeys(rule.issuer for some in rules for rule in some))
    yield Aspect.TOKENS, Facet(rules, f"accepted from {issuers}" if issuers else "not looked at", not any(rules))
    verdicts = tuple((p.verdict.allowed, p.verdict.asks) for p in decision.passages)
    open_ = all(p.verdict.allowed and p.verdict.asks is None for p in decision.passages)
    yield Aspect.POLICY, Facet(verdicts, _verdict(passage.verdict), open_)
    told = tuple(guard is not None and guard.tells_client for guard in guards)
    yield Aspect.CLIENT_CERTIFICATE, Facet(told, "names the client" if any(told) else NONE, not any(told))
    routing = passage.routing
    service = mesh.services.get(decision.target.service)
    port = service.port(decision.target.port) if service is not None else None
    spoken = str(port.protocol) if port is not None else ""
    how = "requests are routed" if routing is not None else "connections, which nobody looks into"
    yield Aspect.PROTOCOL, Facet((routing is None, spoken), f"{spoken}: {how}" if spoken else how, True)
    route = routing.chosen.route if routing is not None and routing.chosen is not None else None
    if route is not None:
        yield from _of_route(decision, route)
    if routing is not None and (route is None or isinstance(route.action, Forward)):
        yield from _forwarding(routing)
    yield Aspect.SETTINGS, _settings(mesh, _destinations(decision, passage))


def _verdict(found: Verdict) -> str:
    if not found.allowed and found.decisive is None:
        allowing = [judged.policy for judged in found.judged if judged.policy.action is PolicyAction.ALLOW]
        return f"not allowed by {', '.join(str(policy.key) for policy in allowing if not policy.dry_run)}"
    return words.verdict(found)


def _of_route(decision: Decision, route: Route) -> Iterator[tuple[Aspect, Facet]]:
    items = route.action.destinations if isinstance(route.action, Forward) else ()
    if not isinstance(route.action, Forward):
        # where a redirect leads depends on the request, and on what of it was matched
        answers = frozenset(o.result.headers for o in decision.outcomes if isinstance(o.result, Answered))
        yield Aspect.ACTION, Facet((route.action, answers), _action(decision, route))
    elif route.action.rewrite is not None or any(item.authority for item in items):
        sent = frozenset((d.request.path, d.request.authority) for d in decision.delivered())
        changed = (route.action.rewrite, tuple((i.destination, i.authority) for i in items if i.authority))
        yield Aspect.REWRITE, Facet((changed, sent), _rewrite(decision))
    if route.fault is not None and (fault := _happening(route.fault)) != Fault():
        text = "; ".join(line.removeprefix("fault: ") for line in words.fault(fault))
        yield Aspect.FAULT, Facet(fault, text)
    if route.cors is not None:
        yield Aspect.CORS, Facet(route.cors, _flat(route.cors))
    for aspect, own, of_item in (
        (Aspect.REQUEST_HEADERS, route.request_headers, lambda item: item.request_headers),
        (Aspect.RESPONSE_HEADERS, route.response_headers, lambda item: item.response_headers),
    ):
        if (facet := _headers(own, items, of_item)) is not None:
            yield aspect, facet


def _happening(fault: Fault) -> Fault:
    """Without what happens to none."""
    delay, abort = fault.delay, fault.abort
    return Fault(
        delay if delay is not None and delay.parts_per_million else None,
        abort if abort is not None and abort.parts_per_million else None,
    )


def _action(decision: Decision, route: Route) -> str:
    """What is answered, and where a redirect leads."""
    found = [o.result for o in decision.outcomes if isinstance(o.result, Answered)]
    places = (f" to {value}" for end in found for name, value in end.headers if name == "location")
    return f"answered {', '.join(dict.fromkeys(str(end.status) for end in found))}{next(places, '')}"


def _rewrite(decision: Decision) -> str:
    path = paths.normalised(decision.request.path) or decision.request.path
    found: dict[str, None] = {}
    for end in decision.delivered():
        to_path = end.request.path if end.request.path != path else ""
        host = end.request.authority if end.request.authority != decision.request.authority else ""
        found[" for ".join(filter(None, (f"{path} becomes {to_path}" if to_path else "", host)))] = None
    return ", ".join(filter(None, found)) or NONE


def _headers(
    own: HeaderChange, items: Iterable[WeightedDestination], of_item: Callable[[WeightedDestination], HeaderChange]
) -> Facet | None:
    each = tuple((item.destination, of_item(item)) for item in items if of_item(item))
    if not own and not each:
        return None
    texts = [words.changes(own)] if own else []
    texts += [f"{words.changes(change)} (for {words.destination(there)})" for there, change in each]
    return Facet((own, each), ", ".join(texts))


def _forwarding(routing: Routing) -> Iterator[tuple[Aspect, Facet]]:
    timeout = words.duration(routing.timeout_ms) if routing.timeout_ms else NONE
    yield Aspect.TIMEOUT, Facet(routing.timeout_ms, timeout, not routing.timeout_ms)
    text = words.retries(routing.retries)
    yield Aspect.RETRIES, Facet(routing.retries, text, routing.retries == DEFAULT_RETRIES)
    if routing.mirrors:
        text = ", ".join(
            f"{words.parts(m.parts_per_million)} to {words.destination(m.destination)}" for m in routing.mirrors
        )
        yield Aspect.MIRROR, Facet(routing.mirrors, text)


def _destinations(decision: Decision, passage: Passage) -> list[Destination]:
    """To where a waypoint may send the request, so far as it is there."""
    itself = [Destination(decision.target.service, decision.target.port)]
    chosen = passage.routing.chosen if passage.routing is not None else None
    if passage.connections is not None:
        return [item.destination for item in passage.connections.destinations if item.found]
    if chosen is None:
        return itself
    action = chosen.route.action
    items = action.destinations if isinstance(action, Forward) else ()
    return [item.destination for item in items if item.found and item.weight]


def _settings(mesh: Mesh, destinations: Iterable[Destination]) -> Facet:
    """How the waypoint talks to each destination: what a DestinationRule or a BackendTLSPolicy asks for."""
    found: list[tuple[str, Hashable, str]] = []
    for there in dict.fromkeys(destinations):
        service = mesh.services.get(there.host)
        if service is not None and (port := service.port(there.port)) is not None:
            policy = replace(service.policy(port.number, there.subset), origin=None)
            names = service.subject_alt_names if policy.tls is not None else ()
            spoken = "HTTP/2" if port.protocol.http2 else ""
            found.append((words.destination(there), (policy, spoken, names), _flat(policy) or USUAL))
    return Facet(tuple(found), ", ".join(text for _, _, text in found), True, ends=tuple(found))


def _ends(decision: Decision) -> Iterator[tuple[Aspect, Facet]]:
    split: dict[tuple[Hashable, ...], Fraction] = {}
    shares: dict[tuple[str, bool], Fraction] = {}
    pods: dict[str, dict[str, Fraction]] = {}
    legs: dict[str, dict[tuple[Hashable, ...], str]] = {}
    for outcome in decision.outcomes:
        value, name = _end(outcome.result)
        key: tuple[Hashable, ...] = (value, outcome.delay_ms)
        split[key] = split.get(key, Fraction(0)) + outcome.probability
        shown = f"{name} after {words.duration(outcome.delay_ms)}" if outcome.delay_ms else name
        place = (shown, isinstance(outcome.result, Delivered))
        shares[place] = shares.get(place, Fraction(0)) + outcome.probability
        if isinstance(outcome.result, Delivered):
            hop = outcome.result.hop
            each = pods.setdefault(name, {})
            each[hop.endpoint] = each.get(hop.endpoint, Fraction(0)) + outcome.probability
            hbone = hop.protocol is Protocol.HBONE
            text = f"HBONE to {words.identity(hop.target_identity)}" if hbone else "plain TCP"
            legs.setdefault(name, {})[hop.protocol, hop.target_identity] = text
    ordered = sorted(shares.items(), key=lambda each: (-each[1], each[0]))
    ends = tuple(End(name, share, delivered) for (name, delivered), share in ordered)
    text = _shared((end.name, end.share) for end in ends)
    refused = all(_refused(outcome.result) for outcome in decision.outcomes)
    yield Aspect.SPLIT, Facet(frozenset(split.items()), text, shares=ends, refused=refused)
    alike = [(name, _relative(some.values()), _pods(len(some))) for name, some in pods.items()]
    yield Aspect.PODS, Facet(frozenset(alike), ", ".join(text for _, _, text in alike), True, ends=tuple(alike))
    leg = [(name, frozenset(some), " or ".join(dict.fromkeys(some.values()))) for name, some in legs.items()]
    yield Aspect.LAST_LEG, Facet(frozenset(leg), ", ".join(text for _, _, text in leg), True, ends=tuple(leg))


def _refused(end: Result) -> bool:
    """Whether a waypoint answers before it looks at routes, if it has any."""
    return isinstance(end, Answered) and end.reason in (Reason.DENIED, Reason.TOKEN) and end.admission.allowed


def _relative(shares: Collection[Fraction]) -> tuple[Fraction, ...]:
    """Of each pod among those that are called the same."""
    return tuple(sorted(share / sum(shares) for share in shares))


def _pods(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"


def _end(result: Result) -> tuple[Hashable, str]:
    """What tells the end apart from others, and what it is called."""
    match result:
        case Delivered(endpoint=endpoint, hop=hop):
            workload = endpoint.workload
            if not result.destination.host:
                return "", "the pod"
            if workload is None:
                return hop.endpoint, hop.endpoint
            name = f"{workload.namespace}/{workload.workload_name or workload.name}"
            version = dict(workload.labels).get("version", "")
            shown = name if not version or version in name else f"{name} version={version}"
            return (name, version, hop.endpoint.rpartition(":")[2]), shown
        case Answered():
            own = (result.status, result.grpc_status, result.reason, result.body)
            return (*own, result.admission.allowed), words.result(result)
    return (result.reason, result.admission.allowed), words.result(result)


def _shared(shares: Iterable[tuple[str, Fraction]]) -> str:
    """One name alone needs no share."""
    some = list(shares)
    if len(some) == 1:
        return some[0][0]
    return ", ".join(f"{words.percent(share)} {name}" for name, share in some)


def _flat(value: Any) -> str:
    """A value of the mesh on one line."""
    return ", ".join(_lines("", plain(value)))


def _lines(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and "kind" in value:
        yield f"{name} {value.get('value', value['kind'])}".strip()
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(f"{name} {key}".strip().replace("_", " "), inner)
    elif isinstance(value, list):
        yield f"{name} {', '.join(' '.join(_lines('', one)) for one in value)}".strip()
    elif value is True:
        yield name  # `plain` leaves out what is not
    else:
        yield f"{name} {value}".strip()
