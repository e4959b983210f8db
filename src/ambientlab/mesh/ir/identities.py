"""Who workloads are to each other."""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.cluster import TRUST_DOMAIN


def trust_domain_of(identity: str) -> str:
    return identity.split("/")[2]


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """The mesh's own, and those that count as it, as while a mesh moves from one to another."""

    own: str = TRUST_DOMAIN
    aliases: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.own, *self.aliases)))

    def identity(self, namespace: str, service_account: str) -> str:
        """https://istio.io/latest/docs/ops/best-practices/security/ and the SPIFFE ID specification, section 2."""
        return f"spiffe://{self.own}/ns/{namespace}/sa/{service_account}"

    def renamed(self, identity: str) -> str:
        """The same workload's in the mesh's own trust domain."""
        return "/".join(("spiffe:", "", self.own, *identity.split("/")[3:]))
