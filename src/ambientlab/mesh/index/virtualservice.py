"""VirtualService, as a waypoint reads one (pilot/pkg/networking/core/listener_waypoint.go)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ambientlab.api.objects import Object
from ambientlab.mesh.index import delegates, virtualservice_http, virtualservice_tcp
from ambientlab.mesh.index.delegates import Rule
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.drafts import Draft, Reading, RouteSet
from ambientlab.mesh.index.values import host_of
from ambientlab.mesh.ir import Key


def read(
    key: Key, obj: Object, domain: str, fetch: Callable[[Key], Object | None], delegated_to: Callable[[Key], bool]
) -> Reading:
    """`fetch` gives other VirtualServices; `delegated_to` tells whether some of them hands rules on to one."""
    spec = obj["spec"]
    ref = ObjectRef("VirtualService", *key)
    notes: list[Diagnostic] = []
    hosts = tuple(host_of(h, key.namespace, domain) for h in spec.get("hosts") or [])
    if not hosts:
        if not delegated_to(key):
            message = "no effect: it has no hosts, and no VirtualService delegates to it"
            notes.append(Diagnostic(ref, "NoHosts", message, field="spec.hosts"))
        return Reading((), tuple(notes))
    if "mesh" not in (spec.get("gateways") or ["mesh"]):
        notes.append(ignored(ref, "spec.gateways", "only routes for the gateway `mesh` reach a waypoint"))
        return Reading((), tuple(notes))
    if not any(spec.get(rules) for rules in ("http", "tls", "tcp")):
        return Reading((), tuple(notes))
    created: str = obj["metadata"].get("creationTimestamp", "")
    exported = tuple(spec.get("exportTo") or ())
    rules = delegates.merged(key, delegates.rules_of(key, spec, domain), fetch, domain, notes)
    routes = RouteSet(
        ref,
        created,
        hosts,
        exported,
        False,
        0,
        tuple(_drafts(key, rules, notes)),
        "spec.hosts",
        bool(spec.get("http")),
        virtualservice_tcp.drafts(ref, spec, "tls", domain, notes),
        virtualservice_tcp.drafts(ref, spec, "tcp", domain, notes),
    )
    return Reading((routes,), tuple(notes))


def _drafts(root: Key, rules: Iterator[Rule], notes: list[Diagnostic]) -> Iterator[Draft]:
    """Routes behind one that takes all requests stay, to be shown; Istio leaves them out (waypointInboundRoute)."""
    catch_all = ""
    for rule in rules:
        if catch_all:
            message = f"never reached: {catch_all} takes all requests"
            notes.append(Diagnostic(rule.ref, "Unreachable", message, field=rule.field))
        for field, draft in virtualservice_http.drafts(root, rule, notes):
            yield draft
            if draft.takes_all and not (draft.port or draft.source_namespace):
                catch_all = catch_all or field
