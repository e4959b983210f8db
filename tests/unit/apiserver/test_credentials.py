"""Certificates on disk and service account tokens."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ambientlab.apiserver import pki
from ambientlab.apiserver.pki import PKI
from ambientlab.apiserver.tokens import API_AUDIENCE, Claims, TokenError, TokenSigner

CLAIMS = Claims("default", "web", "uid-1", (API_AUDIENCE,), 2000, "web-1", "uid-2")


def test_certificates_persist_and_keys_are_private(tmp_path: Path) -> None:
    first = PKI.load(tmp_path / "pki")
    assert PKI.load(tmp_path / "pki") == first
    for path in (tmp_path / "pki").iterdir():
        if path.suffix == ".key":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_server_certificate_names_what_clients_connect_to(tmp_path: Path) -> None:
    PKI.load(tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "10.96.0.1"} <= {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}


@pytest.mark.parametrize("damage", ["missing key", "garbage", "another's key", "empty"])
def test_a_damaged_pair_is_issued_anew_by_the_same_ca(tmp_path: Path, damage: str) -> None:
    before = PKI.load(tmp_path)
    key = tmp_path / "admin.key"
    match damage:
        case "missing key":
            key.unlink()
        case "garbage":
            key.write_bytes(b"garbage")
        case "another's key":
            key.write_bytes((tmp_path / "server.key").read_bytes())
        case _:
            key.write_bytes(b"")
    after = PKI.load(tmp_path)
    assert after.ca_certificate == before.ca_certificate
    assert after.admin_certificate != before.admin_certificate
    assert pki.read_key(key) is not None


def test_what_expires_soon_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "LEAF_LIFETIME", timedelta(days=10))
    before = PKI.load(tmp_path)
    monkeypatch.undo()
    after = PKI.load(tmp_path)
    assert after.ca_certificate == before.ca_certificate
    expires = x509.load_pem_x509_certificate(after.admin_certificate).not_valid_after_utc
    assert expires > datetime.now(UTC) + timedelta(days=300)


def test_a_token_says_who_it_is_for(tmp_path: Path) -> None:
    token = TokenSigner.load(tmp_path).sign(CLAIMS, 1000)
    found = TokenSigner.load(tmp_path).verify(token, now=1500)
    assert found == CLAIMS
    assert found.username == "system:serviceaccount:default:web"
    assert stat.S_IMODE((tmp_path / "sa.key").stat().st_mode) == 0o600


def test_tokens_expire_and_are_for_their_audience(tmp_path: Path) -> None:
    signer = TokenSigner.load(tmp_path)
    token = signer.sign(CLAIMS, 1000)
    with pytest.raises(TokenError, match="expired"):
        signer.verify(token, now=2000)
    with pytest.raises(TokenError, match="the token is for"):
        signer.verify(token, audience="istio-ca", now=1500)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "é.b.c", "e30.e30.", "bnVsbA.bnVsbA.AA"])
def test_what_is_no_token_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(TokenError):
        TokenSigner.load(tmp_path).verify(token)


def test_a_changed_or_foreign_token_is_refused(tmp_path: Path) -> None:
    signer = TokenSigner.load(tmp_path / "one")
    head, payload, signature = signer.sign(CLAIMS, 1000).split(".")
    foreign = TokenSigner.load(tmp_path / "two").sign(CLAIMS, 1000)
    changed = ".".join((head, payload[:-2] + ("AA" if payload[-2:] != "AA" else "BB"), signature))
    unsigned = ".".join(("eyJhbGciOiJub25lIn0", payload, ""))
    for token in (foreign, changed, unsigned):
        with pytest.raises(TokenError):
            signer.verify(token, now=1500)
