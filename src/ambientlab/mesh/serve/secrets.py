"""Which proxy may have which secret, and the current certificate of every identity.

Envoy asks for secrets by name: `default` is the proxy's own certificate and `ROOTCA` the mesh's root, as Istio's agents
name them; a SPIFFE ID is the certificate of that identity, which only the node proxy may ask for, and only while it
carries a pod of that identity. `kubernetes://` and `configmap://` come before the names of what the API holds, which a
waypoint gets only if it needs them to talk to its services; `file-root:system` is what this machine trusts. Anything
else does not exist for it.

Secrets travel on the same aggregated stream as everything else. Envoy's on-demand certificate selector asks there too,
under a prefix: the stream asks only once for a name, and a second subscriber to it would wait for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from ambientlab.mesh.ir import Credential, TrustDomains
from ambientlab.mesh.serve.ca import LIFETIME, CertificateAuthority, Clock, IssueError, Svid, utc_now
from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.session import Config
from ambientlab.mesh.xds.upstream_tls import SYSTEM_ROOTS

log = logging.getLogger("ambientlab.istiod")

OWN_CERTIFICATE = "default"
ROOT = "ROOTCA"
ON_DEMAND = "on-demand|"

CREDENTIALS = ("kubernetes://", "configmap://")
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep the authorities they trust: Debian, Fedora, RHEL, openSUSE, Alpine."""

RETRY = timedelta(seconds=60)
"""After which a proxy asks again for what could not be signed (ztunnel, src/identity/manager.rs)."""

Entitled = Callable[[Identity, str], bool]
"""Whether a proxy may hold the certificate of a SPIFFE ID that is not its own."""

FindCredential = Callable[[Identity, str], Credential | None]
"""What a proxy may have under a name that begins as one of `CREDENTIALS`, or None."""


def names_of(spiffe_id: str) -> frozenset[str]:
    """By which the node proxy asks for an identity's certificate."""
    return frozenset({spiffe_id, f"{ON_DEMAND}{spiffe_id}"})


class Secrets:
    """`issued` is called after every new certificate: `next_renewal` may have become earlier."""

    def __init__(
        self,
        ca: CertificateAuthority,
        entitled: Entitled,
        credential: FindCredential,
        *,
        issued: Callable[[], None] = lambda: None,
        lifetime: Callable[[Identity], timedelta] = lambda proxy: LIFETIME,
        trust: Callable[[], TrustDomains] = TrustDomains,
        clock: Clock = utc_now,
    ) -> None:
        self._ca = ca
        self._entitled = entitled
        self._credential = credential
        self._issued = issued
        self._lifetime = lifetime
        self._trust = trust
        self._clock = clock
        self._svids: dict[tuple[Identity, str], Svid] = {}
        self._refused: dict[tuple[Identity, str], tuple[datetime, str]] = {}
        self._root_pem = ca.root_pem
        self._root = Config.of(_root_secret(ca.root_pem))

    def get(self, proxy: Identity, name: str) -> Config | None:
        """The secret called `name` as `proxy` may see it; None where it may not, as if there were none."""
        if name == ROOT:
            return self._root
        if name == SYSTEM_ROOTS:
            found = _system_roots()
            return None if found is None else Config.of(_root_secret(found, name))
        if name.startswith(CREDENTIALS):
            credential = self._credential(proxy, name)
            return None if credential is None else Config.of(_credential_secret(name, credential))
        own = self._trust().identity(proxy.namespace, proxy.service_account)
        spiffe_id = own if name == OWN_CERTIFICATE else name.removeprefix(ON_DEMAND)
        if spiffe_id != own and not self._entitled(proxy, spiffe_id):
            return None
        try:
            svid = self.svid(proxy, spiffe_id)
        except IssueError as error:
            log.error("CSR signing error (%s) for %s, identity %s", error, proxy, spiffe_id)
            return None
        return Config.of(_certificate_secret(name, svid))

    def withdrawn(self, proxy: Identity, name: str) -> bool:
        """Whether it was fetched on demand for an identity that the proxy does not carry any more."""
        return name.startswith(ON_DEMAND) and not self._entitled(proxy, name.removeprefix(ON_DEMAND))

    def svid(self, proxy: Identity, spiffe_id: str) -> Svid:
        """The certificate that a proxy uses, or a new one once half the life of the old one is over. Another proxy asks
        for its own: keys never leave where they are used, and end with it. Raises IssueError."""
        place = proxy, spiffe_id
        svid = self._svids.get(place)
        if svid is None or svid.renew_at <= self._clock():
            try:
                svid = self._svids[place] = self._ca.issue(spiffe_id, lifetime=self._lifetime(proxy))
                self._refused.pop(place, None)
            except IssueError as error:
                self._refused[place] = self._clock() + RETRY, str(error)
                raise
            finally:
                self._issued()
        return svid

    def in_use(self, proxy: Identity, spiffe_id: str) -> Svid | str | None:
        """The certificate that a proxy uses, or why there is none; None if it has not asked for one."""
        place = proxy, spiffe_id
        return self._svids.get(place) or self._refused.get(place, (None, None))[1]

    def next_renewal(self) -> datetime | None:
        """When the first of the certificates in use should be renewed, or one that was refused be asked for again."""
        due = [svid.renew_at for svid in self._svids.values()] + [when for when, _ in self._refused.values()]
        return min(due, default=None)

    def expire(self) -> None:
        """Drop what is due for renewal, so that whoever still needs it gets anew, and only that."""
        now = self._clock()
        self._svids = {place: svid for place, svid in self._svids.items() if svid.renew_at > now}
        self._refused = {place: refusal for place, refusal in self._refused.items() if refusal[0] > now}

    def follow_roots(self) -> bool:
        """Whether the mesh trusts other roots than before: then certificates of before are dropped as well.

        Istio's proxies learn of roots with their next certificate; here they are renewed on the spot, because those of
        one node proxy share what they trust."""
        if self._ca.root_pem == self._root_pem:
            return False
        self._root_pem = self._ca.root_pem
        self._root = Config.of(_root_secret(self._root_pem))
        self._svids.clear()
        self._refused.clear()
        return True

    def forget(self, spiffe_id: str) -> None:
        """Nobody carries this identity any more: stop renewing its certificates."""
        self._svids = {place: svid for place, svid in self._svids.items() if place[1] != spiffe_id}
        self._refused = {place: refusal for place, refusal in self._refused.items() if place[1] != spiffe_id}


def _certificate_secret(name: str, svid: Svid) -> Secret:
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = svid.chain_pem
    secret.tls_certificate.private_key.inline_bytes = svid.key_pem
    return secret


def _root_secret(root_pem: bytes, name: str = ROOT) -> Secret:
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = root_pem
    return secret


def _credential_secret(name: str, credential: Credential) -> Secret:
    if credential.authorities:
        secret = _root_secret(credential.authorities, name)
        if credential.revoked:
            secret.validation_context.crl.inline_bytes = credential.revoked
        return secret
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = credential.certificate
    secret.tls_certificate.private_key.inline_bytes = credential.key
    if credential.staple:
        secret.tls_certificate.ocsp_staple.inline_bytes = credential.staple
    return secret


def _system_roots() -> bytes | None:
    return next((path.read_bytes() for path in map(Path, SYSTEM_BUNDLES) if path.is_file()), None)
