"""Who a proxy is: the service account behind its token, as SPIFFE names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ambientlab.cluster import TRUST_DOMAIN


def spiffe_id(namespace: str, service_account: str) -> str:
    """https://istio.io/latest/docs/ops/best-practices/security/ and the SPIFFE ID specification, section 2."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a projected service account token proves: the account, and the pod the token is bound to."""

    namespace: str
    service_account: str
    pod: str

    @property
    def spiffe_id(self) -> str:
        return spiffe_id(self.namespace, self.service_account)

    def __str__(self) -> str:
        return f"{self.pod}.{self.namespace}"


TokenVerifier = Callable[[str], Identity | None]
"""None for a token that is not authentic, has expired, or is bound to no pod."""
