"""Findings about objects that nothing in the mesh consumes: what Istio passes over in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index.backendtls import BackendTls
from ambientlab.mesh.index.credentials import CredentialError
from ambientlab.mesh.index.destinationrules import Rule, Rules
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.drafts import Reading
from ambientlab.mesh.index.findings import Said, of_diagnostics
from ambientlab.mesh.index.meanings import meant
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import Credential, Key

Resolve = Callable[[Context, str, str], Credential]
"""What a proxy of a namespace means by the name of a secret. Raises CredentialError."""


class Effects:
    """The findings, derived within the graph of everything else."""

    def __init__(
        self,
        graph: Graph,
        shapes: Collection[str, Shape],
        rules: Collection[Key, Rule],
        backend_policies: Collection[Key, BackendTls],
        virtual_services: Collection[Key, Reading],
        resolve: Resolve,
        of_hosts: Rules,
    ) -> None:
        self._found: tuple[Collection[Key, tuple[Diagnostic, ...]], ...] = (
            graph.derive(
                "unused DestinationRules",
                rules,
                lambda ctx, key, rule: _of_rule(ctx, key, rule, shapes, resolve, of_hosts),
            ),
            graph.derive(
                "unused BackendTLSPolicies",
                backend_policies,
                lambda ctx, key, policy: _of_backend_policy(ctx, key, policy, shapes),
            ),
            graph.derive(
                "unused VirtualServices",
                virtual_services,
                lambda ctx, key, reading: _of_virtual_service(ctx, key, reading, shapes),
            ),
        )

    def said(self) -> list[Said]:
        return [of_diagnostics(found) for found in self._found]


def _of_rule(
    ctx: Context, key: Key, rule: Rule, shapes: Collection[str, Shape], resolve: Resolve, of_hosts: Rules
) -> Mapping[Key, tuple[Diagnostic, ...]]:
    """A DestinationRule takes effect in a waypoint only; the node proxy reads none."""
    ref = ObjectRef("DestinationRule", key.namespace, key.name)
    if rule.host.startswith("*"):
        return {}
    shape = meant(ctx, shapes, key.namespace, rule.host)
    if shape is None:
        return {key: (_no_such_host(ref, rule.host, "spec.host"),)}
    if shape.binding.waypoint is None:
        return {key: (shape.no_waypoint(ref, "spec.host"),)}
    waypoint = shape.binding.waypoint
    if rule.selector is None and rule not in (
        first := of_hosts.deciding(ctx, shape.key.namespace, rule.host, waypoint)
    ):
        return {key: (_overruled(ref, rule, shape, waypoint, first, of_hosts.root),)}
    missing = []
    for field, named in rule.secrets:
        for name in named:
            try:
                resolve(ctx, waypoint.namespace, name)
            except CredentialError as error:
                missing.append(Diagnostic(ref, "CredentialNotFound", f"connections fail: {error}", field=field))
    return {key: tuple(dict.fromkeys(missing))} if missing else {}


def _overruled(ref: ObjectRef, rule: Rule, shape: Shape, waypoint: Key, first: Sequence[Rule], root: str) -> Diagnostic:
    places = (waypoint.namespace, shape.key.namespace, root)
    before: tuple[ObjectRef, ...] = ()
    if rule.key.namespace not in places:
        reason, field = "ForeignNamespace", "spec.host"
        why = f"a waypoint looks for rules in its own namespace, the service's and {root}"
    elif not first or not rule.visible_in(waypoint.namespace):
        reason, field = "NotExported", "spec.exportTo"
        why = f"exportTo does not reach {waypoint.namespace}, where its waypoint is"
    else:
        reason, field = "Shadowed", "spec.host"
        before = tuple(ObjectRef("DestinationRule", *r.key) for r in first)
        why = f"{', '.join(map(str, before))} comes first"
    message = f"no effect on {shape.host}: {why}"
    return Diagnostic(ref, reason, message, field=field, host=shape.host, first=before)


def _of_backend_policy(
    ctx: Context, key: Key, policy: BackendTls, shapes: Collection[str, Shape]
) -> Mapping[Key, tuple[Diagnostic, ...]]:
    """The node proxy reads no BackendTLSPolicy either."""
    ref = ObjectRef("BackendTLSPolicy", key.namespace, key.name)
    notes = []
    for i, target in enumerate(policy.targets):
        for host in target.hosts:
            shape = meant(ctx, shapes, key.namespace, host)
            if shape is not None and shape.binding.waypoint is None:
                notes.append(shape.no_waypoint(ref, f"spec.targetRefs[{i}]"))
    return {key: tuple(notes)} if notes else {}


def _of_virtual_service(
    ctx: Context, key: Key, reading: Reading, shapes: Collection[str, Shape]
) -> Mapping[Key, tuple[Diagnostic, ...]]:
    hosts = {host: s for s in reading.sets for host in s.hosts if not host.startswith("*")}
    missing = tuple(
        _no_such_host(s.origin, host, s.field) for host, s in hosts.items() if ctx.fetch(shapes, host) is None
    )
    return {key: missing} if missing else {}


def _no_such_host(ref: ObjectRef, host: str, field: str) -> Diagnostic:
    return Diagnostic(ref, "HostNotFound", f"no effect: there is no service {host}", field=field)
