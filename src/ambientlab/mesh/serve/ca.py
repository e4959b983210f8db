"""The mesh's certificate authority: one self-signed root that outlives restarts, and a short-lived SVID per identity.

X.509-SVIDs as the SPIFFE specification wants them (sections 2 to 5): exactly one URI SAN, no CA bit, digitalSignature,
client and server use. https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambientlab.cluster import TRUST_DOMAIN
from ambientlab.files import write_whole

LIFETIME = timedelta(hours=24)
ROOT_LIFETIME = timedelta(days=3650)
CLOCK_SKEW = timedelta(minutes=2)
"""How far in the past certificates begin, so that a peer whose clock is behind accepts them (Istio's allowance)."""

KEY_FILE = "root-key.pem"
CERTIFICATE_FILE = "root-cert.pem"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Svid:
    """A certificate for one SPIFFE ID and its private key, both PEM."""

    identity: str
    chain_pem: bytes
    key_pem: bytes
    serial: int
    not_before: datetime
    not_after: datetime

    @property
    def renew_at(self) -> datetime:
        """Half of its life: leaves as long again to get a new one to every proxy."""
        return self.not_before + (self.not_after - self.not_before) / 2


class CertificateAuthority:
    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, clock: Clock = utc_now
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._clock = clock
        self.root_pem = certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def create(cls, *, clock: Clock = utc_now) -> CertificateAuthority:
        """A new root, in memory only."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRUST_DOMAIN)])
        now = clock()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate, clock=clock)

    @classmethod
    def open(cls, directory: Path, *, clock: Clock = utc_now) -> CertificateAuthority:
        """The root kept in `directory`, made there if there is none. Raises OSError that names the file at fault.

        An expired or damaged root is not replaced silently: every certificate of a running mesh hangs on it.
        """
        key_path, certificate_path = directory / KEY_FILE, directory / CERTIFICATE_FILE
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        except FileNotFoundError:
            authority = cls.create(clock=clock)
            authority._save(directory)
            return authority
        except ValueError as error:
            raise OSError(
                f"the mesh's root in {directory} is damaged ({error}); remove {KEY_FILE} for a new one"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise OSError(f"{key_path} is not the key of {certificate_path}; remove both for a new root")
        if certificate.not_valid_after_utc <= clock() + LIFETIME:
            raise OSError(f"{certificate_path} expires {certificate.not_valid_after_utc}; remove it for a new root")
        return cls(key, certificate, clock=clock)

    def issue(self, identity: str, *, lifetime: timedelta = LIFETIME) -> Svid:
        """A new key and certificate for a SPIFFE ID. The caller has checked that whoever asks may have it."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock().replace(microsecond=0)
        not_before, not_after = now - CLOCK_SKEW, now + lifetime
        serial = x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            # RFC 5280, 4.2.1.6: critical where the subject is empty
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return Svid(
            identity, certificate.public_bytes(serialization.Encoding.PEM), _pem(key), serial, not_before, not_after
        )

    def _save(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(directory / CERTIFICATE_FILE, self.root_pem, 0o644)
        write_whole(directory / KEY_FILE, _pem(self._key))


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
