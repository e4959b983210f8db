"""An explanation as JSON. The schema is documented in docs/explain.md, which a test holds to this module."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ambientlab.mesh.decide import Answered, Candidate, Delivered, Failed, Hop, Outcome, Passage, Request, Routing
from ambientlab.mesh.explain import Explanation, Finding, Remedy, Unseen, words
from ambientlab.mesh.index import ObjectRef
from ambientlab.mesh.ir import Destination, Key, Port

Json = dict[str, Any]

API_VERSION = "explain.ambientlab.io/v1"
KIND = "Explanation"


def document(found: Explanation) -> Json:
    decision = found.decision
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "request": request_of(decision.request),
        "client": {
            **_named(found.client.key),
            "chosen": found.client.chosen,
            "captured": decision.source.captured,
            "ztunnel": _key(found.client.ztunnel),
            "outside": found.client.outside,
            "identity": decision.source.identity,
            "address": decision.source.address,
        },
        "target": {
            "host": decision.target.service,
            "address": decision.target.address,
            "object": None if found.callee.object is None else object_of(found.callee.object),
            "port": None if found.callee.port is None else _port(found.callee.port),
            "ports": [_port(port) for port in found.callee.ports],
            "distribution": str(found.callee.distribution),
        },
        "waypoint": {
            "used": _key(decision.waypoint),
            "asked": _key(found.waypoint.asked),
            "askedBy": None if found.waypoint.by is None else object_of(found.waypoint.by),
            "reason": decision.why.name,
            "why": found.waypoint.why,
        },
        "passages": [_passage(passage) for passage in decision.passages],
        "outcomes": [_outcome(found, outcome) for outcome in decision.outcomes],
        "applied": [
            {"object": object_of(one.object), "part": one.part, "place": str(one.place)} for one in found.applied
        ],
        "problems": [_finding(finding) for finding in found.problems],
        "ignored": [_finding(finding) for finding in found.ignored],
        "remedies": [remedy_of(remedy) for remedy in found.remedies],
        "unseen": [unseen_of(one) for one in found.unseen],
    }


def request_of(request: Request) -> Json:
    return {
        "method": request.method,
        "scheme": request.scheme,
        "host": request.host,
        "port": request.port,
        "path": request.path,
        "authority": request.authority,
        "headers": [{"name": name, "value": value} for name, value in request.headers],
    }


def _named(key: Key | None) -> Json:
    return {"namespace": key.namespace if key is not None else None, "name": key.name if key is not None else None}


def _key(key: Key | None) -> str | None:
    return None if key is None else str(key)


def object_of(ref: ObjectRef) -> Json:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _port(port: Port) -> Json:
    return {"number": port.number, "name": port.name, "protocol": str(port.protocol)}


def share_of(value: Fraction) -> Json:
    """Exact, and as a number to compare roughly."""
    return {"fraction": f"{value.numerator}/{value.denominator}", "percent": float(value * 100)}


def _hop(hop: Hop) -> Json:
    return {
        "protocol": str(hop.protocol),
        "address": hop.endpoint,
        "sourceIdentity": hop.source_identity,
        "targetIdentity": hop.target_identity,
    }


def _passage(passage: Passage) -> Json:
    verdict = passage.verdict
    return {
        "waypoint": _key(passage.hop.waypoint),
        "share": share_of(passage.probability),
        "hop": _hop(passage.hop),
        "allowed": verdict.allowed,
        "verdict": words.verdict(verdict),
        "policies": [
            {
                "policy": str(judged.policy.key),
                "action": str(judged.policy.action),
                "dryRun": judged.policy.dry_run,
                "rule": judged.rule,
            }
            for judged in verdict.judged
        ],
        "routing": None if passage.routing is None else _routing(passage.routing),
        "connections": None if passage.connections is None else _origin(passage.connections.origin),
    }


def _routing(routing: Routing) -> Json:
    return {
        "table": None if routing.table is None else {"host": routing.table.host, "port": routing.table.port},
        "chosen": None if routing.chosen is None else routing.chosen.index,
        "candidates": [_candidate(candidate) for candidate in routing.candidates],
        "timeoutMs": routing.timeout_ms,
        "retries": None
        if routing.retries is None
        else {"attempts": routing.retries.attempts, "on": routing.retries.retry_on},
        "mirrors": [
            {"destination": _destination(mirror.destination), "partsPerMillion": mirror.parts_per_million}
            for mirror in routing.mirrors
        ],
        "filters": list(words.doing(routing)),
    }


def _candidate(candidate: Candidate) -> Json:
    return {
        "object": _origin(candidate.route.origin),
        "name": candidate.route.name,
        "match": words.matching(candidate.route.match),
        "matches": candidate.matches,
        "failed": [str(check) for check in candidate.failed],
    }


def _origin(origin: tuple[str, Key]) -> Json:
    return object_of(ObjectRef(origin[0], *origin[1]))


def _destination(destination: Destination) -> Json:
    return {"host": destination.host, "port": destination.port, "subset": destination.subset}


def _outcome(found: Explanation, outcome: Outcome) -> Json:
    end = outcome.result
    away = {"outOfReach": end.endpoint in found.beyond} if isinstance(end, Delivered) else {}
    return outcome_of(outcome) | away


def outcome_of(outcome: Outcome) -> Json:
    end = outcome.result
    found: Json = {
        "share": share_of(outcome.probability),
        "delayMs": outcome.delay_ms,
        "end": words.result(end),
        "admission": {
            "allowed": end.admission.allowed,
            "verdict": str(end.admission),
            "policy": _key(end.admission.policy.key if end.admission.policy is not None else None),
            "rule": end.admission.rule,
        },
    }
    match end:
        case Delivered():
            workload = end.endpoint.workload
            return found | {
                "kind": "Delivered",
                "destination": _destination(end.destination),
                "pod": _key(workload.key if workload is not None else None),
                "labels": dict(workload.labels) if workload is not None else {},
                "hop": _hop(end.hop),
            }
        case Answered():
            return found | {
                "kind": "Answered",
                "reason": end.reason.name,
                "status": end.status,
                "grpcStatus": end.grpc_status,
                "destination": None if end.destination is None else _destination(end.destination),
            }
        case Failed():
            return found | {"kind": "Failed", "reason": end.reason.name}


def _finding(finding: Finding) -> Json:
    return {
        "object": object_of(finding.object),
        "cause": str(finding.cause),
        "field": finding.field,
        "message": finding.message,
        "remedies": [remedy_of(remedy) for remedy in finding.remedies],
    }


def unseen_of(unseen: Unseen) -> Json:
    return {"what": unseen.what, "why": unseen.why, "commands": list(unseen.commands)}


def remedy_of(remedy: Remedy) -> Json:
    return {"purpose": remedy.purpose, "commands": list(remedy.commands)}
