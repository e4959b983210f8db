"""Which CA counts when, as istiod decides it, and what is said of those that do not."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ambientlab.api.kinds import POD, SECRET
from ambientlab.api.objects import Object
from ambientlab.mesh.serve.signing import Signing
from support.certificates import authority, cacerts
from support.memory_client import MemoryClient
from support.waiting import until

RESTART = "kubectl rollout restart deployment/istiod -n istio-system"


class Istiod:
    def __init__(self, kept: Path) -> None:
        self.client = MemoryClient()
        self.kept = kept
        self.environment: dict[str, str] = {}
        self.now = datetime.now(UTC)
        self.looked = 0
        """How often at the clock."""
        self._pods = 0
        self._signing = Signing(self.client, kept)

    def clock(self) -> datetime:
        self.looked += 1
        return self.now

    async def up(self) -> Istiod:
        """As `ambientlab up` does, after `down` if it is up."""
        await self._signing.stop()
        self._signing = Signing(self.client, self.kept, clock=self.clock, check_every=0.005)
        await self._signing.open()
        self._signing.start()
        if not self._pods:
            self.pod()
        return self

    async def stop(self) -> None:
        await self._signing.stop()

    def own_secret(self) -> Object:
        secret = self.client.get(SECRET, "istio-ca-secret", "istio-system")
        assert secret is not None
        return secret

    @property
    def root(self) -> bytes:
        return self._signing.authority.root_pem

    @property
    def certificate(self) -> x509.Certificate:
        """Of a workload."""
        return x509.load_pem_x509_certificate(self._chain)

    @property
    def _chain(self) -> bytes:
        return self._signing.authority.issue("spiffe://cluster.local/ns/a/sa/b").chain_pem

    @property
    def chain(self) -> bytes:
        """Behind the certificate of a workload."""
        return self._chain.partition(b"-----END CERTIFICATE-----\n")[2]

    def pod(self) -> None:
        """A new one of istiod's Deployment."""
        self._pods += 1
        env = [{"name": name, "value": value} for name, value in self.environment.items()]
        self.client.put(
            POD,
            {
                "metadata": {"name": f"istiod-{self._pods}", "namespace": "istio-system", "labels": {"app": "istiod"}},
                "spec": {"containers": [{"name": "discovery", "env": env}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
        )

    async def checked(self) -> None:
        """Until the root has been looked at whole."""
        looked = self.looked
        await until(lambda: self.looked > looked + 2, "checks")

    async def restart(self) -> None:
        changed = asyncio.Event()
        unsubscribe = self._signing.authority.watch(changed.set)
        self.pod()
        async with asyncio.timeout(5):
            await changed.wait()
        unsubscribe()


@pytest.fixture
async def istiod(tmp_path: Path) -> AsyncIterator[Istiod]:
    made = Istiod(tmp_path / "ca")
    yield made
    await made.stop()


async def test_a_mesh_makes_a_root_and_keeps_it_as_istio_does(istiod: Istiod) -> None:
    root = (await istiod.up()).root
    secret = istiod.own_secret()
    assert secret["type"] == "istio.io/ca-root"
    assert sorted(secret["data"]) == ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "key.pem", "root-cert.pem"]
    assert b64decode(secret["data"]["ca-cert.pem"]) == root
    assert istiod.chain == b"", "a root is trusted, not shown"
    assert (await istiod.up()).root == root
    istiod.client.drop(SECRET, "istio-ca-secret", "istio-system")
    await istiod.restart()
    assert istiod.root != root, "deleting it and restarting istiod is how a mesh is given a new one"


async def test_a_root_is_renewed_before_its_end_and_keeps_its_key(
    istiod: Istiod, caplog: pytest.LogCaptureFixture
) -> None:
    """Who trusts either root trusts what is signed before and after."""
    caplog.set_level("INFO")
    root = (await istiod.up()).root
    issued = istiod.certificate
    istiod.now += timedelta(days=2919)
    await istiod.checked()
    assert istiod.root == root, "more than a fifth of its ten years is left"
    istiod.now += timedelta(days=2)
    await until(lambda: istiod.root != root, "another root")
    assert "Root certificate rotation is completed successfully." in caplog.text
    assert b64decode(istiod.own_secret()["data"]["ca-cert.pem"]) == istiod.root
    old, new = (x509.load_pem_x509_certificate(pem) for pem in (root, istiod.root))
    assert new.not_valid_after_utc - old.not_valid_after_utc == timedelta(days=2921)
    for certificate in (issued, istiod.certificate):
        for issuer in (old, new):
            certificate.verify_directly_issued_by(issuer)
    renewed = istiod.root
    assert (await istiod.up()).root == renewed, "after down and up"
    istiod.now += timedelta(days=4000)
    await until(lambda: istiod.root != renewed, "another for one that has ended")
    assert "PRIVATE" not in caplog.text


async def test_a_root_that_somebody_else_has_put_there_is_taken_up(
    istiod: Istiod, caplog: pytest.LogCaptureFixture
) -> None:
    await istiod.up()
    other = authority("other", days=3000)
    put = istiod.own_secret()
    files = {"ca-cert.pem": other.certificate_pem, "ca-key.pem": other.key_pem}
    data = {name: b64encode(pem).decode() for name, pem in files.items()}
    istiod.client.put(SECRET, put | {"data": put["data"] | data})
    await until(lambda: istiod.root == other.root_pem, "the other root")
    assert "CA cert in KeyCertBundle does not match CA cert in istio-ca-secret" in caplog.text


async def test_what_a_mesh_signs_with_is_for_its_user_alone(istiod: Istiod) -> None:
    await istiod.up()
    assert istiod.kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in istiod.kept.iterdir()} == {0o600}


async def test_a_plugged_in_ca_counts_when_istiod_starts(istiod: Istiod, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await istiod.up()
    before = istiod.root
    plugged = authority("intermediate", authority("corporate root"))
    istiod.client.put(SECRET, cacerts(plugged))
    assert istiod.root == before
    assert f"Secret istio-system/cacerts is read when istiod starts: {RESTART}" in caplog.text
    await istiod.restart()
    assert istiod.root == plugged.root_pem
    assert istiod.chain == plugged.chain_pem
    istiod.client.drop(SECRET, "cacerts", "istio-system")
    assert istiod.root == plugged.root_pem
    assert (await istiod.up()).root == before, "without it, the root of its own counts again"


async def test_cacerts_goes_before_the_root_of_the_mesh_from_the_first_start(istiod: Istiod) -> None:
    plugged = authority("plugged in")
    istiod.client.put(SECRET, cacerts(plugged))
    assert (await istiod.up()).root == plugged.root_pem
    assert istiod.client.get(SECRET, "istio-ca-secret", "istio-system") is None


async def test_a_secret_of_type_tls_is_read_as_well(istiod: Istiod) -> None:
    root = authority("root")
    plugged = authority("intermediate", root)
    files = {"tls.crt": plugged.certificate_pem, "tls.key": plugged.key_pem, "ca.crt": root.certificate_pem}
    secret = cacerts(plugged) | {"data": {name: b64encode(pem).decode() for name, pem in files.items()}}
    istiod.client.put(SECRET, secret)
    assert (await istiod.up()).root == root.certificate_pem
    assert istiod.chain == plugged.certificate_pem + root.certificate_pem


async def test_a_list_of_what_is_revoked_is_said_to_do_nothing(
    istiod: Istiod, caplog: pytest.LogCaptureFixture
) -> None:
    secret = cacerts(authority("plugged in"), ca_crl=b"-----BEGIN X509 CRL-----")
    istiod.client.put(SECRET, secret)
    await istiod.up()
    assert "Secret istio-system/cacerts: ca-crl.pem revokes nothing: waypoints do not read it" in caplog.text


async def test_an_rsa_key_signs_too(istiod: Istiod) -> None:
    """What Istio's own tools/certs make."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    istiod.client.put(SECRET, cacerts(authority("rsa", key=key), ca_key=pem))
    await istiod.up()
    assert istiod.chain


async def test_another_intermediate_is_taken_up_while_istiod_runs(
    istiod: Istiod, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = authority("root")
    first, second = authority("first", root), authority("second", root)
    istiod.client.put(SECRET, cacerts(first))
    await istiod.up()
    istiod.client.put(SECRET, cacerts(second))
    assert istiod.chain == second.chain_pem
    assert (
        "Istiod has detected the newly added intermediate CA and updated its key and certs accordingly" in caplog.text
    )


async def test_another_root_waits_for_istiod_to_start(istiod: Istiod, caplog: pytest.LogCaptureFixture) -> None:
    old, new = authority("old"), authority("new")
    istiod.client.put(SECRET, cacerts(old))
    await istiod.up()
    istiod.client.put(SECRET, cacerts(new))
    assert istiod.root == old.root_pem
    assert "Multi root is disabled, updating new ROOT-CA not supported" in caplog.text
    assert RESTART in caplog.text
    await istiod.restart()
    assert istiod.root == new.root_pem


async def test_roots_come_and_go_where_istiod_is_told_that_they_may(
    istiod: Istiod, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = authority("old"), authority("new")
    both = old.root_pem + new.root_pem
    istiod.environment = {"ISTIO_MULTIROOT_MESH": "true"}
    istiod.client.put(SECRET, cacerts(old))
    await istiod.up()
    istiod.client.put(SECRET, cacerts(new))
    assert istiod.root == old.root_pem
    assert "Updating new ROOT-CA not supported: neither bundle has all roots of the other" in caplog.text
    for bundle, roots in ((old, both), (new, both), (new, new.root_pem)):
        istiod.client.put(SECRET, cacerts(bundle, root_cert=roots))
        assert istiod.root == roots


def broken() -> dict[str, tuple[Object, str]]:
    root = authority("root")
    good, other = authority("good", root), authority("other", root)
    odd = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    verify = "cannot verify the cert with the provided root chain and cert pool with error: x509: "
    return {
        "incomplete": (
            cacerts(good, cert_chain=None),
            "incomplete signing CA bundle detected: it lacks cert-chain.pem",
        ),
        "no key": (cacerts(good, ca_key=b"not a PEM"), "failed to parse private key PEM: "),
        "another's key": (cacerts(good, ca_key=other.key_pem), "the cert does not match the key"),
        "a key of no use": (cacerts(good, ca_key=odd), "failed to parse private key PEM: unknown private key type"),
        "no certificate": (cacerts(good, ca_cert=b"not a PEM"), "failed to parse cert PEM: "),
        "no root": (cacerts(good, root_cert=b""), "failed to parse root cert PEM: "),
        "another's root": (
            cacerts(good, root_cert=authority("foreign").root_pem),
            f"{verify}certificate signed by unknown authority",
        ),
        "expired": (cacerts(authority("old", root, days=-1)), f"{verify}certificate has expired or is not yet valid"),
        "an expired root": (
            cacerts(authority("under", authority("old", days=-1))),
            f"{verify}certificate has expired or is not yet valid",
        ),
        "no CA": (
            cacerts(authority("leaf", root, ca=False)),
            "certificate is not authorized to sign other certificates",
        ),
        "a chain without it": (
            cacerts(authority("hidden", root, chain=False)),
            "cert-chain.pem does not begin with ca-cert.pem",
        ),
    }


@pytest.mark.parametrize("what", list(broken()))
async def test_what_cannot_be_signed_with_is_said_and_the_mesh_keeps_its_identity(
    istiod: Istiod, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    secret, why = broken()[what]
    good = authority("good")
    istiod.client.put(SECRET, cacerts(good))
    await istiod.up()
    istiod.environment = {"ISTIO_MULTIROOT_MESH": "true"}
    istiod.client.put(SECRET, secret)
    assert istiod.root == good.root_pem, "while istiod runs"
    caplog.clear()
    await istiod.restart()
    assert istiod.root == good.root_pem, "when it is restarted"
    assert f"failed to create an istiod CA: Secret istio-system/cacerts: {why}" in caplog.text
    caplog.clear()
    assert (await istiod.up()).root == good.root_pem, "after down and up"
    assert "signing goes on with the CA of before" in caplog.text
    assert "PRIVATE" not in caplog.text


async def test_the_root_of_the_mesh_takes_no_place_of_a_ca_that_cannot_be_used(istiod: Istiod) -> None:
    own = (await istiod.up()).root
    good = authority("good")
    istiod.client.put(SECRET, cacerts(good))
    await istiod.restart()
    istiod.client.put(SECRET, cacerts(authority("broken"), cert_chain=None))
    assert (await istiod.up()).root == good.root_pem
    await istiod.checked()
    assert istiod.root == good.root_pem != own


async def test_a_damaged_root_is_not_replaced_silently(istiod: Istiod, caplog: pytest.LogCaptureFixture) -> None:
    root = (await istiod.up()).root
    secret = istiod.own_secret()
    istiod.client.put(SECRET, secret | {"data": secret["data"] | {"ca-key.pem": "AAAA"}})
    assert (await istiod.up()).root == root
    assert "Secret istio-system/istio-ca-secret: failed to parse private key PEM" in caplog.text
    for path in istiod.kept.iterdir():
        path.unlink()
    assert (await istiod.up()).root != root
    assert "signing with a root that lasts until istiod starts again" in caplog.text


async def test_what_is_of_no_concern_changes_nothing(istiod: Istiod) -> None:
    root = (await istiod.up()).root
    plugged = cacerts(authority("elsewhere"))
    plugged["metadata"]["namespace"] = "default"
    istiod.client.put(SECRET, plugged)
    istiod.client.put(POD, {"metadata": {"name": "x", "namespace": "default", "labels": {"app": "istiod"}}, "spec": {}})
    await until(lambda: True, "a turn of the loop")
    assert istiod.root == root
