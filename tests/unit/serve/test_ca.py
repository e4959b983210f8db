"""Certificates that SPIFFE and Envoy accept, from a root that outlives restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ambientlab.mesh.serve.ca import CERTIFICATE_FILE, KEY_FILE, CertificateAuthority
from ambientlab.mesh.serve.identity import Identity, spiffe_id
from ambientlab.mesh.serve.secrets import Secrets

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLIENT = spiffe_id("default", "client")
ZTUNNEL = Identity("istio-system", "ztunnel", "ztunnel-abcde")
WAYPOINT = Identity("hello", "waypoint", "waypoint-1")


def nothing(proxy: Identity, name: str) -> None:
    """The API holds no certificates."""


def test_an_svid_is_what_spiffe_asks_for() -> None:
    ca = CertificateAuthority.create(clock=lambda: NOW)
    svid = ca.issue(CLIENT)
    [leaf] = x509.load_pem_x509_certificates(svid.chain_pem)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.root_pem))
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical
    assert [name.value for name in san.value] == ["spiffe://cluster.local/ns/default/sa/client"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert leaf.not_valid_after_utc - NOW == timedelta(hours=24)
    key = serialization.load_pem_private_key(svid.key_pem, None)
    assert key.public_key() == leaf.public_key()


def test_the_root_is_kept_and_its_key_is_private(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path / "ca")
    assert (tmp_path / "ca" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert CertificateAuthority.open(tmp_path / "ca").root_pem == first.root_pem


@pytest.mark.parametrize("file", [KEY_FILE, CERTIFICATE_FILE])
def test_a_damaged_root_is_named_and_not_replaced(tmp_path: Path, file: str) -> None:
    CertificateAuthority.open(tmp_path)
    (tmp_path / file).write_bytes(b"not a PEM")
    with pytest.raises(OSError, match="damaged"):
        CertificateAuthority.open(tmp_path)
    assert (tmp_path / file).read_bytes() == b"not a PEM"


def test_a_key_of_another_root_is_refused(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path / "a")
    CertificateAuthority.open(tmp_path / "b")
    (tmp_path / "a" / KEY_FILE).write_bytes((tmp_path / "b" / KEY_FILE).read_bytes())
    with pytest.raises(OSError, match="is not the key of"):
        CertificateAuthority.open(tmp_path / "a")


def test_an_expiring_root_is_refused_with_the_way_out(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, clock=lambda: NOW)
    with pytest.raises(OSError, match="remove it for a new root"):
        CertificateAuthority.open(tmp_path, clock=lambda: NOW + timedelta(days=3650))


def test_a_proxy_gets_its_own_certificate_and_the_root_under_istios_names() -> None:
    secrets = Secrets(CertificateAuthority.create(), lambda proxy, identity: False, nothing)
    assert secrets.get(WAYPOINT, "ROOTCA") is not None
    assert secrets.get(WAYPOINT, "default") is not None
    assert secrets.get(WAYPOINT, WAYPOINT.spiffe_id) is not None
    assert secrets.get(WAYPOINT, CLIENT) is None
    assert secrets.get(ZTUNNEL, CLIENT) is None


def test_another_identity_needs_an_entitlement() -> None:
    secrets = Secrets(
        CertificateAuthority.create(), lambda proxy, identity: (proxy, identity) == (ZTUNNEL, CLIENT), nothing
    )
    assert secrets.get(ZTUNNEL, CLIENT) is not None
    assert secrets.get(ZTUNNEL, spiffe_id("default", "other")) is None
    assert secrets.get(ZTUNNEL, "spiffe://elsewhere/ns/default/sa/client") is None


def test_what_the_machine_trusts_is_given_to_any_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(CertificateAuthority.create(), lambda proxy, identity: False, nothing)
    bundle = tmp_path / "bundle.crt"
    monkeypatch.setattr("ambientlab.mesh.serve.secrets.SYSTEM_BUNDLES", (str(tmp_path / "missing"), str(bundle)))
    assert secrets.get(WAYPOINT, "file-root:system") is None
    bundle.write_bytes(CertificateAuthority.create().root_pem)
    assert secrets.get(WAYPOINT, "file-root:system") is not None
    assert secrets.get(WAYPOINT, f"file-root:{bundle}") is None


def test_a_certificate_is_renewed_once_half_of_its_life_is_over() -> None:
    now = NOW

    def clock() -> datetime:
        return now

    secrets = Secrets(CertificateAuthority.create(clock=clock), lambda proxy, identity: True, nothing, clock=clock)
    first = secrets.svid(CLIENT)
    due = secrets.next_renewal()
    assert due is not None
    assert timedelta(hours=11) < due - NOW < timedelta(hours=12)
    now = due - timedelta(seconds=1)
    secrets.expire()
    assert secrets.svid(CLIENT) is first
    now = due
    secrets.expire()
    assert secrets.next_renewal() is None
    assert secrets.svid(CLIENT).serial != first.serial
