"""Who a proxy is: the service account behind its token, as SPIFFE names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ambientlab.mesh.ir import TrustDomains


def spiffe_id(namespace: str, service_account: str) -> str:
    """In the trust domain that a mesh has unless it is told otherwise."""
    return TrustDomains().identity(namespace, service_account)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a projected service account token proves: the account, and the pod the token is bound to."""

    namespace: str
    service_account: str
    pod: str

    def __str__(self) -> str:
        return f"{self.pod}.{self.namespace}"


TokenVerifier = Callable[[str], Identity | None]
"""None for a token that is not authentic, has expired, or is bound to no pod."""
