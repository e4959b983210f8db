"""DestinationRules and BackendTLSPolicies of the hosts that a request is for and goes to."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import BACKENDTLSPOLICY, DESTINATIONRULE
from ambientlab.mesh.explain import remedies
from ambientlab.mesh.explain.explanation import Applied, Cause, Finding, Place
from ambientlab.mesh.explain.routes import astray, meant
from ambientlab.mesh.explain.scope import Scope
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.destinationrules import Rule
from ambientlab.mesh.ir import Key, Service, Subset


def findings(scope: Scope) -> Iterator[Finding]:
    if not scope.host:
        return
    for key, rule in sorted(scope.index.rules.items()):
        ref = ObjectRef(DESTINATIONRULE.kind, *key)
        if scope.concerned(ref, [rule.host], scope.hosts):
            yield from _of_object(scope, ref)
        elif (obj := scope.object(ref)) is not None and meant(scope, written := obj["spec"].get("host", ""), rule.host):
            command = remedies.patch(ref, ("replace", "/spec/host", scope.host))
            yield astray(scope, ref, "spec.host", written, rule.host, command)
    for key, policy in sorted(scope.index.backend_policies.readings.items()):
        ref = ObjectRef(BACKENDTLSPOLICY.kind, *key)
        if scope.concerned(ref, (host for target in policy.targets for host in target.hosts), scope.hosts):
            yield from _of_object(scope, ref)
    if not scope.bypassed:
        yield from _empty_subsets(scope)


def _of_object(scope: Scope, ref: ObjectRef) -> Iterator[Finding]:
    """What is said of the whole object, or of its fields where it has effect."""
    said = scope.diagnostics(ref)
    whole = [diagnostic for diagnostic in said if diagnostic.host]
    if whole:
        yield from map(scope.finding, whole)
    elif scope.bypassed:
        yield scope.past_the_waypoint(ref)
    elif scope.binding.waypoint is None:
        yield scope.no_waypoint(ref)
    else:
        yield from map(scope.finding, said)


def _empty_subsets(scope: Scope) -> Iterator[Finding]:
    """Subsets that the route in force leads to, and no endpoint is in."""
    for destination, service in scope.destinations.items():
        subset = service.subset(destination.subset)
        if subset is None or not (message := emptiness(service, subset)):
            continue
        for rule in _deciding(scope, service):
            if any(named == subset for named, _ in rule.subsets):
                ref = ObjectRef(DESTINATIONRULE.kind, *rule.key)
                yield Finding(ref, Cause.EMPTY_SUBSET, message, "spec.subsets", (remedies.fill(service, subset),))


def emptiness(service: Service, subset: Subset) -> str:
    """What becomes of requests for a subset that no endpoint is in, "" where one is."""
    if any(subset.selects(endpoint) for endpoint in service.endpoints):
        return ""
    labels = ", ".join(f"{name}={value}" for name, value in subset.labels)
    return f"no ready pod of {service.key} is in subset {subset.name} ({labels}): its requests are answered 503"


def _deciding(scope: Scope, service: Service) -> list[Rule]:
    return deciding(scope.index, service, scope.decision.waypoint)


def deciding(index: MeshIndex, service: Service, waypoint: Key | None) -> list[Rule]:
    """The DestinationRules that say how a waypoint talks to a service."""
    found = index.registry.rules.deciding(index.graph.reader(), service.namespace, service.hostname, waypoint)
    return [rule for rule in found if not rule.from_backend_policy]


def applied(scope: Scope) -> Iterator[Applied]:
    """Rules that say how to talk to where the request may go."""
    found: dict[Rule, dict[str, None]] = {}
    for destination, service in scope.destinations.items():
        for rule in _deciding(scope, service) if scope.decision.passages else ():
            parts = found.setdefault(rule, {})
            if any(subset.name == destination.subset for subset, _ in rule.subsets):
                parts[f"says what subset {destination.subset} is"] = None
            if rule.policy(destination.port, destination.subset) is not None:
                parts[f"says how to talk to {destination.host}"] = None
    for rule, parts in found.items():
        if parts:
            yield Applied(ObjectRef(DESTINATIONRULE.kind, *rule.key), ", ".join(parts), Place.WAYPOINT)
