"""What may be asked: URLs, headers and clients, and what is said to those who ask for what is not there."""

from __future__ import annotations

import pytest

from ambientlab.cli.explain.drawing import draw
from ambientlab.mesh import explain
from ambientlab.mesh.decide import Request
from ambientlab.mesh.explain import AskedError, Asker, UnknownError
from ambientlab.mesh.ir import Key
from support.decisions import indexed, objects_in, world
from support.explanations import cluster, explained, explained_in

CURL = Key("test", "curl")


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "scheme"),
    [
        ("helloworld.hello:5000/hello", "helloworld.hello", 5000, "/hello", "http"),
        ("http://helloworld.hello:5000/hello?a=b", "helloworld.hello", 5000, "/hello?a=b", "http"),
        ("helloworld", "helloworld", 80, "/", "http"),
        ("https://helloworld.hello", "helloworld.hello", 443, "/", "https"),
        ("10.96.0.20:5000", "10.96.0.20", 5000, "/", "http"),
    ],
)
def test_urls_are_read_as_curl_reads_them(url: str, host: str, port: int, path: str, scheme: str) -> None:
    found = explain.request(url)
    assert (found.host, found.port, found.path, found.scheme) == (host, port, path, scheme)


def test_methods_and_headers_are_the_requests() -> None:
    found = explain.request("a.b", "POST", ["End-User:  jason", "Host: other", "x-empty:"])
    assert found == Request("a.b", 80, "POST", "/", (("end-user", "jason"), ("x-empty", "")), "other")


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://a", "http://a:99999", "http://[::1", "a b", "http://a:port", "-"]
)
def test_a_bad_url_is_told_with_a_good_one(url: str) -> None:
    with pytest.raises(AskedError) as told:
        explain.request(url)
    assert told.value.hints == ("a URL looks like helloworld.hello:5000/hello",)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("method", "header"), [("GET", "nothing"), ("GET", ": x"), ("GET", "a b: c"), ("G T", "a: b")])
def test_a_bad_header_or_method_is_told(method: str, header: str) -> None:
    with pytest.raises(AskedError, match=r"is no (header|method)"):
        explain.request("a.b", method, [header])


def test_clients_are_pods_or_what_makes_them() -> None:
    index = cluster().index()
    assert explain.named(index, "test/curl") == Asker(CURL)
    found = explain.named(index, "hello/helloworld-v1")
    assert found == Asker(Key("hello", "helloworld-v1-5b89ff7bbd-w6c72"), "a pod of helloworld-v1")


@pytest.mark.parametrize(
    ("text", "namespace", "kind"),
    [
        ("hello/deploy/helloworld-v1", "", "Deployment"),
        ("hello/Deployment.apps/helloworld-v1", "", "Deployment"),
        ("deployments/helloworld-v1", "hello", "Deployment"),
        ("hello/deploy/helloworld-v1", "hello", "Deployment"),
        ("rs/helloworld-v1-5b89ff7bbd", "hello", "ReplicaSet"),
        ("svc/helloworld", "hello", "Service"),
    ],
)
def test_clients_are_named_as_kubectl_names_them(text: str, namespace: str, kind: str) -> None:
    found = explain.named(cluster().index(), text, namespace)
    assert found.key == Key("hello", "helloworld-v1-5b89ff7bbd-w6c72")
    assert found.chosen == f"a pod of {kind} {text.rpartition('/')[2]}"


@pytest.mark.parametrize(("text", "namespace"), [("test/pod/curl", ""), ("pod/curl", "test"), ("curl", "test")])
def test_a_pod_has_a_type_as_well(text: str, namespace: str) -> None:
    assert explain.named(cluster().index(), text, namespace) == Asker(CURL)


