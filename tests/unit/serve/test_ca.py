"""Certificates that SPIFFE and Envoy accept, from a root that outlives restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ambientlab.mesh.serve.ca import CertificateAuthority, IssueError
from ambientlab.mesh.serve.identity import Identity, spiffe_id
from ambientlab.mesh.serve.secrets import RETRY, Secrets
from support.certificates import authority

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


def test_a_certificate_is_shown_with_the_cas_between_it_and_the_root() -> None:
    root = authority("root")
    middle = authority("middle", root)
    lower = authority("lower", middle)
    ca = CertificateAuthority(lower)
    leaf, *above = x509.load_pem_x509_certificates(ca.issue(CLIENT).chain_pem)
    assert above == [lower.certificate, middle.certificate, root.certificate]
    leaf.verify_directly_issued_by(lower.certificate)
    assert ca.root_pem == root.certificate_pem


def test_a_certificate_outlives_no_ca_it_depends_on() -> None:
    ca = CertificateAuthority(authority("root", days=0.5))
    svid = ca.issue(CLIENT)
    assert timedelta(hours=11.9) < svid.not_after - datetime.now(UTC) <= timedelta(hours=12)
    with pytest.raises(IssueError, match="cert chain has expired"):
        CertificateAuthority(authority("root", days=-1)).issue(CLIENT)


def test_more_than_istiod_signs_is_refused_with_its_words() -> None:
    ca = CertificateAuthority.create()
    with pytest.raises(IssueError, match=r"requested TTL 2161h0m0s is greater than the max allowed TTL 2160h0m0s"):
        ca.issue(CLIENT, lifetime=timedelta(hours=2161))


def test_neither_keys_nor_bundles_show_in_what_is_printed() -> None:
    ca = CertificateAuthority.create()
    assert "PRIVATE" not in repr(ca.issue(CLIENT)) + repr(authority("root"))


def test_a_proxy_gets_its_own_certificate_and_the_root_under_istios_names() -> None:
    secrets = Secrets(CertificateAuthority.create(), lambda proxy, identity: False, nothing)
    assert secrets.get(WAYPOINT, "ROOTCA") is not None
    assert secrets.get(WAYPOINT, "default") is not None
    assert secrets.get(WAYPOINT, spiffe_id("hello", "waypoint")) is not None
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
    first = secrets.svid(ZTUNNEL, CLIENT)
    due = secrets.next_renewal()
    assert due is not None
    assert due - NOW == timedelta(hours=12)
    now = due - timedelta(seconds=1)
    secrets.expire()
    assert secrets.svid(ZTUNNEL, CLIENT) is first
    now = due
    secrets.expire()
    assert secrets.next_renewal() is None
    assert secrets.svid(ZTUNNEL, CLIENT).serial != first.serial


def test_a_short_life_is_renewed_as_well_at_its_half() -> None:
    """Certificates begin before they are issued, which must not count: they would be renewed without end."""
    secrets = Secrets(
        CertificateAuthority.create(clock=lambda: NOW),
        lambda proxy, identity: True,
        nothing,
        lifetime=lambda proxy: timedelta(seconds=10),
        clock=lambda: NOW,
    )
    secrets.get(ZTUNNEL, CLIENT)
    assert secrets.next_renewal() == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("asked", [timedelta(milliseconds=1), timedelta(seconds=1), timedelta(seconds=3)])
def test_however_short_a_life_is_asked_for_renewals_leave_room_for_each_other(asked: timedelta) -> None:
    """Certificates begin with whole seconds: late in one, half of a short life is over before it begins."""
    now = NOW + timedelta(microseconds=999_999)
    issued = 0

    def count() -> None:
        nonlocal issued
        issued += 1

    ca = CertificateAuthority.create(clock=lambda: now)
    secrets = Secrets(
        ca, lambda proxy, identity: True, nothing, issued=count, lifetime=lambda proxy: asked, clock=lambda: now
    )
    for _ in range(100):  # for ten seconds
        svid = secrets.svid(ZTUNNEL, CLIENT)
        assert svid.renew_at < svid.not_after
        assert svid.not_after > now
        secrets.expire()
        now += timedelta(milliseconds=100)
    assert issued <= 10


def test_who_outlives_no_ca_is_used_for_a_second_all_the_same() -> None:
    signing = authority("root")
    late = signing.certificate.not_valid_after_utc - timedelta(milliseconds=100)
    assert CertificateAuthority(signing, clock=lambda: late).issue(CLIENT).renew_at == late + timedelta(seconds=1)


def test_other_roots_mean_other_certificates_and_another_ca_under_the_same_does_not() -> None:
    root = authority("root")
    first, second = authority("first", root), authority("second", root)
    ca = CertificateAuthority(first)
    secrets = Secrets(ca, lambda proxy, identity: True, nothing)
    before, trusted = secrets.svid(ZTUNNEL, CLIENT), secrets.get(ZTUNNEL, "ROOTCA")
    ca.adopt(second)
    assert not secrets.follow_roots()
    assert secrets.svid(ZTUNNEL, CLIENT) is before
    assert x509.load_pem_x509_certificates(secrets.svid(ZTUNNEL, "spiffe://x/new").chain_pem)[1] == second.certificate
    ca.adopt(authority("other"))
    assert secrets.follow_roots()
    assert secrets.svid(ZTUNNEL, CLIENT) is not before
    assert secrets.get(ZTUNNEL, "ROOTCA") != trusted


def test_what_cannot_be_signed_is_said_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    now = NOW
    secrets = Secrets(
        CertificateAuthority.create(clock=lambda: now),
        lambda proxy, identity: True,
        nothing,
        lifetime=lambda proxy: timedelta(days=91),
        clock=lambda: now,
    )
    assert secrets.get(ZTUNNEL, CLIENT) is None
    assert "CSR signing error (requested TTL 2184h0m0s is greater than" in caplog.text
    assert secrets.in_use(ZTUNNEL, CLIENT) == "requested TTL 2184h0m0s is greater than the max allowed TTL 2160h0m0s"
    assert secrets.next_renewal() == NOW + RETRY
    now += RETRY
    secrets.expire()
    assert secrets.next_renewal() is None
    secrets.forget(CLIENT)
    assert secrets.in_use(ZTUNNEL, CLIENT) is None


def test_a_proxy_that_takes_anothers_place_gets_certificates_of_its_own() -> None:
    """Keys of ztunnel are gone with its process."""
    secrets = Secrets(CertificateAuthority.create(), lambda proxy, identity: True, nothing)
    successor = Identity("istio-system", "ztunnel", "ztunnel-fghij")
    before = secrets.svid(ZTUNNEL, CLIENT)
    assert secrets.svid(successor, CLIENT).serial != before.serial
    assert secrets.svid(ZTUNNEL, CLIENT) is before
