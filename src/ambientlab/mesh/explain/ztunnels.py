"""Policies without targets, which ztunnel follows before each pod: what it is asked about connections, and what of them
it cannot follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, PEERAUTHENTICATION, REQUESTAUTHENTICATION
from ambientlab.api.objects import Object
from ambientlab.mesh.explain import remedies, words
from ambientlab.mesh.explain.explanation import Applied, Cause, Finding, Place, Remedy
from ambientlab.mesh.explain.scope import Scope
from ambientlab.mesh.index import ObjectRef
from ambientlab.mesh.index.targets import targets
from ambientlab.mesh.ir import Key, PolicyAction, Workload


def applied(scope: Scope) -> Iterator[Applied]:
    """What is enforced for the pods that the request may end at, and where it decides."""
    decisive: dict[Key, dict[str, None]] = {}
    for outcome in scope.decision.outcomes:
        admission = outcome.result.admission
        if admission.policy is not None:
            decisive.setdefault(admission.policy.key, {})["allows" if admission.allowed else "denies"] = None
    ztunnel = scope.index.security.ztunnel
    for workload in scope.servers:
        for policy in scope.index.mesh.enforced.get(workload.key, ()):
            verbs = decisive.get(policy.key)
            part = f"{' and '.join(verbs)} the connection" if verbs else f"{policy.action}: does not decide"
            if (origin := ztunnel.origin(scope.ctx, workload.key, policy.key)) is not None:
                yield Applied(origin, part, Place.ZTUNNEL)


def findings(scope: Scope) -> Iterator[Finding]:
    for resource in (AUTHORIZATIONPOLICY, PEERAUTHENTICATION, REQUESTAUTHENTICATION):
        for ref, obj in scope.objects(resource):
            if not targets(obj) and _selects(scope, ref, obj):
                yield from _of_object(scope, ref, obj)
    yield from _waypoints_identity(scope)


def _of_object(scope: Scope, ref: ObjectRef, obj: Object) -> Iterator[Finding]:
    with_sidecars = scope.with_sidecars(scope.servers)
    ztunnels = [workload for workload in _selected(scope, ref, obj) if workload not in with_sidecars]
    if not ztunnels:
        return
    # that no pod is in the mesh is told below, by their names
    yield from (scope.finding(said) for said in scope.diagnostics(ref) if said.reason != "NotInMesh")
    if ref.kind == REQUESTAUTHENTICATION.kind:
        return
    reading = scope.index.security.ztunnel.policies.get(Key(ref.namespace, ref.name))
    if ref.kind == AUTHORIZATIONPOLICY.kind and reading is not None and (acceptance := reading.acceptance) is not None:
        if acceptance.reason != "Accepted":
            remedy = _to_waypoint(scope, ref, obj)
            yield Finding(ref, Cause.NEEDS_WAYPOINT, acceptance.message, "spec", remedy)
        if not acceptance.accepted:
            return
    outside = [w for w in ztunnels if not w.captured]
    if outside:
        message = f"no ztunnel enforces it before what is not in the mesh: {', '.join(str(w.key) for w in outside)}"
        cures = dict.fromkeys(remedies.capture(scope.index, w.key) for w in outside if w.key in scope.index.workloads)
        yield Finding(ref, Cause.POD_NOT_CAPTURED, message, "", tuple(cures))


def _to_waypoint(scope: Scope, ref: ObjectRef, obj: Object) -> tuple[Remedy, ...]:
    """What asks about requests is for the waypoint of the service, if it has one."""
    callee = scope.callee.object
    if callee is None or not scope.host or ref.namespace != callee.namespace:
        return ()
    waypoint = scope.waypoint_remedies if scope.binding.waypoint is None else ()
    return (remedies.to_target(ref, obj, callee), *waypoint)


def _waypoints_identity(scope: Scope) -> Iterator[Finding]:
    """Behind a waypoint ztunnel sees the waypoint: who the client is, is the waypoint's to ask."""
    for passage in scope.decision.passages:
        for outcome in scope.decision.outcomes:
            admission = outcome.result.admission
            if admission.allowed or admission.unasked:
                continue
            message = (
                f"ztunnel refuses the waypoint's connection ({admission}): it sees "
                f"{words.identity(passage.hop.target_identity)}, not the client"
            )
            for ref, obj in scope.objects(AUTHORIZATIONPOLICY):
                allows = ((obj.get("spec") or {}).get("action") or PolicyAction.ALLOW) == PolicyAction.ALLOW
                meant = admission.policy.key == (ref.namespace, ref.name) if admission.policy is not None else allows
                if meant and not targets(obj) and _selects(scope, ref, obj):
                    yield Finding(ref, Cause.WAYPOINT_IDENTITY, message, "", _to_waypoint(scope, ref, obj))


def _selected(scope: Scope, ref: ObjectRef, obj: Object) -> list[Workload]:
    """The pods among those that a policy without targets is for. In the root namespace a selector selects all over the
    mesh."""
    root = scope.index.home.root
    labels: Mapping[str, str] = ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return [
        workload
        for workload in scope.servers
        if ref.namespace in (workload.namespace, root) and labels.items() <= dict(workload.labels).items()
    ]


def _selects(scope: Scope, ref: ObjectRef, obj: Object) -> bool:
    return bool(_selected(scope, ref, obj))
