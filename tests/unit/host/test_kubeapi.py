"""Reading an API: many requests on one connection, whatever the server makes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from cryptography import x509

from ambientlab.api.kinds import CONFIGMAP, GATEWAY, POD, SERVICE, TCPROUTE, TLSROUTE
from ambientlab.host import access, kubeapi
from ambientlab.host.access import Access
from ambientlab.host.kubeapi import ApiError, KubeApi, Write, path
from ambientlab.host.kubeconfig import KubeconfigError
from ambientlab.host.kubectl import Kubectl
from ambientlab.host.listing import LISTED, listing
from ambientlab.mesh.ir import Key
from support.certificates import secured, self_signed
from support.istio_pods import MESH_CONFIG, istio
from support.object_server import Answer, ObjectServer, Page


@pytest.fixture
def serve() -> Iterator[Callable[..., ObjectServer]]:
    made: list[ObjectServer] = []

    def start(*args: Any, **options: Any) -> ObjectServer:
        made.append(ObjectServer(*args, **options))
        return made[-1]

    yield start
    for server in made:
        server.close()


def items(*names: str) -> Answer:
    return 200, {"items": [{"metadata": {"name": name, "namespace": "hello"}} for name in names]}


@pytest.mark.parametrize(
    ("replies", "chunked", "connections"), [(0, False, 1), (0, True, 1), (7, False, 5), (1, True, 30)]
)
def test_replies_come_in_order_however_connections_end(
    serve: Callable[..., ObjectServer], replies: int, chunked: bool, connections: int
) -> None:
    paths = [f"/{number}" for number in range(30)]
    server = serve({path: (200, path) for path in paths}, replies=replies, chunked=chunked)
    with KubeApi(server.access) as api:
        assert [json.loads(reply.body) for reply in api.get(paths)] == paths
    assert server.connections == connections


def test_a_kept_connection_is_used_again(serve: Callable[..., ObjectServer]) -> None:
    server = serve({"/a": (200, "a")})
    with KubeApi(Access("test", server.access.server, token="secret")) as api:
        for _ in range(3):
            [reply] = api.get(["/a"])
            assert reply.status == 200
    assert (server.connections, server.authorized) == (1, {"Bearer secret"})
    assert "secret" not in repr(Access("test", "x", token="secret"))


def test_a_server_may_read_no_more_before_its_replies_are_read(
    serve: Callable[..., ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeapi, "_READ_SECONDS", 5)
    bodies = [b"%d" % number * 50_000 for number in range(200)]
    with KubeApi(serve({}).access) as api:
        replies = api.rehearse([Write("POST", "/a", body) for body in bodies])
    assert [reply.body for reply in replies] == bodies


def test_a_busy_server_is_asked_again(serve: Callable[..., ObjectServer]) -> None:
    paths = ["/a", "/b", "/c", "/d"]
    with KubeApi(serve({path: (200, path) for path in paths}, busy=6).access) as api:
        replies = api.get(paths)
    assert [(reply.status, json.loads(reply.body)) for reply in replies] == [(200, path) for path in paths]
    with KubeApi(serve({}, busy=100).access) as api:
        assert [reply.status for reply in api.get(paths)] == [429] * 4


def test_what_is_listed_is_what_there_is(serve: Callable[..., ObjectServer]) -> None:
    everything = {f"{resource.path}/{resource.plural}": items() for resource in LISTED}
    pods = (200, {"items": istio()})
    config = "/api/v1/namespaces/istio-system/configmaps/istio"
    server = serve(everything | {"/api/v1/pods": pods, "/api/v1/services": items("a"), config: (200, MESH_CONFIG)})
    with KubeApi(server.access) as api:
        found = listing(api)
    assert found.gaps == ()
    assert [obj["kind"] for obj in found.objects[POD]] == ["Pod"] * 3
    assert [obj["apiVersion"] for obj in found.objects[SERVICE]] == ["v1"]
    assert not any("secrets" in path for path in server.asked)
    assert [path for path in server.asked if "configmaps" in path] == [config]


def test_what_is_not_permitted_or_not_there_is_told_and_the_rest_kept(serve: Callable[..., ObjectServer]) -> None:
    everything = {f"{resource.path}/{resource.plural}": items() for resource in LISTED}
    gateway = "/apis/gateway.networking.k8s.io"
    answers = everything | {
        "/api/v1/pods": (200, {"items": istio("1.29.2")}),
        "/api/v1/nodes": (403, {"message": "nodes is forbidden"}),
        f"{gateway}/v1/gateways": (500, {}),
        gateway: (200, {"versions": [{"version": v} for v in ("v1", "v1alpha3", "v1alpha2")]}),
        f"{gateway}/v1alpha2/tlsroutes": items("older"),
    }
    for place in (f"{gateway}/v1/tlsroutes", "/apis/extensions.istio.io/v1alpha1/trafficextensions"):
        del answers[place]
    server = serve(answers)
    with KubeApi(server.access) as api:
        found = listing(api)
    assert len(found.objects[POD]) == 3
    assert [obj["metadata"]["name"] for obj in found.objects[TLSROUTE]] == ["older"]
    assert GATEWAY not in found.objects
    assert {(gap.what, gap.why) for gap in found.gaps} == {
        ("nodes", "not permitted, so it is not known which endpoints are near"),
        (
            "gateways.gateway.networking.k8s.io",
            "the API answers 500, so it is not known which waypoints there are",
        ),
        ("ConfigMap istio-system/istio", "there is none, so it is not known how the mesh is configured"),
    }


@pytest.mark.parametrize(
    ("version", "read", "told"),
    [
        ("1.29.2", ["tls", "tcp"], []),
        ("1.30.1", ["tcp"], [("TLSRoutes", "Istio 1.30", "Gateway API 1.5 (IST0176): no effect of hello/tls")]),
        (
            "1.31.0",
            [],
            [
                ("TLSRoutes", "Istio 1.31", "Gateway API 1.5 (IST0176): no effect of hello/tls"),
                ("TCPRoutes", "Istio 1.31", "Gateway API 1.6 (IST0176): no effect of hello/tcp"),
            ],
        ),
    ],
)
def test_what_this_istio_does_not_process_is_left_out_and_told(
    serve: Callable[..., ObjectServer], version: str, read: list[str], told: list[tuple[str, str, str]]
) -> None:
    group = "/apis/gateway.networking.k8s.io"
    kinds = {"tlsroutes": ["tls"], "tcproutes": ["tcp"], "grpcroutes": []}
    answers = {f"{resource.path}/{resource.plural}": items() for resource in LISTED} | {
        "/api/v1/pods": (200, {"items": istio(version)}),
        "/api/v1/namespaces/istio-system/configmaps/istio": (200, MESH_CONFIG),
        group: (200, {"versions": [{"version": "v1"}, {"version": "v1alpha2"}]}),
    }
    for plural, names in kinds.items():
        del answers[f"{group}/v1/{plural}"]
        some = [{"metadata": {"name": name, "namespace": "hello"}, "spec": {}} for name in names]
        answers[f"{group}/v1alpha2/{plural}"] = (200, {"items": some})
    with KubeApi(serve(answers).access) as api:
        found = listing(api)
    objects, gaps = found.processed(found.objects)
    assert [obj["metadata"]["name"] for kind in (TLSROUTE, TCPROUTE) for obj in objects.get(kind, ())] == read
    assert found.gaps == ()
    assert sorted(gap.what for gap in gaps) == sorted(what for what, _, _ in told)
    for what, istiod, ending in told:
        [gap] = [gap for gap in gaps if gap.what == what]
        assert gap.why.startswith(f"{istiod} processes none, ")
        assert gap.why.endswith(ending)
        assert gap.commands[0].startswith("kubectl apply --server-side -f https://")


def test_config_maps_are_read_that_something_names(serve: Callable[..., ObjectServer]) -> None:
    policy = {
        "metadata": {"name": "tls", "namespace": "hello"},
        "spec": {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "group": "", "name": "ca"}]}},
    }
    answers = {
        "/api/v1/pods": items(),
        "/apis/gateway.networking.k8s.io/v1/backendtlspolicies": (200, {"items": [policy]}),
        "/api/v1/namespaces/hello/configmaps/ca": (200, {"metadata": {"name": "ca", "namespace": "hello"}}),
        "/api/v1/namespaces/istio-system/configmaps/istio": (403, {}),
    }
    with KubeApi(serve(answers).access) as api:
        found = listing(api)
    assert [obj["metadata"]["name"] for obj in found.objects[CONFIGMAP]] == ["ca"]
    assert [gap.why for gap in found.gaps if "ConfigMap" in gap.what] == [
        "not permitted, so it is not known how the mesh is configured"
    ]


def test_names_of_objects_are_names_and_no_requests(serve: Callable[..., ObjectServer]) -> None:
    """Whoever may write a policy must not speak to the API as who reads it."""
    long, name = "ca HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nX: ", "ca\r\nX: "
    references = [{"kind": "ConfigMap", "group": "", "name": each} for each in (long, name)]
    spec = {"validation": {"caCertificateRefs": references}}
    policy = {"metadata": {"name": "tls", "namespace": "hello"}, "spec": spec}
    server = serve({"/apis/gateway.networking.k8s.io/v1/backendtlspolicies": (200, {"items": [policy]})})
    with KubeApi(server.access) as api:
        listing(api)
        assert "/smuggled" not in server.asked
        assert server.asked[-1] == f"/api/v1/namespaces/hello/configmaps/{quote(name, safe='')}"
        for wrong in ("/a b", "/a\r\nb", "/a#b", "/é", "", "/a/../b", "/a/.", "/..?c"):
            with pytest.raises(ValueError, match="no path of a URL"):
                api.get([wrong])


def test_a_name_that_is_another_path_is_nobodys(serve: Callable[..., ObjectServer]) -> None:
    spec = {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "group": "", "name": ".."}]}}
    policy = {"metadata": {"name": "tls", "namespace": "hello"}, "spec": spec}
    server = serve({"/apis/gateway.networking.k8s.io/v1/backendtlspolicies": (200, {"items": [policy]})})
    with KubeApi(server.access) as api:
        listing(api)
    assert not any(".." in path for path in server.asked)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a/b", "a b", "a%2fb", "a\r\nb"])
def test_a_rehearsal_is_of_what_is_named(name: str) -> None:
    assert path(SERVICE, Key("hello", name)) == f"/api/v1/namespaces/hello/services/{quote(name, safe='')}"


@pytest.mark.parametrize(
    ("status", "told"), [(401, "does not know who asks: no"), (403, "permits nothing"), (502, "answers 502: no")]
)
def test_an_api_that_says_nothing_is_told(serve: Callable[..., ObjectServer], status: int, told: str) -> None:
    refused = (status, {"message": "no"})
    server = serve({f"{resource.path}/{resource.plural}": refused for resource in LISTED})
    with KubeApi(server.access) as api, pytest.raises(ApiError, match=told) as error:
        listing(api)
    assert error.value.hints


@pytest.mark.parametrize("page", ["<html>log in</html>", '"a text"'])
def test_what_is_no_api_is_told(serve: Callable[..., ObjectServer], page: str) -> None:
    server = serve({f"{resource.path}/{resource.plural}": (200, Page(page)) for resource in LISTED})
    with KubeApi(server.access) as api, pytest.raises(ApiError, match=f"no Kubernetes API: {page}"):
        listing(api)


def test_an_api_that_is_not_there_is_told(unused_port: int) -> None:
    told = r"cannot reach the API of context gone at \S+: Connection refused"
    with (
        KubeApi(Access("gone", f"https://127.0.0.1:{unused_port}")) as api,
        pytest.raises(ApiError, match=told) as error,
    ):
        api.get(["/"])
    assert error.value.hints == ("kubectl --context gone version",)
    with pytest.raises(ApiError, match="is no URL"):
        KubeApi(Access("odd", "nonsense"))


def test_a_token_is_one_header(unused_port: int) -> None:
    with pytest.raises(ApiError, match="the token of context odd has control characters") as error:
        KubeApi(Access("odd", f"http://127.0.0.1:{unused_port}", token="secret\r\nImpersonate-User: admin"))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("pems", "told"),
    [
        ({"authorities": b"what"}, "the certificate-authority of context odd cannot be used: it is no PEM"),
        ({"authorities": b"\xff"}, "the certificate-authority of context odd cannot be used: it is no PEM"),
        ({"certificate": b"what", "key": b"what"}, "the client-certificate or client-key of context odd cannot"),
    ],
)
def test_what_is_no_pem_is_told(serve: Callable[..., ObjectServer], pems: dict[str, Any], told: str) -> None:
    server = serve({}).access.server.replace("http:", "https:")
    with KubeApi(Access("odd", server, **pems)) as api, pytest.raises(ApiError, match=told):
        api.get(["/"])


def test_certificates_may_have_comments_in_any_language() -> None:
    certificate, _ = self_signed(x509.DNSName("api"))
    comments = ("# Autorité\n".encode(), "# Behörde\n".encode("latin-1"))
    trusted = kubeapi.tls(Access("one", "https://api", comments[0] + certificate + comments[1] + certificate))
    assert len(trusted.get_ca_certs()) == 1


def test_what_kubectl_opens_for_us_is_open_to_nobody_else(serve: Callable[..., ObjectServer], tmp_path: Path) -> None:
    with Kubectl(serve({"/api/v1/pods": (200, "here")}).kubeconfig(tmp_path)).proxy() as socket:
        assert Path(socket).parent.stat().st_mode & 0o077 == 0
        with KubeApi(access.behind(socket, "test")) as api:
            assert [json.loads(reply.body) for reply in api.get(["/api/v1/pods"])] == ["here"]
            [refused] = api.rehearse([Write("POST", "/api/v1/pods")])
            assert refused.status == 403
    assert not Path(socket).parent.exists()


def config(**users: Any) -> dict[str, Any]:
    data = base64.b64encode(b"PEM").decode()
    return {
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://c:6443", "certificate-authority-data": data}}],
        "users": [{"name": name, "user": user} for name, user in users.items()],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": name}} for name in users],
    }


def test_an_api_that_does_not_take_the_clients_certificate_is_told() -> None:
    (certificate, key), (other, others_key) = (self_signed(x509.IPAddress(IPv4Address("127.0.0.1"))) for _ in range(2))
    server = ObjectServer({})
    server.server.socket = secured(server.server.socket, certificate, key, clients=certificate)
    access = Access("odd", server.access.server.replace("http:", "https:"), certificate, other, others_key)
    with (
        KubeApi(access) as api,
        pytest.raises(ApiError, match=r"it does not take this client's certificate \(unknown ca\)$"),
    ):
        api.get(["/"])
    server.close()


@pytest.fixture
def unused_port() -> int:
    server = ObjectServer({})
    server.close()
    return server.port


def test_a_kubeconfig_is_read_as_kubectl_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.pem").write_bytes(b"KEY")
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump(config(one={"token": "t"}, two={"client-key": "key.pem"})))
    second.write_text(yaml.safe_dump(config(three={"exec": {"command": "aws"}})))
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path / 'none'}")
    assert access.of() == Access("one", "https://c:6443", b"PEM", token="t")
    assert access.of("two").key == b"KEY"
    assert not access.of("three").plain
    assert access.of("two", first) == access.of("two")
    first.write_text(yaml.safe_dump(config(one={})).replace("server:", "tls-server-name: 7\n    server:"))
    assert access.of("one", first).server_name == "7"
    folded = "\n".join(base64.b64encode(b"KEY").decode())
    first.write_text(yaml.safe_dump(config(one={"client-key-data": folded})))
    assert access.of("one", first).key == b"KEY"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert not access.of().plain
    second.write_text(first.read_text().replace("//c:", "//127.0.0.1:"))
    assert access.of(file=second).plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("since: 2026-13-45", "is not YAML"),
        (
            'clusters: [{name: c, cluster: {server: "https://a"}}]\nusers: [{name: u, user: {tokenFile: "a\\0"}}]\n'
            "contexts: [{name: c, context: {cluster: c, user: u}}]",
            "cannot read .* embedded null byte",
        ),
    ],
)
def test_a_kubeconfig_that_makes_no_sense_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(KubeconfigError, match=told):
        access.of("c", tmp_path / "kubeconfig")


def test_a_kubeconfig_that_cannot_be_looked_for_is_told(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"cannot read .*x: File name too long"):
        access.of(file=tmp_path / ("x" * 300))


@pytest.mark.parametrize(("written", "verify"), [("true", False), ("false", True), ('"false"', True), ("1", True)])
def test_certificates_are_checked_unless_it_is_true_that_they_are_not(
    tmp_path: Path, written: str, verify: bool
) -> None:
    file = tmp_path / "kubeconfig"
    cluster = f"{{server: 'https://a', insecure-skip-tls-verify: {written}}}"
    file.write_text(f"clusters: [{{name: c, cluster: {cluster}}}]\ncontexts: [{{name: c, context: {{cluster: c}}}}]")
    assert access.of("c", file).verify is verify


def test_a_file_goes_before_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("fresh\n")
    (tmp_path / "config").write_text(yaml.safe_dump(config(one={"token": "stale", "tokenFile": "token"})))
    assert access.of("one", tmp_path / "config").token == "fresh"


@pytest.mark.parametrize(
    ("context", "text", "told"),
    [
        ("four", "", "there is no context 'four' in the kubeconfig; it has one"),
        (None, "current-context: ''", "has no current context"),
        (None, "current-context: x\ncontexts: [{name: x, context: {cluster: y}}]", "no cluster 'y'"),
        (None, "current-context: x\ncontexts: [{context: {}}]", "no context 'x' in the kubeconfig; it has None"),
        (None, "[]", "is not a kubeconfig"),
        (None, "\udcff\udcfe", "is not text"),
        ("one", yaml.safe_dump(config(one={"client-key-data": "%%"})), "client-key-data in .* is not base64"),
        ("one", yaml.safe_dump(config(one={"client-key-data": 7})), "client-key-data in .* is not base64"),
    ],
)
def test_a_kubeconfig_that_says_too_little_is_told(tmp_path: Path, context: str | None, text: str, told: str) -> None:
    file = tmp_path / "config"
    file.write_text(text or yaml.safe_dump(config(one={})), errors="surrogateescape")
    with pytest.raises(KubeconfigError, match=told):
        access.of(context, file)
    with pytest.raises(KubeconfigError, match="there is no kubeconfig"):
        access.of(file=tmp_path / "none")
