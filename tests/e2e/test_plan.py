"""What `plan` foresees is what comes of it, and planning writes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from support.manifests import WAYPOINT
from support.mesh import Mesh
from support.waiting import eventually, first

HELLO = "helloworld.hello:5000/hello"
RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello-world-dr, namespace: hello}
spec: {host: helloworld, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello-world-vs, namespace: hello}
spec:
  hosts: [helloworld]
  http:
  - route:
    - {destination: {host: helloworld, subset: v1}, weight: 95}
    - {destination: {host: helloworld, subset: v2}, weight: 5}
"""
MIXED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: negative, namespace: hello}
spec: {hosts: [helloworld], http: [{route: [{destination: {host: helloworld}, weight: -5}]}]}
---
apiVersion: v1
kind: Servce
metadata: {name: x}
---
apiVersion: v1
kind: Namespace
metadata: {name: new}
---
apiVersion: v1
kind: Service
metadata: {name: fresh, namespace: new}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: portless, namespace: new}
spec: {}
"""


def planned(mesh: Mesh, text: str, *arguments: str) -> tuple[int, Any]:
    done = mesh.ambientlab("plan", "-f", "-", "-o", "json", *arguments, stdin=text)
    return done.code, json.loads(done.out)


def effects(plan: Any) -> dict[tuple[str, tuple[str, ...]], dict[str, tuple[str, str]]]:
    """By host and clients, the differences."""
    return {
        (effect["host"].partition(".")[0], tuple(sorted(str(c["pod"]).partition("-")[0] for c in effect["clients"]))): {
            d["aspect"]: (d["before"], d["after"]) for d in effect["differences"]
        }
        for effect in plan["effects"]
    }


def test_deployments_and_services_are_foreseen(lab: Mesh) -> None:
    text = Path(lab.manifest("helloworld.yaml")).read_text()
    code, plan = planned(lab, text, "-n", "hello")
    assert code == 2
    assert {one["verb"] for one in plan["objects"]} == {"created"}
    half = "50% hello/helloworld-v1, 50% hello/helloworld-v2"
    assert [e["split"][1] for (host, _), e in effects(plan).items() if host == "helloworld"] == [half]
    assert lab.kubectl("get", "deploy,svc", "-n", "hello", "-o", "name").strip() == ""
    lab.kubectl("apply", "-n", "hello", "-f", "-", stdin=text)
    lab.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy", "--all", "--timeout=60s")
    code, plan = planned(lab, text, "-n", "hello")
    assert (code, {one["verb"] for one in plan["objects"]}, plan["effects"]) == (0, {"unchanged"}, [])


def test_what_will_have_no_effect_is_told(lab: Mesh) -> None:
    code, plan = planned(lab, RULES)
    assert (code, plan["effects"]) == (0, [])
    assert {(w["object"]["kind"], w["name"]) for w in plan["warnings"]} == {
        ("DestinationRule", "NoWaypoint"),
        ("VirtualService", "NoWaypoint"),
    }
    assert all(w["remedies"] for w in plan["warnings"])


def test_a_waypoint_is_foreseen_as_it_comes(lab: Mesh) -> None:
    lab.kubectl("apply", "-f", "-", stdin=RULES)
    code, plan = planned(lab, WAYPOINT)
    assert code == 2
    told = effects(plan)[("helloworld", ("test/curl",))]
    assert told["waypoint"] == ("none", "hello/waypoint")
    foreseen = told["split"][1]
    assert foreseen == "95% hello/helloworld-v1, 5% hello/helloworld-v2"
    lab.kubectl("apply", "-f", "-", stdin=WAYPOINT)
    lab.kubectl("wait", "-n", "hello", "--for=condition=Programmed", "gateway/waypoint", "--timeout=60s")

    def settled() -> bool:
        found = json.loads(lab.ambientlab("explain", HELLO, "--from", "test/curl", "-o", "json").out)
        shares = {o["pod"].rpartition("-")[0].rpartition("-")[0]: o["share"]["percent"] for o in found["outcomes"]}
        return shares == {"hello/helloworld-v1": 95, "hello/helloworld-v2": 5}

    eventually(settled, "the split in force")
    code, plan = planned(lab, WAYPOINT + "\n---\n" + RULES)
    assert (code, plan["effects"]) == (0, []), plan


def test_errors_stand_beside_what_is_good(lab: Mesh) -> None:
    code, plan = planned(lab, MIXED)
    assert code == 1
    assert [one["object"]["name"] for one in plan["objects"]] == ["new", "fresh"]
    assert [one["unasked"] for one in plan["objects"]] == ["", "namespace new is only to come"]
    assert [(one["line"], one["document"], one["object"]) for one in plan["refused"]] == [
        (2, 1, "VirtualService hello/negative"),
        (7, 2, "Servce x"),
        (20, 5, "Service new/portless"),
    ]
    assert "weight -5 < 0" in plan["refused"][0]["message"]
    assert lab.kubectl("get", "ns", "new", "--ignore-not-found") == ""


def test_deletions(lab: Mesh) -> None:
    done = lab.ambientlab("plan", "--delete", "gtw/waypoint", "--delete", "svc/nothing", "-n", "hello")
    assert done.code == 1
    text = " ".join(done.out.split())
    assert "- Gateway hello/waypoint deleted" in text
    assert "hello/helloworld-v1: 95% → 50%" in text
    assert "- Service hello/waypoint port 15008" in text
    assert "- Service hello/waypoint port 15021" in text
    assert 'services "nothing" not found' in text
    assert lab.kubectl("get", "gateway", "-n", "hello", "-o", "name").strip() != ""


def test_deleting_is_kubectls(lab: Mesh) -> None:
    """The same objects for the same words, and the same is refused."""
    files = lab.manifest("helloworld.yaml")
    for words in (
        ["-f", files, "-n", "hello"],
        ["-f", files],
        ["gateway", "waypoint", "nothing", "-n", "hello"],
        ["vs,dr", "--all", "-n", "hello"],
        ["deploy/waypoint", "virtualservices.networking.istio.io/hello-world-vs", "-n", "hello"],
        ["endpoints,ns", "hello", "-n", "hello", "--ignore-not-found"],
    ):
        theirs = lab.kubectl("delete", *words, "--dry-run=server", check=False)
        done = lab.ambientlab("plan", "delete", *words, "-o", "json")
        found = json.loads(done.out)
        ours = sorted(f"{one['object']['kind'].lower()} {one['object']['name']}" for one in found["objects"])
        named = re.findall(r'^([a-z]+)[a-z0-9.]* "([^"]+)" deleted', theirs, re.MULTILINE)
        assert ours == sorted(f"{kind} {name}" for kind, name in named), (words, theirs, done)
        errors = re.findall(r"(?m)^(?:Error from server[^:]*|error): (?:error when deleting [^:]*: )?(.*)$", theirs)
        told = [one["message"] for one in found["refused"]]
        assert [error for error in errors if error not in told] == [], (words, told)
        assert (done.code == 1) == bool(errors), (words, theirs, done)
    assert len(lab.json("get", "gateway,deploy,svc", "-n", "hello")["items"]) == 6, "nothing has gone"
    done = lab.ambientlab(
        "plan", "delete", "pods,svc,deploy", "-l", "gateway.networking.k8s.io/gateway-name", "-n", "hello"
    )
    assert (done.code, "Service hello/waypoint" in done.out) == (0, True), "they are made again"


def test_what_is_denied_and_in_use_is_told(lab: Mesh) -> None:
    """Where it is left to ztunnel, and where a waypoint decides by what is asked for."""
    lab.curl(HELLO)
    strict = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all, namespace: hello}
spec: {mtls: {mode: STRICT}}
"""
    code, plan = planned(lab, strict)
    assert (code, plan["denied"]) == (2, []), "the client is in the mesh"

    def told(rules: str) -> list[Any]:
        target = "targetRefs: [{group: '', kind: Service, name: helloworld}]"
        text = f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: no-test, namespace: hello}}
