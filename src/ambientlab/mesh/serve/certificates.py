"""The certificates that the node proxy holds, in the states that ztunnel knows (istio/ztunnel, src/admin.rs)."""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.mesh.configdump import AVAILABLE, INITIALIZING, UNAVAILABLE, Certificates
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.secrets import ON_DEMAND, Secrets
from ambientlab.mesh.xds.types import SECRET


def held(connection: Connection, secrets: Secrets, identities: Iterable[str], roots_pem: bytes) -> list[Certificates]:
    """One entry for each of the identities that a node proxy carries, in their order."""
    return [_held(connection, secrets, identity, roots_pem) for identity in sorted(set(identities))]


def _held(connection: Connection, secrets: Secrets, identity: str, roots_pem: bytes) -> Certificates:
    session = connection.session
    names = (identity, f"{ON_DEMAND}{identity}")
    for rejection in filter(None, (session.rejection(SECRET, name) for name in names)):
        return Certificates(identity, f"{UNAVAILABLE}: {rejection.detail}")
    in_use = secrets.in_use(connection.proxy, identity)
    if isinstance(in_use, str):
        return Certificates(identity, f"{UNAVAILABLE}: CSR signing error ({in_use})")
    if in_use is None or not any(name in session.held(SECRET) for name in names):
        return Certificates(identity, INITIALIZING)
    return Certificates(identity, AVAILABLE, in_use.chain_pem, roots_pem)
