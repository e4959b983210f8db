"""Service account tokens: JWTs signed with ES256, as TokenRequest issues them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a verified token speaks for. `pod` is empty for a token that is not bound to one."""

    namespace: str
    service_account: str
    service_account_uid: str
    audiences: tuple[str, ...]
    expires: int
    pod: str = ""
    pod_uid: str = ""

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


class TokenError(Exception):
    """A token that is not ours, is expired, or is meant for somebody else."""


class TokenSigner:
    @classmethod
    def load(cls, directory: Path) -> TokenSigner:
        """Read the signing key, making it (0600) if there is none."""
        raise NotImplementedError

    def sign(self, claims: Claims, issued: int) -> str:
        raise NotImplementedError

    def verify(self, token: str, *, audience: str = "", now: float | None = None) -> Claims:
        """Raises `TokenError`. An empty audience means the API server's own."""
        raise NotImplementedError
