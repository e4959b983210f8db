"""Statuses: what is kept of the ones that are there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ambientlab.cluster import DOMAIN, GATEWAY_CONTROLLER
from ambientlab.mesh.index.diagnostics import ACCEPTED, RESOLVED_REFS, Diagnostic, ObjectRef, ignored, unsupported
from ambientlab.mesh.index.gatewayobjects import place
from ambientlab.mesh.index.waypoints import Binding
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status.conditions import Condition, merge
from ambientlab.mesh.status.findings import MAX_MESSAGE, networking_status
from ambientlab.mesh.status.gateways import gateway_status, ingress_status
from ambientlab.mesh.status.routes import route_status
from ambientlab.mesh.status.services import service_status

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
ROUTE: dict[str, Any] = {
    "metadata": {"name": "route", "namespace": "hello", "generation": 2},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "a"}, {"group": "", "kind": "Service", "name": "b"}]
    },
}
REF = ObjectRef("HTTPRoute", "hello", "route")


def test_the_time_of_transition_is_kept_while_the_status_stays() -> None:
    before = merge([], [Condition("Ready", True, "Fine", "")], 1, THEN)
    after = merge(before, [Condition("Ready", True, "Better", "now")], 2, NOW)
    assert after == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Better",
            "message": "now",
            "observedGeneration": 2,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
    gone = merge(after, [Condition("Ready", False, "Broken", "")], 2, NOW)
    assert gone[0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_conditions_of_others_stay_where_they_are() -> None:
    theirs = {"type": "Zeal", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "x"}
    merged = merge([theirs], [Condition("B", True, "R", ""), Condition("A", True, "R", "")], None, NOW)
    assert [c["type"] for c in merged] == ["Zeal", "A", "B"]
    assert merged[0] == theirs


def test_conditions_of_others_may_lack_anything() -> None:
    """As Istio's CRDs have it."""
    strange: list[dict[str, Any]] = [{}, {"type": "A", "status": "True"}]
    merged = merge(strange, [Condition("A", True, "R", "")], None, NOW)
    assert merged == [
        {},
        {"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-02T00:00:00Z"},
    ]
    rule = {"metadata": {"name": "r", "namespace": "hello"}, "status": {"conditions": [{}]}}
    found = networking_status(rule, [ignored(REF, "spec.x", "why")], NOW)
    assert [condition.get("type") for condition in found["conditions"]] == [None, "ambientlab.io/Finding"]


def test_route_parents() -> None:
    theirs = {"parentRef": {"name": "gw"}, "controllerName": "example.com/other", "conditions": []}
    stale = {"parentRef": {"group": "", "kind": "Service", "name": "old"}, "controllerName": GATEWAY_CONTROLLER}
    notes = [
        Diagnostic(REF, "NoMatchingParent", 'parent service: "b" not found', ACCEPTED, "spec.parentRefs[1]"),
        Diagnostic(REF, "BackendNotFound", "backend(x) not found", RESOLVED_REFS, "spec.rules[0].backendRefs[0]"),
    ]
    status = route_status({**ROUTE, "status": {"parents": [theirs, stale]}}, notes, [], NOW)
    assert [(p["parentRef"]["name"], p["controllerName"]) for p in status["parents"]] == [
        ("gw", "example.com/other"),
        ("b", GATEWAY_CONTROLLER),
        ("a", GATEWAY_CONTROLLER),
    ]
    by_name = {p["parentRef"]["name"]: {c["type"]: c for c in p["conditions"]} for p in status["parents"]}
    assert by_name["a"]["Accepted"]["status"] == "True"
    assert by_name["b"]["Accepted"]["reason"] == "NoMatchingParent"
    assert by_name["a"]["ResolvedRefs"]["reason"] == by_name["b"]["ResolvedRefs"]["reason"] == "BackendNotFound"
    assert by_name["a"]["Accepted"]["observedGeneration"] == 2
    again = route_status({**ROUTE, "status": status}, notes, [], THEN)
    assert again == status


