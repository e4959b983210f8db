"""Policies that waypoints are asked about requests: those that were, and those that were meant to be."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION
from ambientlab.mesh.explain.explanation import Applied, Finding, Place
from ambientlab.mesh.explain.scope import Scope
from ambientlab.mesh.index import ObjectRef
from ambientlab.mesh.index.targets import Target, every_waypoint, gateway, service, targets
from ambientlab.mesh.ir import Key, PolicyAction


def applied(scope: Scope) -> Iterator[Applied]:
    """What was asked at the waypoints, and what it said."""
    for passage in scope.decision.passages:
        decisive = passage.verdict.decisive
        for judged in passage.verdict.judged:
            policy = judged.policy
            if judged is decisive:
                part = "allows the request" if policy.action is PolicyAction.ALLOW else "denies the request"
            elif judged.rule is None:
                part = f"{policy.action}: does not match"
            else:
                part = f"{policy.action}: matches{' (a dry run)' if policy.dry_run else ''}"
            yield Applied(ObjectRef(AUTHORIZATIONPOLICY.kind, *policy.key), part, Place.WAYPOINT)
        guard = scope.index.mesh.guards.get((passage.hop.waypoint or Key("", ""), scope.host))
        for ref in _token_policies(scope) if guard is not None and guard.jwt_rules else ():
            yield Applied(ref, "says which tokens are valid", Place.WAYPOINT)


def findings(scope: Scope) -> Iterator[Finding]:
    asked = {one.object for one in applied(scope)}
    for resource in (AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION):
        for ref, obj in scope.objects(resource):
            if ref in asked:
                yield from map(scope.finding, scope.diagnostics(ref))
            elif named := targets(obj):
                yield from _by_target(scope, ref, named)


def _token_policies(scope: Scope) -> Iterator[ObjectRef]:
    places = _places(scope)
    for key, reading in sorted(scope.index.security.tokens.items()):
        if set(reading.targets) & places:
            yield ObjectRef(REQUESTAUTHENTICATION.kind, *key)


def _places(scope: Scope) -> set[Target]:
    """What a policy of the callee's waypoint names."""
    found = {every_waypoint(scope.index.home.root)}
    if (callee := scope.callee.object) is not None:
        found.add(service(callee.kind, Key(callee.namespace, callee.name)))
    asked = scope.binding.waypoints or ((scope.binding.asked,) if scope.binding.asked is not None else ())
    return found | {gateway(key) for key in asked}


def _by_target(scope: Scope, ref: ObjectRef, named: tuple[Target, ...]) -> Iterator[Finding]:
    """A policy for a waypoint that was not asked there."""
    callee = scope.callee.object
    if set(named) & _places(scope):
        if scope.bypassed:
            yield scope.past_the_waypoint(ref, "spec.targetRefs")
        elif scope.binding.waypoint is None and scope.host:
            yield scope.no_waypoint(ref, "spec.targetRefs")
        else:
            yield from map(scope.finding, scope.diagnostics(ref))
    elif callee is not None and any((t.kind, t.key.name) == (callee.kind, callee.name) for t in named):
        target = next(t for t in named if (t.kind, t.key.name) == (callee.kind, callee.name))
        if scope.object(ObjectRef(target.kind, *target.key)) is None:
            message = f"{target.kind} {target.key} does not exist, and targets are in the policy's own namespace"
            yield scope.misplaced(ref, message, "spec.targetRefs")
