"""What a mesh signs with: a CA's key and certificate, the chain shown with what it signs, and the roots to trust.

Names of files, what belongs together and the words of refusals are Istio's: security/pkg/pki/ca/ca.go,
security/pkg/pki/util/keycertbundle.go (Verify) and pilot/pkg/bootstrap/istio_ca.go.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ambientlab.api.objects import Object
from ambientlab.cluster import ROOT_NAMESPACE, TRUST_DOMAIN

CACERTS = "cacerts"
"""The Secret of a CA that somebody plugs in."""
SELF_SIGNED = "istio-ca-secret"
"""The Secret where a mesh keeps the root that it made for itself."""

CA_CERTIFICATE, CA_KEY, ROOT, CHAIN = "ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"
REVOKED = "ca-crl.pem"
_TLS_CERTIFICATE, _TLS_KEY, _TLS_ROOT = "tls.crt", "tls.key", "ca.crt"

ROOT_LIFETIME = timedelta(days=3650)
ROOT_GRACE = 0.2
"""Of the life of a root: so much before its end it is renewed (CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE).
"""
CLOCK_SKEW = timedelta(minutes=2)
"""How far in the past certificates begin, so that a peer whose clock is behind accepts them (Istio's allowance)."""

Data = Mapping[str, bytes]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class BundleError(Exception):
    """Nothing can be signed with this; why, as istiod would put it."""


@dataclass(frozen=True, slots=True)
class SigningBundle:
    """PEM where it says so. `chain_pem` follows each certificate that is signed and is empty where the CA is a root."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain_pem: bytes = field(repr=False)
    root_pem: bytes = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return private_pem(self.key)

    @property
    def files(self) -> dict[str, bytes]:
        return {
            CA_CERTIFICATE: self.certificate_pem,
            CA_KEY: self.key_pem,
            ROOT: self.root_pem,
            CHAIN: self.chain_pem,
        }


def create(now: datetime) -> SigningBundle:
    """A new root that vouches for itself."""
    return _root(ec.generate_private_key(ec.SECP256R1()), TRUST_DOMAIN, now)


def renewal_due(certificate_pem: bytes, now: datetime) -> bool:
    """Whether no more than ROOT_GRACE of a root's life is left (security/pkg/util/certutil.go, GetWaitTime). Raises
    BundleError."""
    certificate = _certificates(certificate_pem, "cert PEM")[0]
    left = certificate.not_valid_after_utc - now
    return left < ROOT_GRACE * (certificate.not_valid_after_utc - certificate.not_valid_before_utc)


def renewed(data: Data, now: datetime) -> SigningBundle:
    """A new certificate for the key and in the name of what is in a Secret `istio-ca-secret`: who trusts the old one
    trusts what is signed, and so does who trusts the new one. Raises BundleError."""
    names = _certificates(data.get(CA_CERTIFICATE, b""), "cert PEM")[0].subject
    organizations = names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    organization = str(organizations[0].value) if organizations else TRUST_DOMAIN
    return _root(_private_key(data.get(CA_KEY, b"")), organization, now)


def _root(key: PrivateKey, organization: str, now: datetime) -> SigningBundle:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return SigningBundle(certificate, key, b"", certificate.public_bytes(serialization.Encoding.PEM))


def plugged_in(data: Data, now: datetime) -> SigningBundle | None:
    """What is in a Secret `cacerts`, with Istio's keys or those of type kubernetes.io/tls; None if it has none of them.
    Raises BundleError."""
    needed: tuple[str, ...] = (CA_CERTIFICATE, CA_KEY, ROOT, CHAIN)
    if _TLS_CERTIFICATE in data:
        needed = (_TLS_CERTIFICATE, _TLS_KEY, _TLS_ROOT)
    missing = [name for name in needed if name not in data]
    if len(missing) == len(needed):
        return None
    if missing:
        raise BundleError(f"incomplete signing CA bundle detected: it lacks {', '.join(missing)}")
    certificate, key, root, *rest = (data[name] for name in needed)
    return read(certificate, key, root, rest[0] if rest else certificate + root, now)


def self_signed(data: Data, now: datetime) -> SigningBundle:
    """What is in a Secret `istio-ca-secret`. Raises BundleError."""
    certificate = data.get(CA_CERTIFICATE, b"")
    return read(certificate, data.get(CA_KEY, b""), certificate, b"", now)


def read(certificate_pem: bytes, key_pem: bytes, root_pem: bytes, chain_pem: bytes, now: datetime) -> SigningBundle:
    """Verified as Istio verifies it. Besides, the CA's certificate must be shown where it is no root: Istio takes a
    chain without it, and nobody can verify what is signed. Raises BundleError."""
    certificate = _certificates(certificate_pem, "cert PEM")[0]
    roots, chain = _certificates(root_pem, "root cert PEM"), _certificates(chain_pem, "cert chain PEM", some=False)
    try:
        _verify(certificate, chain, roots, now)
    except BundleError as error:
        raise BundleError(
            f"cannot verify the cert with the provided root chain and cert pool with error: {error}"
        ) from None
    key = _private_key(key_pem)
    if key.public_key() != certificate.public_key():
        raise BundleError("the cert does not match the key: private key does not match public key")
    if not _is_authority(certificate):
        raise BundleError("certificate is not authorized to sign other certificates")
    if certificate not in (*roots, *chain):
        raise BundleError(f"{CHAIN} does not begin with {CA_CERTIFICATE}, so that no peer could verify what it signs")
    return SigningBundle(certificate, key, chain_pem, root_pem)


def secret_of(bundle: SigningBundle) -> Object:
    """The Secret `istio-ca-secret` of a root (BuildSecret)."""
    files = {**bundle.files, CHAIN: b"", "key.pem": b""}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SELF_SIGNED, "namespace": ROOT_NAMESPACE},
        "type": "istio.io/ca-root",
        "data": {name: b64encode(content).decode() for name, content in files.items()},
    }


def related(one_pem: bytes, other_pem: bytes) -> bool:
    """Whether one of the bundles has all roots of the other: who trusts the one need not lose anybody by trusting the
    other (pemBundleHasSubsetRelation). Raises BundleError."""
    one, other = (set(_certificates(pem, "root cert PEM")) for pem in (one_pem, other_pem))
    return one <= other or other <= one


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
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


def _certificates(pem: bytes, what: str, *, some: bool = True) -> list[x509.Certificate]:
    if not pem.strip() and not some:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BundleError(f"failed to parse {what}: {_first_line(error)}") from None


def _private_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"failed to parse private key PEM: {_first_line(error)}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise BundleError("failed to parse private key PEM: unknown private key type")
    return key


def _verify(
    certificate: x509.Certificate, rest: Iterable[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> None:
    """Raises BundleError with Go's words unless there is a way to a root on which everything is valid."""
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        after = certificate.not_valid_after_utc
        raise BundleError(f"x509: certificate has expired or is not yet valid: it is valid until {after:%Y-%m-%dT%XZ}")
    if certificate in roots:
        return
    authorities = [one for one in rest if one != certificate]
    why = "x509: certificate signed by unknown authority"
    for issuer in (*roots, *authorities):
        if _is_authority(issuer) and _issued(certificate, issuer):
            try:
                _verify(issuer, authorities, roots, now)
            except BundleError as error:
                why = str(error)
            else:
                return
    raise BundleError(why)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _first_line(error: Exception) -> str:
    """What `cryptography` says goes on with where to read more."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
