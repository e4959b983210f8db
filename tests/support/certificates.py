"""Certificates that vouch for themselves, and CAs that do for one another."""

from __future__ import annotations

import datetime
import socket
import ssl
from base64 import b64encode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ambientlab.api.objects import Object
from ambientlab.host.kubeapi import in_memory
from ambientlab.mesh.serve.bundle import CA_CERTIFICATE, CA_KEY, CHAIN, ROOT, SigningBundle


def self_signed(name: x509.GeneralName) -> tuple[bytes, bytes]:
    """For an hour, as authority and server both: the certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(name.value))])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def secured(listening: socket.socket, certificate: bytes, key: bytes, clients: bytes = b"") -> socket.socket:
    """A listening socket with TLS, that takes those clients only who show a certificate of `clients`, if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with in_memory(certificate) as certificates, in_memory(key) as keys:
        context.load_cert_chain(certificates, keys)
    if clients:
        context.load_verify_locations(cadata=clients.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)


def authority(
    name: str,
    issuer: SigningBundle | None = None,
    *,
    days: float = 30,
    ca: bool = True,
    chain: bool = True,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
) -> SigningBundle:
    """A CA under `issuer`, or a root; a chain without itself if `chain` is false."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        # without it, BoringSSL takes any root of the right name for the issuer's
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    above = issuer.chain_pem if issuer else b""
    return SigningBundle(certificate, key, (pem if chain else b"") + above, issuer.root_pem if issuer else pem)


def cacerts(bundle: SigningBundle, **changed: bytes | None) -> Object:
    """The Secret that plugs a CA in. `changed` has other content for files, `ca_key` for ca-key.pem; None leaves one
    out."""
    files: dict[str, bytes | None] = {
        CA_CERTIFICATE: bundle.certificate_pem,
        CA_KEY: bundle.key_pem,
        ROOT: bundle.root_pem,
        CHAIN: bundle.chain_pem,
    }
    files |= {f"{name.replace('_', '-')}.pem": content for name, content in changed.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "type": "Opaque",
        "data": {name: b64encode(content).decode() for name, content in files.items() if content is not None},
    }