def test_findings_are_conditions_while_they_hold() -> None:
    rule: dict[str, Any] = {"metadata": {"name": "r", "namespace": "hello", "generation": 3}, "spec": {}}
    ref = ObjectRef("DestinationRule", "hello", "r")
    gap = unsupported(ref, "spec.workloadSelector")
    effect = Diagnostic(ref, "NoWaypoint", "no effect on a: the service has no waypoint", field="spec.host")
    status = networking_status(rule, [gap, effect, ignored(ref, "spec.exportTo", "nobody reads it")], NOW)
    said = {c["type"]: (c["status"], c["reason"], c["message"], c["observedGeneration"]) for c in status["conditions"]}
    assert said == {
        "ambientlab.io/Unsupported": (
            "True",
            "Unsupported",
            "spec.workloadSelector is not supported by ambientlab: it has no effect here",
            3,
        ),
        "ambientlab.io/Finding": (
            "True",
            "Several",
            "spec.host: no effect on a: the service has no waypoint; spec.exportTo: nobody reads it",
            3,
        ),
    }
    theirs = {"type": "Reconciled", "status": "True"}
    later = networking_status({**rule, "status": {"conditions": [theirs, *status["conditions"]]}}, [gap], NOW)
    assert [c["type"] for c in later["conditions"]] == ["Reconciled", "ambientlab.io/Unsupported"]
    assert networking_status({**rule, "status": status}, [], NOW) == {}


def test_many_findings_still_fit_a_condition() -> None:
    ref = ObjectRef("HTTPRoute", "hello", "route")
    found = [Diagnostic(ref, "Shadowed", f"{n:040}", field=f"spec.rules[{n}]") for n in range(2000)]
    status = route_status(ROUTE, [], found, NOW)
    message = next(c["message"] for c in status["parents"][0]["conditions"] if c["type"] == "ambientlab.io/Finding")
    assert len(message) == MAX_MESSAGE
    assert message.endswith("...")


def test_a_finding_about_one_parent_is_not_said_of_another() -> None:
    found = [Diagnostic(REF, "ForeignNamespace", "no effect on b", field="spec.parentRefs[1]")]
    status = route_status(ROUTE, [], found, NOW)
    types = {p["parentRef"]["name"]: [c["type"] for c in p["conditions"]] for p in status["parents"]}
    assert "ambientlab.io/Finding" in types["b"]
    assert "ambientlab.io/Finding" not in types["a"]


def test_a_gateway_at_the_edge_is_refused_in_its_status() -> None:
    waiting = [
        {"type": t, "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"}
        for t in ("Accepted", "Programmed")
    ]
    gateway = {"metadata": {"name": "edge", "namespace": "hello", "generation": 1}, "status": {"conditions": waiting}}
    conditions = ingress_status(gateway, NOW)["conditions"]
    assert [(c["type"], c["status"], c["reason"]) for c in conditions] == [
        ("Accepted", "False", "Unsupported"),
        ("Programmed", "False", "Unsupported"),
    ]
    assert "nothing listens for this Gateway" in conditions[0]["message"]


def test_no_waypoint_asked_for_no_condition() -> None:
    bound = service_status({"metadata": {}, "spec": {}}, Binding(Key("hello", "waypoint")), (), NOW)
    assert bound["conditions"][0]["message"] == "Successfully attached to waypoint hello/waypoint"
    assert service_status({"metadata": {}, "spec": {}, "status": bound}, Binding(), (), NOW) == {}


def test_an_address_once_reported_stays() -> None:
    gateway: dict[str, Any] = {
        "metadata": {"name": "waypoint", "namespace": "hello", "generation": 1},
        "spec": {"listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.9"}]},
    }
    status = gateway_status(gateway, place(gateway, DOMAIN), [None], [], NOW)
    assert status["addresses"] == [{"type": "IPAddress", "value": "10.96.0.9"}]
    programmed = next(c for c in status["conditions"] if c["type"] == "Programmed")
    assert (programmed["status"], programmed["reason"]) == ("False", "AddressNotUsable")
    assert programmed["message"] == (
        'Failed to assign to any requested addresses: hostname "waypoint.hello.svc.cluster.local" not found'
    )
