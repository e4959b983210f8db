"""Traffic policies in a whole mesh: a client in a pod, its waypoint, and servers at the other end of a tunnel."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest
from cryptography import x509

from support.certificates import self_signed
from support.mesh import Mesh
from support.waiting import eventually

HELLO = "http://helloworld.hello.svc.cluster.local:5000/hello"
SECURE = "http://secure.hello.svc.cluster.local:443/"
CODE = ["-m", "10", "-o", "/dev/null", "-w", "%{http_code}\\n"]
SERVER = """
apiVersion: v1
kind: Secret
metadata: {{name: server, namespace: hello}}
data: {{tls.crt: {certificate}, tls.key: {key}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: authority, namespace: hello}}
data: {{cacert: {certificate}}}
---
apiVersion: v1
kind: Service
metadata: {{name: secure, namespace: hello}}
spec:
  selector: {{app: secure}}
  ports: [{{name: http, port: 443, targetPort: 8443}}, {{name: http-plain, port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: secure, namespace: hello, labels: {{app: secure}}}}
spec:
  containers:
  - name: echo
    image: gcr.io/k8s-staging-gateway-api/echo-advanced
    args: [--port=8080, --port=8443, --tls=8443, --crt=/certs/tls.crt, --key=/certs/tls.key]
    volumeMounts: [{{name: certs, mountPath: /certs}}]
  volumes: [{{name: certs, secret: {{secretName: server}}}}]
"""


def rule(host: str, policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: hello}}
spec: {{host: {host}, trafficPolicy: {policy}}}
"""


def authorities(certificate: bytes) -> str:
    lines = "".join(f"    {line}\n" for line in certificate.decode().splitlines())
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: authorities, namespace: hello}}
data:
  ca.crt: |
{lines}"""


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    return self_signed(x509.DNSName("secure.example"))


@pytest.fixture(scope="module")
def meshed(hello_behind_waypoint: Mesh, certificate: tuple[bytes, bytes]) -> Mesh:
    lab = hello_behind_waypoint
    encoded, key = (base64.b64encode(pem).decode() for pem in certificate)
    lab.apply(SERVER.format(certificate=encoded, key=key))
    lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", "hello", "--timeout=30s")
    return lab


@pytest.fixture
def clean(meshed: Mesh) -> Iterator[Mesh]:
    yield meshed
    meshed.kubectl("delete", "destinationrules,backendtlspolicies", "--all", "-n", "hello")


def answers(mesh: Mesh, code: str) -> None:
    eventually(lambda: mesh.curl(*CODE, SECURE).strip() == code, f"{code} from {SECURE}")


def served(mesh: Mesh) -> dict[str, set[str]]:
    """The versions that each of some users met in three requests."""
    users = [f"user{number}" for number in range(32)]
    arguments = [part for user in users * 3 for part in ("--next", "-sS", "-H", f"x-user: {user}", HELLO)]
    found = re.findall(r"version: (v\d)", mesh.curl(*arguments[1:]))
    assert len(found) == len(users) * 3
    return {user: {*found[index :: len(users)]} for index, user in enumerate(users)}


def test_a_user_stays_with_one_endpoint(clean: Mesh) -> None:
    clean.apply(rule("helloworld", "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"))
    eventually(lambda: all(len(met) == 1 for met in served(clean).values()), "one endpoint for each user")
    assert set.union(*served(clean).values()) == {"v1", "v2"}


def test_what_is_too_much_is_refused_at_once(clean: Mesh) -> None:
    pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    url = "http://secure.hello.svc.cluster.local/?delay=1s&n=[1-8]"
    arguments = ["--parallel", "--parallel-immediate", *CODE, url]
    assert set(clean.curl(*arguments).split()) == {"200"}
    clean.apply(rule("secure", f"{{connectionPool: {pool}}}"))
    eventually(lambda: set(clean.curl(*arguments).split()) == {"200", "503"}, "an overflow")


def test_a_waypoint_speaks_tls_as_a_rule_says(clean: Mesh) -> None:
    answers(clean, "503")  # the server takes no plain text
    clean.apply(rule("secure", "{tls: {mode: SIMPLE, credentialName: authority, sni: secure.example}}"))
    answers(clean, "200")
    clean.apply(rule("secure", "{tls: {mode: SIMPLE, credentialName: authority, subjectAltNames: [other.example]}}"))
    answers(clean, "503")


def conditions(mesh: Mesh) -> dict[str, str]:
    """Of the policy, once it has some."""
    ancestors = mesh.json("get", "backendtlspolicy", "secure", "-n", "hello").get("status", {}).get("ancestors", ())
    return {one["type"]: one["status"] for ancestor in ancestors for one in ancestor["conditions"]}


def test_a_waypoint_speaks_tls_as_a_policy_says(clean: Mesh, certificate: tuple[bytes, bytes]) -> None:
    clean.apply(
        """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secure, namespace: hello}
spec:
  targetRefs: [{group: "", kind: Service, name: secure, sectionName: http}]
  validation:
    hostname: secure.example
    subjectAltNames: [{type: Hostname, hostname: secure.example}]
    caCertificateRefs: [{group: "", kind: ConfigMap, name: authorities}]
"""
    )
    eventually(lambda: conditions(clean) == {"Accepted": "False", "ResolvedRefs": "False"}, "conditions")
    answers(clean, "503")
    clean.apply(authorities(self_signed(x509.DNSName("secure.example"))[0]))
    eventually(lambda: conditions(clean) == {"Accepted": "True", "ResolvedRefs": "True"}, "conditions")
    answers(clean, "503")  # not signed by these
    clean.apply(authorities(certificate[0]))
    answers(clean, "200")
    assert clean.curl(*CODE, "http://secure.hello.svc.cluster.local/").strip() == "200"  # the other port is plain
