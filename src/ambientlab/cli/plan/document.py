"""A plan as JSON. The schema is documented in docs/plan.md, which a test holds to this module."""

from __future__ import annotations

from typing import Any

from ambientlab.cli.analyze.document import finding_of
from ambientlab.cli.analyze.report import Found
from ambientlab.cli.explain.document import object_of, outcome_of, request_of, share_of, unseen_of
from ambientlab.cli.plan.report import Report
from ambientlab.host.manifests import Problem
from ambientlab.host.rehearsal import Outcome
from ambientlab.mesh.decide import Decision
from ambientlab.mesh.explain import words
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Clients, Denial, Difference, Effect, Example, ref_of

Json = dict[str, Any]

API_VERSION = "plan.ambientlab.io/v1"
KIND = "Plan"


def document(report: Report) -> Json:
    comparison = report.plan.comparison
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "objects": [_object(one) for one in report.outcomes],
        "effects": [_effect(one) for one in comparison.effects],
        "warnings": [finding_of(Found(one)) for one in report.plan.warnings],
        "denied": [_denial(one) for one in report.denied],
        "notPruned": list(report.left),
        "refused": [_refused(one) for one in report.problems],
        "summary": {
            "services": comparison.services,
            "untouched": comparison.untouched,
            "changes": bool(comparison.effects),
        },
        "unseen": [unseen_of(one) for one in report.unseen],
    }


def _object(one: Outcome) -> Json:
    return {
        "object": object_of(ref_of(one.change)),
        "verb": one.verb,
        "unasked": one.unasked,
        "warnings": list(one.warnings),
    }


def _effect(effect: Effect) -> Json:
    service = effect.service
    return {
        "host": effect.target,
        "port": effect.port,
        "service": None if service is None else {"kind": service.kind, **_named(service.key)},
        "pods": [str(pod) for pod in effect.pods],
        "fate": str(effect.fate),
        "clients": [client for some in effect.clients for client in _clients(some)],
        "everyRequest": effect.every,
        "examples": [_example(one) for one in effect.examples],
        "others": [_asked(one) for one in effect.others],
        "differences": [_difference(one) for one in effect.differences],
    }


def _named(key: Key) -> Json:
    return {"namespace": key.namespace, "name": key.name}


def _clients(some: Clients) -> list[Json]:
    return [
        {"pod": None if member is None else str(member), "captured": some.captured and member is not None}
        for member in some.members
    ]


def _example(one: Example) -> Json:
    return {**_asked(one), "before": _decided(one.before), "after": _decided(one.after)}


def _asked(one: Example) -> Json:
    return {
        "request": request_of(one.request),
        "token": one.token,
        "matches": [words.matching(match) for match in one.matches],
    }


def _decided(decision: Decision) -> Json:
    return {
        "waypoint": None if decision.waypoint is None else str(decision.waypoint),
        "outcomes": [outcome_of(outcome) for outcome in decision.outcomes],
    }


def _difference(one: Difference) -> Json:
    return {
        "aspect": str(one.aspect),
        "subject": one.subject,
        "before": one.before,
        "after": one.after,
        "shares": [
            {"name": share.name, "before": share_of(share.before), "after": share_of(share.after)}
            for share in one.shares
        ],
    }


def _denial(denial: Denial) -> Json:
    one = denial.connection
    return {
        "client": str(one.client),
        "host": one.host,
        "port": one.port,
        "connections": one.count,
        "everyRequest": denial.every,
        "examples": [_example(example) for example in denial.examples],
    }


def _refused(one: Problem) -> Json:
    return {
        "file": one.file,
        "line": one.line,
        "document": one.number,
        "object": one.named,
        "message": one.message,
    }
