"""Certificates that proxies are given to talk to others than the mesh."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """PEM: a certificate chain with its key, or authorities to trust; never shown, so that no log has it."""

    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    staple: bytes = field(default=b"", repr=False)
    authorities: bytes = field(default=b"", repr=False)
    revoked: bytes = field(default=b"", repr=False)
