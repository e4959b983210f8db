"""What the mesh signs with, as somebody meets it who plugs a CA in, breaks it, and starts things anew."""

from __future__ import annotations

import json
from base64 import b64decode
from functools import partial

import pytest
from cryptography import x509

from ambientlab.mesh.serve.ca import CertificateAuthority, Svid
from ambientlab.mesh.serve.identity import spiffe_id
from support.certificates import authority, cacerts
from support.hbone import answered, asking
from support.mesh import Mesh
from support.waiting import eventually, first

PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: meshed, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: meshed}
spec: {containers: [{name: c, image: debian, command: [python3, -m, http.server, "80"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: meshed}
spec: {containers: [{name: c, image: debian, command: [sleep, "100000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: evil, namespace: default}
spec: {containers: [{name: c, image: debian, command: [sleep, "100000"]}]}
"""


def ready(mesh: Mesh) -> None:
    mesh.kubectl("wait", "pod", "--all", "-A", "--for=condition=Ready", "--timeout=60s")


def ip(mesh: Mesh) -> str:
    return mesh.kubectl("get", "pod", "web", "-n", "meshed", "-o", "jsonpath={.status.podIP}")


def answers(mesh: Mesh) -> bool:
    """Whether one pod of the mesh reaches another."""
    call = ("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{ip(mesh)}/")
    return mesh.kubectl("exec", "-n", "meshed", "client", "--", *call, check=False) == "200"


def shown(mesh: Mesh) -> list[x509.Certificate]:
    """What a pod of the mesh shows to whoever asks."""
    ask = f"openssl s_client -connect {ip(mesh)}:15008 -alpn h2 -showcerts </dev/null 2>/dev/null"
    text = mesh.kubectl("exec", "evil", "--", "sh", "-c", ask, check=False)
    return x509.load_pem_x509_certificates(text.encode()) if "-----BEGIN" in text else []


def roots(mesh: Mesh) -> set[str]:
    """What namespaces are told to trust."""
    listed = mesh.json("get", "configmap", "-A", "--field-selector", "metadata.name=istio-ca-root-cert")["items"]
    assert {"default", "meshed", "istio-system", "kube-system"} <= {one["metadata"]["namespace"] for one in listed}
    return {one["data"]["root-cert.pem"] for one in listed}


def ztunnel_config(mesh: Mesh, *arguments: str) -> str:
    done = mesh.ambientlab("istioctl", "ztunnel-config", "certificate", *arguments)
    assert done.code == 0, done.text
    return done.out


def istiod_says(mesh: Mesh, words: str) -> bool:
    return words in mesh.kubectl("logs", "-n", "istio-system", "deploy/istiod")


def restart(mesh: Mesh) -> None:
    mesh.kubectl("rollout", "restart", "deployment/istiod", "-n", "istio-system")
    mesh.kubectl("rollout", "status", "deployment/istiod", "-n", "istio-system", "--timeout=60s")


def again(mesh: Mesh) -> None:
    for command in ("down", "up"):
        done = mesh.ambientlab(command)
        assert done.code == 0, done.text
    ready(mesh)


def plug_in(mesh: Mesh, secret: object) -> None:
    mesh.apply(json.dumps(secret))


CALL = """
import socket, ssl, sys
address, asking = sys.argv[1], bytes.fromhex(sys.argv[2])
context = ssl._create_unverified_context()
context.set_alpn_protocols(["h2"])
if pem := sys.stdin.read():
    with open("/tmp/pair.pem", "w") as file: file.write(pem)
    context.load_cert_chain("/tmp/pair.pem")
told, answered = b"", False
try:
    with context.wrap_socket(socket.create_connection((address, 15008), 20)) as tunnel:
        tunnel.sendall(asking)
        while not answered and (data := tunnel.recv(1 << 16)):
            told, rest = told + data, told + data
            while len(rest) >= 9 and len(rest) >= (end := 9 + int.from_bytes(rest[:3], "big")):
                answered |= rest[3] == 1
                rest = rest[end:]
except (ssl.SSLError, ConnectionError): pass
print(told.hex())
"""
"""What a client says and hears until the headers of an answer have come, or the end."""


def asked(mesh: Mesh, authority_: str, shows: Svid | None) -> int:
    """The status of a CONNECT that a hostile pod sends to the tunnels' port of the web server's pod, or 0."""
    pem = b"" if shows is None else shows.chain_pem + shows.key_pem
    call = ("exec", "-i", "evil", "--", "python3", "-c", CALL, ip(mesh), asking(authority_).hex())
    return answered(bytes.fromhex(mesh.kubectl(*call, stdin=pem.decode())))


def ztunnel_refuses(mesh: Mesh, source: str, error: str) -> bool:
    """Whether its log has said so."""
    line = f'dst.addr={ip(mesh)}:15008 direction="inbound" error="{error}"'
    logged = mesh.kubectl("logs", "-n", "istio-system", "ds/ztunnel").splitlines()
    return any(f"src.addr={source}:" in text and line in text for text in logged)


@pytest.fixture(scope="module")
def meshed(mesh: Mesh) -> Mesh:
    mesh.apply(PODS)
    ready(mesh)
    return mesh


def test_an_identity_outlives_the_mesh_that_has_it_and_a_ca_can_be_plugged_in(meshed: Mesh) -> None:
    kept = meshed.json("get", "secret", "istio-ca-secret", "-n", "istio-system")["data"]["ca-cert.pem"]
    own = b64decode(kept).decode()
    assert roots(meshed) == {own}
    [leaf] = shown(meshed)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(own.encode()))
    again(meshed)
    assert roots(meshed) == {own}
    assert answers(meshed)

    plugged = authority("workers", authority("corporate"))
    plug_in(meshed, cacerts(plugged))
    eventually(
        lambda: istiod_says(meshed, "Secret istio-system/cacerts is read when istiod starts"), "word of what to do"
    )
    assert roots(meshed) == {own}
    restart(meshed)
    expected = {plugged.root_pem.decode()}
    first(lambda: roots(meshed), lambda found: found == expected, "new root everywhere")
    assert istiod_says(meshed, "Use local CA certificate")
    certificates = first(lambda: shown(meshed), lambda found: len(found) == 3, "chain of the CA that was plugged in")
    assert certificates[1] == plugged.certificate
    certificates[0].verify_directly_issued_by(plugged.certificate)
    assert answers(meshed)
    serials = [f"{certificate.serial_number:x}" for certificate in (*certificates, certificates[-1])]
    rows = [row.split() for row in ztunnel_config(meshed).splitlines()]
    of_web = [row[1:5] for row in rows if row[0] == "spiffe://cluster.local/ns/meshed/sa/default"]
    types = ("Leaf", "Intermediate", "Intermediate", "Root")
    assert of_web == [[kind, "Available", "true", serial] for kind, serial in zip(types, serials, strict=True)]
    [dumped] = json.loads(ztunnel_config(meshed, "-o", "json"))
    assert b64decode(dumped["rootCerts"][0]["pem"]).decode() == plugged.root_pem.decode()
    assert "PRIVATE KEY" not in json.dumps(dumped)


def test_who_holds_a_certificate_of_the_mesh_reaches_the_pod_it_calls_and_nothing_behind_it(meshed: Mesh) -> None:
    """With the CA's key, which no pod gets: as good as it can be forged."""
    plugged = authority("leaked", authority("corporate"))
    plug_in(meshed, cacerts(plugged))
    restart(meshed)
    first(lambda: shown(meshed)[1:2], lambda found: found == [plugged.certificate], "the new CA")
    ca, mine = CertificateAuthority(plugged), spiffe_id("default", "default")
    assert asked(meshed, f"{ip(meshed)}:80", ca.issue(mine)) == 200
    assert asked(meshed, f"{ip(meshed)}:80", None) == 0
    foreign = CertificateAuthority(authority("leaked", authority("corporate")))
    assert asked(meshed, f"{ip(meshed)}:80", foreign.issue(mine)) == 0
    for elsewhere in ("127.0.0.1:80", "10.244.0.1:15014"):
        assert asked(meshed, elsewhere, ca.issue(mine)) == 400
    evil = meshed.kubectl("get", "pod", "evil", "-o", "jsonpath={.status.podIP}")
    for error in (
        "tls handshake error: Custom { kind: InvalidData, error: NoCertificatesPresented }",
        "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
        f"ip mismatch: {ip(meshed)} != 127.0.0.1",
        f"ip mismatch: {ip(meshed)} != 10.244.0.1",
    ):
        eventually(partial(ztunnel_refuses, meshed, evil, error), error)


def test_a_ca_that_cannot_be_used_is_named_and_the_mesh_keeps_the_one_it_had(meshed: Mesh) -> None:
    before = roots(meshed)
    plug_in(meshed, cacerts(authority("broken"), cert_chain=None))
    eventually(lambda: istiod_says(meshed, "incomplete signing CA bundle detected: it lacks cert-chain.pem"), "reason")
    again(meshed)
    assert istiod_says(
        meshed,
        "failed to create an istiod CA: Secret istio-system/cacerts: incomplete signing CA bundle detected: "
        "it lacks cert-chain.pem",
    )
    assert roots(meshed) == before
    assert answers(meshed)


def test_no_log_has_a_key_and_every_file_with_one_is_private(meshed: Mesh) -> None:
    state = meshed.root / "state/ambientlab/ambientlab"
    files = [path for path in state.rglob("*") if path.is_file() and "bin" not in path.relative_to(state).parts]
    keys = {
        path.relative_to(state): path.stat().st_mode & 0o777 for path in files if b"PRIVATE KEY" in path.read_bytes()
    }
    assert {"pki", "ca"} <= {path.parts[0] for path in keys}
    assert set(keys.values()) == {0o600}, keys
    assert not any("logs" in path.parts for path in keys)
    assert any("logs" in path.parts for path in files)