spec: {{{target}, action: DENY, rules: [{rules}]}}
"""
        denied: list[Any] = planned(lab, text)[1]["denied"]
        return denied

    whole = first(
        lambda: told("{from: [{source: {namespaces: [test]}}]}"), bool, "the connection in the log of ztunnel"
    )
    assert [(one["client"], one["host"].partition(".")[0], one["port"], one["everyRequest"]) for one in whole] == [
        ("test/curl", "helloworld", 5000, True)
    ]
    part = told("{to: [{operation: {paths: [/hello]}}]}")
    assert [(one["everyRequest"], [e["request"]["path"] for e in one["examples"]]) for one in part] == [
        (False, ["/hello"])
    ]
    assert told("{from: [{source: {namespaces: [nobody]}}]}") == []


def test_pruning_is_kubectls(lab: Mesh, tmp_path: Path) -> None:
    kept, extra = (
        f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: hello, labels: {{set: a}}}}, "
        "spec: {ports: [{port: 80}]}}"
        for name in ("kept", "extra")
    )
    lab.apply(f"{kept}\n---\n{extra}")
    lab.kubectl("label", "-n", "hello", "virtualservice/hello-world-vs", "set=a")
    allowed = ("--prune-allowlist=core/v1/Service", "-l", "set=a")
    by_kubectl = lab.kubectl("apply", "--prune", *allowed, "-f", "-", "--dry-run=server", stdin=kept)
    assert "service/extra pruned" in by_kubectl
    code, plan = planned(lab, kept, "--prune", *allowed)
    assert (code, {(one["object"]["name"], one["verb"]) for one in plan["objects"]}) == (
        2,
        {("kept", "unchanged"), ("extra", "pruned")},
    )
    assert [text.partition(":")[0] for text in plan["notPruned"]] == ["VirtualService hello/hello-world-vs stays"]
    istio = "--prune-allowlist=networking.istio.io/v1/VirtualService"
    _, plan = planned(lab, kept, "--prune", "-l", "set=a", istio)
    assert ("hello-world-vs", "pruned") in {(one["object"]["name"], one["verb"]) for one in plan["objects"]}
    assert plan["notPruned"] == []
    (tmp_path / "kustomization.yaml").write_text("resources: [kept.yaml]\nnamespace: hello\nnameSuffix: -x\n")
    (tmp_path / "kept.yaml").write_text(kept)
    done = lab.ambientlab("plan", "-k", str(tmp_path), "-o", "json")
    assert [one["object"]["name"] for one in json.loads(done.out)["objects"]] == ["kept-x"]


def test_what_is_applied_by_the_server(lab: Mesh, tmp_path: Path) -> None:
    """As kubectl does it: who manages what decides, and what a manifest of before said and this one does not goes."""

    def service(*ports: int, **labels: str) -> str:
        told = [{"name": f"p{port}", "port": port} for port in ports]
        metadata = {"name": "served", "namespace": "hello", "labels": labels}
        return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": told}})

    def foreseen(text: str, *arguments: str) -> tuple[str, Any]:
        plan = planned(lab, text, "--server-side", *arguments)[1]
        if plan["refused"]:
            return plan["refused"][0]["message"], None
        [one] = plan["objects"]
        return one["verb"], {(e["port"], e["fate"]) for e in plan["effects"]}

    assert foreseen(service(80)) == ("created", {(80, "added")})
    lab.apply(service(80, 81, team="a"))
    # fields of the manifest of before go with the second of kubectl's requests
    assert foreseen(service(80)) == ("configured", {(81, "changed")})
    lab.kubectl("apply", "--server-side", "-f", "-", stdin=service(80))
    there = lab.json("get", "service", "served", "-n", "hello")
    assert ([port["port"] for port in there["spec"]["ports"]], "labels" in there["metadata"]) == ([80], False)
    assert foreseen(service(80)) == ("unchanged", set())
    other, others = service(80).replace("p80", "x80"), ("--field-manager", "another")
    assert foreseen(other, *others)[0].startswith('Apply failed with 1 conflict: conflict with "kubectl": ')
    assert foreseen(other, *others, "--force-conflicts")[0] == "configured"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.yaml").write_text(service(80, 82))
    (tmp_path / "b.yaml").write_text(service(80).replace("served", "also"))
    done = lab.ambientlab("plan", "-R", "-f", f"{tmp_path}/deep,{tmp_path}/b.yaml", "-o", "json")
    assert [one["object"]["name"] for one in json.loads(done.out)["objects"]] == ["served", "also"]
