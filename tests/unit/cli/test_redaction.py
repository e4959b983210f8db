"""What never leaves in a bug report, whatever it is part of; and what stays, so that a report is of use."""

from __future__ import annotations

import base64
import json

import pytest

from ambientlab.cli.istio import redaction
from ambientlab.mesh.serve.ca import CertificateAuthority

SVID = CertificateAuthority.create().issue("spiffe://cluster.local/ns/a/sa/b")
KEY = SVID.key_pem.decode()
INNER = "".join(KEY.splitlines()[1:-1])
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLWJ5dGVz"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"before\n{KEY}after", INNER[:40]),
        (json.dumps({"key": KEY}), INNER[:40]),
        (KEY.replace("-----END", "cut off"), INNER[:40]),
        (f"data: {base64.b64encode(SVID.key_pem).decode()}", base64.b64encode(SVID.key_pem).decode()[60:100]),
        (f"found {TOKEN} here", TOKEN[30:]),
        (f'"authorization": "Bearer {TOKEN}"', TOKEN[30:]),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("authorization=Bearer opaque-token-1", "opaque-token-1"),
        ("Cookie: session=abc123; other=1", "abc123"),
        ("https://user:hunter2@example.com/x", "hunter2"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("client-key-data: QUJDREVG", "QUJDREVG"),
        ('{"password": "hunter2"}', "hunter2"),
        ("--password=hunter2", "hunter2"),
        ('{"header": {"key": "Authorization", "value": "Bearer opaque-1"}}', "opaque-1"),
        ('"key": "x-auth-token",\n  "raw_value": "b3BhcXVl"', "b3BhcXVl"),
        ("GET /x?access_token=opaque-1&a=b HTTP/1.1", "opaque-1"),
        ("token: opaque-1", "opaque-1"),
        ('{"refresh_token":"opaque-1"}', "opaque-1"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, secret: str) -> None:
    assert secret in text
    found = redaction.text(text)
    assert secret not in found
    assert redaction.REDACTED in found


@pytest.mark.parametrize(
    "text",
    [
        SVID.chain_pem.decode(),
        'src.identity="spiffe://cluster.local/ns/a/sa/b"',
        "spec:\n  rules:\n  - from: [{source: {requestPrincipals: ['*']}}]",
        "secretRefs:\n- name: token-signing\n  key: tls.crt",
        '{"header": {"key": "x-forwarded-proto", "value": "http"}}',
        "projected:\n  sources:\n  - serviceAccountToken:\n      path: istio-token",
        "2026-11-25T22:00:00Z\tinfo\taccess\tconnection complete",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redaction.text(text) == text


def test_objects_lose_what_they_hold() -> None:
    given = {
        "kind": "Secret",
        "metadata": {
            "name": "s",
            "managedFields": [{"manager": "x"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"data": "c2VjcmV0"}', "a": "b"},
        },
        "data": {"tls.key": "c2VjcmV0"},
        "stringData": {"password": "c2VjcmV0"},
    }
    found = redaction.obj(given)
    assert found["data"] == {"tls.key": redaction.REDACTED}
    assert "c2VjcmV0" not in json.dumps(found)
    assert found["metadata"]["annotations"]["a"] == "b"
    assert given["data"] == {"tls.key": "c2VjcmV0"}, "the object given is as it was"


def test_arguments_that_sound_secret_lose_their_values() -> None:
    args = ["--token=hunter2", "--api-key", "hunter2", "-v", "--log-level=debug", "--auth", "--port=80", "serve"]
    found = redaction.obj({"kind": "Pod", "spec": {"containers": [{"command": ["x", *args], "args": args}]}})
    [container] = found["spec"]["containers"]
    kept = [f"--token={redaction.REDACTED}", "--api-key", redaction.REDACTED, *args[3:]]
    assert (container["command"], container["args"]) == (["x", *kept], kept)


def test_variables_that_sound_secret_lose_their_values() -> None:
    env = [
        {"name": "DB_PASSWORD", "value": "hunter2"},
        {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "LOG_LEVEL", "value": "debug"},
    ]
    template = {"spec": {"containers": [{"name": "c", "env": env}]}}
    found = redaction.obj({"kind": "Deployment", "spec": {"template": template}})
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [
        {"name": "DB_PASSWORD", "value": redaction.REDACTED},
        *env[1:],
    ]