@pytest.mark.parametrize(
    ("text", "namespace", "error", "hint"),
    [
        (
            "hello/rs/helloworld-v1",
            "",
            "there is no pod of ReplicaSet hello/helloworld-v1",
            "kubectl get pods -n hello",
        ),
        ("deploy/helloworld", "hello", "there is no pod of Deployment hello/helloworld", "kubectl get pods -n hello"),
        ("nowhere/deploy/curl", "", 'there is no namespace "nowhere"', "there are "),
        ("deploy/curl", "", 'there is no namespace "deploy"', "--from NAMESPACE/deploy/curl asks for a pod of it"),
        ("test/node/curl", "", "'node' is no type that has pods", "--from takes those of cj, deploy, ds, "),
        (
            "test/curl",
            "hello",
            "'test/curl' is not in namespace hello",
            "with -n hello, --from takes POD or deploy/NAME",
        ),
    ],
)
def test_a_type_that_leads_to_no_pod_is_told(text: str, namespace: str, error: str, hint: str) -> None:
    with pytest.raises(AskedError, match=error) as told:
        explain.named(cluster().index(), text, namespace)
    assert told.value.hints[0].startswith(hint)


@pytest.mark.parametrize("text", ["curl", "test/", "/curl", "a/b/c/d", "a//c", ""])
def test_a_client_needs_a_namespace(text: str) -> None:
    with pytest.raises(AskedError, match="names no pod"):
        explain.named(cluster().index(), text)


def pod(name: str, more: str = "", namespace: str = "test") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{nodeName: ambientlab, containers: [] {more}}}
status: {{phase: Pending}}
"""


def test_a_client_that_cannot_ask_is_told_why() -> None:
    index = indexed(*world(), *objects_in(pod("early") + "---" + pod("node", ", hostNetwork: true")))
    with pytest.raises(UnknownError, match="there is no pod test/nobody") as told:
        explain.named(index, "test/nobody")
    assert told.value.hints == ("kubectl get pods -n test",)
    with pytest.raises(UnknownError, match="pod test/early has no address: it is Pending"):
        explain.named(index, "test/early")
    found = explain.named(index, "test/node")
    assert (found.key, found.node) == (None, "ambientlab")
    assert "node's network" in found.chosen
    way = explain.explain(index, found, explain.request("http://helloworld.hello.svc.cluster.local:5000"))
    assert draw(way).splitlines()[1].startswith("from node ambientlab (test/node is in its node's network")
    assert "not in the mesh: istio-cni takes nothing in the network of a node" in draw(way)


def test_without_a_client_one_in_the_mesh_is_chosen_and_told() -> None:
    request = explain.request("helloworld.hello:5000")
    found = explain.anybody(cluster().index(), request)
    assert (found.key, "in the mesh" in found.chosen, "--from" in found.chosen) == (CURL, True, True)
    out = cluster("kubectl label pod curl -n test istio.io/dataplane-mode=none")
    assert explain.anybody(out.index(), request).key == Key("hello", "helloworld-v1-5b89ff7bbd-w6c72")
    nobody = explain.anybody(indexed(), request)
    assert (nobody.key, "outside of the cluster" in nobody.chosen) == (None, True)


def test_names_are_looked_up_in_the_clients_namespace() -> None:
    made = cluster()
    inside = explained(made, "helloworld:5000", source="hello/helloworld-v1")
    assert inside.decision.target.service == "helloworld.hello.svc.cluster.local"
    with pytest.raises(UnknownError, match="called helloworld") as told:
        explained(made, "helloworld:5000")
    assert told.value.hints == ("Service hello/helloworld is called helloworld.hello.svc.cluster.local",)


def test_a_host_that_is_nothing_is_told_with_where_to_look() -> None:
    with pytest.raises(UnknownError) as told:
        explained(cluster(), "nowhere.example.com")
    assert told.value.hints == ("kubectl get services,serviceentries -A",)


def test_an_alias_is_told_with_what_it_stands_for() -> None:
    alias = """
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: hello}
spec: {type: ExternalName, externalName: api.example.com}
"""
    index = indexed(*world(), *objects_in(alias))
    with pytest.raises(UnknownError) as told:
        explained_in(index, "alias.hello")
    assert told.value.hints == (
        "Service hello/alias is an alias, which the mesh does not know: ask for api.example.com",
    )
