"""The mesh's certificate authority: a short-lived SVID per identity, signed with what it has been given to sign with.

X.509-SVIDs as the SPIFFE specification wants them (sections 2 to 5): exactly one URI SAN, no CA bit, digitalSignature,
client and server use. https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ambientlab.mesh.serve import bundle
from ambientlab.mesh.serve.bundle import CLOCK_SKEW, SigningBundle

LIFETIME = timedelta(hours=24)
"""What proxies ask for unless they are told otherwise (SECRET_TTL)."""
MIN_LIFETIME = timedelta(seconds=3)
"""Whatever is asked for: a certificate begins with a whole second, and what is shorter would be due at once, and its
successor too."""
LEAST_USE = timedelta(seconds=1)
"""How long a certificate is used at least, also where the end of a CA leaves it less."""
MAX_LIFETIME = timedelta(days=90)
"""What istiod signs at most (MAX_WORKLOAD_CERT_TTL)."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class IssueError(Exception):
    """The CA does not sign this; why, in istiod's words."""


@dataclass(frozen=True, slots=True)
class Svid:
    """A certificate for one SPIFFE ID and its private key, both PEM; `chain_pem` begins with it and has the CAs between
    it and a root. `renew_at` is when half of its life is over: leaves as long again to get a new one to every proxy."""

    identity: str
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    renew_at: datetime


class CertificateAuthority:
    """`adopt` gives it something else to sign with; whoever watches is told, and what it has signed stays as it is."""

    def __init__(self, signing: SigningBundle, *, clock: Clock = utc_now) -> None:
        self.signing = signing
        self._clock = clock
        self._watchers: list[Callable[[], None]] = []

    @classmethod
    def create(cls, *, clock: Clock = utc_now) -> CertificateAuthority:
        """With a new root, in memory only."""
        return cls(bundle.create(clock()), clock=clock)

    @property
    def root_pem(self) -> bytes:
        """The roots that the mesh trusts."""
        return self.signing.root_pem

    def adopt(self, signing: SigningBundle) -> None:
        self.signing = signing
        for watcher in list(self._watchers):
            watcher()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after every `adopt`, until what is returned is called."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def issue(self, identity: str, *, lifetime: timedelta = LIFETIME, hosts: Sequence[str] = ()) -> Svid:
        """A new key and certificate for a SPIFFE ID, and for names in DNS. The caller has checked that whoever asks may
        have it.

        It outlives no CA that it depends on (minTTL of security/pkg/pki/ca/ca.go). Raises IssueError.
        """
        begun = self._clock()
        now = begun.replace(microsecond=0)
        if lifetime > MAX_LIFETIME:
            asked, allowed = (_go(ttl) for ttl in (lifetime, MAX_LIFETIME))
            raise IssueError(f"requested TTL {asked} is greater than the max allowed TTL {allowed}")
        authority = self.signing.certificate
        not_before = now - CLOCK_SKEW
        not_after = min(now + max(lifetime, MIN_LIFETIME), authority.not_valid_after_utc)
        if not_after <= now:
            raise IssueError("cert chain has expired")
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(bundle.key_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            # tells two CAs of one name apart, as the old and the new root of a rotation are
            .add_extension(_identifier(authority), critical=False)
            # RFC 5280, 4.2.1.6: critical where the subject is empty
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity), *map(x509.DNSName, hosts)]),
                critical=True,
            )
            .sign(self.signing.key, hashes.SHA256())
        )
        return Svid(
            identity,
            certificate.public_bytes(serialization.Encoding.PEM) + self.signing.chain_pem,
            bundle.private_pem(key),
            serial,
            not_before,
            not_after,
            max(now + (not_after - now) / 2, begun + LEAST_USE),
        )


def _identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        known = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]  # of a kind that signs
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known.value)


def _go(duration: timedelta) -> str:
    """As Go prints it."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    return f"{minutes // 60}h{minutes % 60}m{seconds}s"
