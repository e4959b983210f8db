"""All that is to be said of one request, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ambientlab.api.kinds import SERVICE
from ambientlab.mesh.decide import Reason, Request, Why, decide
from ambientlab.mesh.explain import policies, remedies, routes, rules, surroundings, ztunnels
from ambientlab.mesh.explain.asking import NoNamespaceError, UnknownError, check_namespace
from ambientlab.mesh.explain.clients import Asker
from ambientlab.mesh.explain.explanation import (
    BROKEN,
    Applied,
    Cause,
    Client,
    Explanation,
    Finding,
    Place,
    Unseen,
)
from ambientlab.mesh.explain.scope import Scope, choice
from ambientlab.mesh.index import MeshIndex, ObjectRef

_ORDER = list(Cause)
_FINDINGS = (surroundings.findings, routes.findings, rules.findings, policies.findings, ztunnels.findings)


def explain(index: MeshIndex, asker: Asker, request: Request, unseen: Sequence[Unseen] = ()) -> Explanation:
    """Raises UnknownError where the name asked for means nothing to the cluster."""
    decision = decide(index.mesh, asker.key, request, domain=index.domain, node=asker.node)
    if any(getattr(outcome.result, "reason", None) is Reason.UNRESOLVED for outcome in decision.outcomes):
        raise _unknown(index, request)
    scope = Scope(index, decision)
    alone = decision.why is Why.ITSELF  # whatever there is about the pod is about what comes from others
    found = [] if alone else [finding for findings in _FINDINGS for finding in findings(scope)]
    unique = sorted(dict.fromkeys(found), key=lambda f: (_ORDER.index(f.cause), f.object, f.field))
    applied = () if alone else tuple(dict.fromkeys(_applied(scope)))
    return Explanation(
        decision,
        Client(asker.key, asker.chosen, surroundings.ztunnel(scope), surroundings.outside(scope)),
        scope.callee,
        choice(scope),
        applied,
        tuple(f for f in unique if f.cause not in BROKEN),
        tuple(f for f in unique if f.cause in BROKEN),
        (*unseen, *surroundings.sidecars(scope), *surroundings.refused(scope, applied)),
        surroundings.beyond(scope),
    )


def aimed(found: Explanation, *flags: str) -> Explanation:
    """With commands for a cluster that is not the current one: what is pasted must not meet another."""

    def findings(some: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return tuple(replace(one, remedies=remedies.all_aimed(one.remedies, *flags)) for one in some)

    unseen = tuple(
        replace(one, commands=tuple(remedies.aimed(each, *flags) for each in one.commands)) for one in found.unseen
    )
    return replace(found, ignored=findings(found.ignored), problems=findings(found.problems), unseen=unseen)


def _applied(scope: Scope) -> Iterator[Applied]:
    yield from policies.applied(scope)
    for passage in scope.decision.passages:
        origin = None
        if passage.routing is not None and passage.routing.chosen is not None:
            origin = passage.routing.chosen.route.origin
        elif passage.connections is not None:
            origin = passage.connections.origin
        if origin is not None:
            yield Applied(ObjectRef(origin[0], *origin[1]), "routes the request", Place.WAYPOINT)
    yield from rules.applied(scope)
    yield from ztunnels.applied(scope)


def _namespace(host: str, domain: str) -> str:
    """Which a name of a Service in the cluster's DNS speaks of; "" for other names."""
    _, _, rest = host.lower().removesuffix(f".{domain}").removesuffix(".svc").partition(".")
    return "" if "." in rest else rest


def _unknown(index: MeshIndex, request: Request) -> UnknownError:
    """With what has nearly that name."""
    name = request.host.split(".")[0]
    alike = [service for _, service in sorted(index.mesh.services.items()) if service.name == name]
    hints: Iterable[str] = [f"{one.kind} {one.key} is called {one.host}" for one in alike[:5]]
    for key, obj in sorted(index.sources[SERVICE].items()):
        if obj["spec"].get("type") == "ExternalName" and index.host(key).startswith(f"{request.host.lower()}."):
            target = obj["spec"].get("externalName", "")
            hints = [f"Service {key} is an alias, which the mesh does not know: ask for {target}"]
    if not hints and (namespace := _namespace(request.host, index.domain)):
        try:
            check_namespace(index, namespace)
        except NoNamespaceError as error:
            hints = [str(error), *error.hints]
    listing = "kubectl get services,serviceentries -A"
    return UnknownError(f"no Service and no ServiceEntry is called {request.host}", *(hints or [listing]))
