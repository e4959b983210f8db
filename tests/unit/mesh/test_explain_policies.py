"""Which policies are asked about a request, by which proxy, and what they say."""

from __future__ import annotations

from ambientlab.mesh.explain import Cause, Explanation, Place, words
from ambientlab.mesh.index import MeshIndex
from support.decisions import indexed
from support.explanations import HELLO, causes, cluster, explained, explained_in
from support.typed_lab import TypedLab

WAYPOINT = "targetRefs: [{group: '', kind: Service, name: helloworld}]"
PODS = "selector: {matchLabels: {app: helloworld}}"
ONE = "selector: {matchLabels: {version: v1}}"
FROM_TEST = "rules: [{from: [{source: {namespaces: [test]}}]}]"
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: hello}
spec: {mtls: {mode: STRICT}}
"""


def policies(**specs: str) -> str:
    return "\n---\n".join(
        f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: hello}}
spec: {{{spec}}}
"""
        for name, spec in specs.items()
    )


def about(text: str, *commands: str, waypoint: bool) -> Explanation:
    made = cluster(*commands, waypoint=waypoint)
    made.apply(text)
    return explained(made)


def said(found: Explanation, place: Place) -> dict[str, str]:
    return {one.object.name: one.part for one in found.applied if one.place is place}


def ends(found: Explanation) -> dict[str, str]:
    shares = found.decision.distribution(words.result)
    return {name.removesuffix("-5b89ff7bbd-w6c72"): words.percent(share) for name, share in shares.items()}


def test_the_policy_that_decides_at_the_waypoint_is_named_among_those_asked() -> None:
    text = policies(
        let=f"{WAYPOINT}, action: ALLOW, {FROM_TEST}",
        other=f"{WAYPOINT}, action: ALLOW, rules: [{{to: [{{operation: {{methods: [PUT]}}}}]}}]",
        deny=f"{WAYPOINT}, action: DENY, rules: [{{to: [{{operation: {{methods: [DELETE]}}}}]}}]",
    )
    found = about(text, waypoint=True)
    assert said(found, Place.WAYPOINT) == {
        "let": "allows the request",
        "other": "ALLOW: does not match",
        "deny": "DENY: does not match",
    }
    made = cluster()
    made.apply(text)
    refused = explained(made, method="DELETE")
    assert said(refused, Place.WAYPOINT)["deny"] == "denies the request"
    assert ends(refused) == {"403 (denied by policy)": "100%"}


def test_ztunnel_is_asked_about_connections() -> None:
    text = policies(let=f"{PODS}, action: ALLOW, {FROM_TEST}", deny=f"{ONE}, action: DENY, {FROM_TEST}")
    found = about(text, waypoint=False)
    assert said(found, Place.ZTUNNEL) == {"let": "allows the connection", "deny": "denies the connection"}
    assert ends(found) == {
        "no response (ztunnel: explicitly denied by: hello/deny)": "50%",
        "hello/helloworld-v2": "50%",
    }


def test_behind_a_waypoint_ztunnel_sees_the_waypoint() -> None:
    text = policies(let=f"{PODS}, action: ALLOW, {FROM_TEST}")
    found = about(text, waypoint=True)
    assert ends(found) == {"503 (ztunnel: allow policies exist, but none allowed)": "100%"}
    [problem] = found.problems
    assert "it sees cluster.local/ns/hello/sa/default, not the client" in problem.message


def test_strict_mutual_tls_keeps_out_who_is_not_in_the_mesh() -> None:
    out = "kubectl label pod curl -n test istio.io/dataplane-mode=none"
    found = about(STRICT, out, waypoint=False)
    assert said(found, Place.ZTUNNEL) == {"strict": "denies the connection"}
    assert list(ends(found).values()) == ["100%"]
    inside = about(STRICT, waypoint=False)
    assert said(inside, Place.ZTUNNEL) == {"strict": "DENY: does not decide"}
    assert len(ends(inside)) == 2


def test_of_two_policies_for_one_namespace_the_older_counts() -> None:
    younger = STRICT.replace("strict", "younger").replace(
        "namespace: hello", "namespace: hello, creationTimestamp: '2026-02-01T00:00:00Z'"
    )
    found = about(f"{STRICT}---{younger}", waypoint=False)
    [finding] = [each for each in found.ignored if each.object.name == "younger"]
    assert finding.cause is Cause.SHADOWED
    assert said(found, Place.ZTUNNEL) == {"strict": "DENY: does not decide"}


def test_a_policy_for_pods_in_the_root_namespace_is_for_none() -> None:
    rooted = STRICT.replace("hello", "istio-system").replace("name: strict", "name: rooted")
    found = about(f"{STRICT}---{rooted.replace('spec: {', f'spec: {{{PODS}, ')}", waypoint=False)
    assert said(found, Place.ZTUNNEL) == {"strict": "DENY: does not decide"}
    assert "rooted" in {each.object.name for each in found.ignored}


def test_pods_outside_the_mesh_are_named_once() -> None:
    text = policies(let=f"{PODS}, action: ALLOW, {FROM_TEST}")
    found = about(text, "kubectl label ns hello istio.io/dataplane-mode-", waypoint=False)
    [finding] = [each for each in found.ignored if each.cause is Cause.POD_NOT_CAPTURED]
    assert "hello/helloworld-v1" in finding.message
    assert finding.remedies


def with_sidecar(made: TypedLab, name: str) -> MeshIndex:
    """The pod as the injector leaves it where ambient mode is installed (files/injection-template.yaml)."""
    objects = [*made.cluster()]
    [pod] = [obj for obj in objects if obj["kind"] == "Pod" and obj["metadata"]["name"].startswith(name)]
    pod["metadata"]["annotations"] = {"sidecar.istio.io/status": "{}"}
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), "networking.istio.io/tunnel": "http"}
    return indexed(*objects)


def test_what_a_clients_sidecar_decides_is_not_known() -> None:
    found = explained_in(with_sidecar(cluster(), "curl"), HELLO)
    assert found.client.outside == "it has a sidecar, whose decisions are not known here: this is the way without it"
    assert found.client.ztunnel is None
    assert [(one.what, one.commands) for one in found.unseen] == [
        ("the sidecar of Pod test/curl", ("istioctl proxy-config routes curl.test",))
    ]


def test_policies_for_pods_with_sidecars_are_theirs_to_follow() -> None:
    made = cluster(waypoint=False)
    made.apply(STRICT + "---" + policies(post=f"{ONE}, rules: [{{to: [{{operation: {{methods: [POST]}}}}]}}]"))
    assert ("AuthorizationPolicy hello/post", Cause.NEEDS_WAYPOINT) in causes(explained(made))
    found = explained_in(with_sidecar(made, "helloworld-v1"), HELLO)
    assert causes(found) == {("Namespace test", Cause.CLIENT_SIDE)}
    assert [one.what for one in found.unseen] == ["the sidecar of Pod hello/helloworld-v1-5b89ff7bbd-w6c72"]
    assert ends(found) == {"hello/helloworld-v1": "50%", "hello/helloworld-v2": "50%"}
