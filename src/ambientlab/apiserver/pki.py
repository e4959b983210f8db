"""The API server's own certificates, kept in a state directory.

A CA, the server's certificate and the administrator's, as kubeadm lays them out (kubernetes.io, "PKI certificates and
requirements"). A certificate that expires soon is issued anew by the same CA, so that an earlier kubeconfig still
trusts the server.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambientlab.cluster import DOMAIN, KUBERNETES_IP
from ambientlab.files import write_whole

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{DOMAIN}",
)
SERVER_ADDRESSES = ("127.0.0.1", "::1", KUBERNETES_IP)


@dataclass(frozen=True, slots=True)
class PKI:
    """PEM bytes. `directory` holds the same as files, the keys with mode 0600."""

    directory: Path
    ca_certificate: bytes
    admin_certificate: bytes
    admin_key: bytes

    @classmethod
    def load(cls, directory: Path) -> PKI:
        """Read the directory; make what is missing or cannot be read, renew what expires soon."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(UTC)
        ca = _read(directory, "ca")
        if ca is None or _stale(ca[0], now):
            ca = _issue(directory, "ca", None, _name("ambientlab-ca"), now, server=False)
        leaves = {}
        for leaf, subject in (
            ("server", _name("kube-apiserver")),
            ("admin", _name("kubernetes-admin", "system:masters")),
        ):
            pair = _read(directory, leaf)
            if pair is None or _stale(pair[0], now) or not _issued_by(pair[0], ca[0]):
                pair = _issue(directory, leaf, ca, subject, now, server=leaf == "server")
            leaves[leaf] = pair
        admin_certificate, admin_key = leaves["admin"]
        return cls(directory, _certificate_pem(ca[0]), _certificate_pem(admin_certificate), _key_pem(admin_key))

    def server_context(self) -> ssl.SSLContext:
        """TLS for the listeners: client certificates are asked for, not demanded (tokens are the other way in)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.directory / "ca.crt"))
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context


_Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """An EC private key, or None if there is none or it is not one."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _read(directory: Path, name: str) -> _Pair | None:
    key = read_key(directory / f"{name}.key")
    try:
        certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    # A crash between the two files leaves a certificate of another key.
    return (certificate, key) if key is not None and certificate.public_key() == key.public_key() else None


def _stale(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < RENEW_BEFORE


def _issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _name(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _issue(directory: Path, name: str, ca: _Pair | None, subject: x509.Name, now: datetime, *, server: bool) -> _Pair:
    """A new key and certificate, written to the directory; self-signed if there is no `ca` yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = (ca[0].subject, ca[1]) if ca else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + (LEAF_LIFETIME if ca else CA_LIFETIME))
        .add_extension(x509.BasicConstraints(ca is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca is None,
                crl_sign=ca is None,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if ca is not None:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if server:
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    write_whole(directory / f"{name}.key", _key_pem(key))
    write_whole(directory / f"{name}.crt", _certificate_pem(certificate))
    return certificate, key


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
