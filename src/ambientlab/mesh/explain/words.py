"""Parts of a decision in words, each a line or less."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ambientlab.mesh.decide import Answered, Delivered, Failed, Reason, Result, Routing, Verdict
from ambientlab.mesh.ir import (
    DEFAULT_RETRIES,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HeaderChange,
    Match,
    Redirect,
    RetryPolicy,
    Rewrite,
    Route,
    StringMatch,
)

_MILLION = 1_000_000
_SCHEME = "spiffe://"
_COMPARED = {"exact": "is", "prefix": "begins with", "path-prefix": "is below", "regex": "matches"}
_REASONS = {
    Reason.DENIED: "denied by policy",
    Reason.NO_ROUTE: "no route matches",
    Reason.NO_CLUSTER: "there is no such destination",
    Reason.NO_ENDPOINT: "nothing is ready behind it",
    Reason.FAULT: "aborted by fault injection",
}


def percent(share: Fraction) -> str:
    """Exact where two decimals are enough, otherwise with the fraction that it is."""
    value = share * 100
    if value.denominator == 1:
        return f"{value.numerator}%"
    if 100 % value.denominator == 0:
        return f"{float(value):.2f}".rstrip("0") + "%"
    return f"{float(value):.2f}% ({share})"


def parts(per_million: int) -> str:
    return percent(Fraction(min(per_million, _MILLION), _MILLION))


def duration(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds} ms"


def identity(spiffe: str) -> str:
    """Without the scheme."""
    return spiffe.removeprefix(_SCHEME)


def destination(there: Destination) -> str:
    if not there.host:
        return "a reference to nothing"
    return f"{there.host}:{there.port}{f' subset {there.subset}' if there.subset else ''}"


def matching(match: Match) -> str:
    """What a route asks for; nothing where it takes everything."""
    found = []
    for subject, wanted in (("path", match.path), ("method", match.method), ("authority", match.authority)):
        if wanted is not None and not (subject == "path" and wanted.kind != "exact" and wanted.value in ("", "/")):
            found.append(_condition(subject, wanted))
    if match.scheme is not None:
        found.append(_condition("scheme", match.scheme))
    found += [_condition(f"header {name}", wanted) for name, wanted in match.headers]
    found += [f"not {_condition(f'header {name}', wanted)}" for name, wanted in match.without_headers]
    found += [_condition(f"query parameter {name}", wanted) for name, wanted in match.query]
    return ", ".join(found) or "any request"


def _condition(subject: str, wanted: StringMatch) -> str:
    if wanted.kind == "present":
        return f"{subject} is there"
    return f"{subject} {_COMPARED[wanted.kind]} {wanted.value or 'empty'}"


def doing(routing: Routing) -> Iterator[str]:
    """What a waypoint does with a request besides sending it on: in the order of its filters."""
    route = routing.chosen.route if routing.chosen is not None else None
    if route is not None:
        yield from _filters(route)
    if routing.table is None or (route is not None and isinstance(route.action, Forward)):
        yield f"timeout: {duration(routing.timeout_ms) if routing.timeout_ms else 'none'}"
        yield f"retries: {retries(routing.retries)}"
        for mirror in routing.mirrors:
            yield f"mirror: {parts(mirror.parts_per_million)} to {destination(mirror.destination)}"


def _filters(route: Route) -> Iterator[str]:
    if route.cors is not None:
        yield "CORS: the waypoint answers preflights and adds headers for the origins it allows"
    if route.fault is not None:
        yield from fault(route.fault)
    if text := changes(route.request_headers):
        yield f"request headers: {text}"
    if text := changes(route.response_headers):
        yield f"response headers: {text}"
    match route.action:
        case Forward() as action:
            if action.rewrite is not None:
                yield f"rewrite: {_rewrite(action.rewrite)}"
        case Redirect() as action:
            yield f"redirect: {action.status}"
        case DirectResponse() as action:
            yield f"answers {action.status} itself"


def fault(found: Fault) -> Iterator[str]:
    if found.delay is not None:
        yield f"fault: {parts(found.delay.parts_per_million)} wait {duration(found.delay.milliseconds)}"
    if (abort := found.abort) is not None:
        status = f"gRPC status {abort.grpc_status}" if abort.grpc_status is not None else str(abort.http_status)
        yield f"fault: {parts(abort.parts_per_million)} are answered {status}"


def changes(change: HeaderChange) -> str:
    done = [f"remove {name}" for name in change.remove]
    done += [f"set {name}: {value}" for name, value in change.set]
    done += [f"add {name}: {value}" for name, value in change.add]
    return ", ".join(done)


def _rewrite(rewrite: Rewrite) -> str:
    done = []
    if rewrite.authority:
        done.append(f"authority {rewrite.authority}")
    if rewrite.full_path is not None:
        done.append(f"path {rewrite.full_path}")
    if rewrite.prefix is not None:
        done.append(f"what was matched of the path becomes {rewrite.prefix}")
    if rewrite.regex is not None:
        done.append(f"path {rewrite.regex[0]} becomes {rewrite.regex[1]}")
    return ", ".join(done)


def retries(policy: RetryPolicy | None) -> str:
    if policy is None:
        return "none"
    if policy == DEFAULT_RETRIES:
        return f"{policy.attempts} (the default)"
    codes = f", {', '.join(map(str, policy.status_codes))}" if policy.status_codes else ""
    each = f", each within {duration(policy.per_try_timeout_ms)}" if policy.per_try_timeout_ms else ""
    return f"{policy.attempts} on {policy.retry_on.replace(',', ', ')}{codes}{each}"


def verdict(found: Verdict) -> str:
    asked = f"; {found.asks.name} is asked" if found.asks is not None else ""
    return f"{found}{asked}"


def result(end: Result) -> str:
    """How a request ends that no endpoint gets."""
    match end:
        case Delivered(endpoint=endpoint):
            return str(endpoint.workload.key) if endpoint.workload is not None else endpoint.address
        case Answered(status=status, reason=reason, grpc_status=grpc):
            code = f"{status}" if grpc is None else f"gRPC status {grpc}"
            where = f": {destination(end.destination)}" if end.destination is not None else ""
            return f"{code} ({_refusal(end) or f'{_REASONS.get(reason, reason)}{where}'})"
        case _:
            return f"no response ({_refusal(end) or _REASONS.get(end.reason, end.reason)})"


def _refusal(end: Answered | Failed) -> str:
    """In ztunnel's words, where it was ztunnel that refused."""
    if end.admission.allowed:
        return ""
    if end.admission.by_waypoint:
        return f"the waypoint, whose own the port is: {end.admission}"
    own = ", whose own the port is" if end.reason is Reason.OWN_PORT else ""
    return f"ztunnel{own}: {end.admission}"
