"""The API server's own certificates, kept in a state directory."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PKI:
    """PEM bytes. `directory` holds the same as files, the keys with mode 0600."""

    directory: Path
    ca_certificate: bytes
    admin_certificate: bytes
    admin_key: bytes

    @classmethod
    def load(cls, directory: Path) -> PKI:
        """Read the directory; make what is missing, renew what expires soon."""
        raise NotImplementedError

    def server_context(self) -> ssl.SSLContext:
        """TLS for the listeners: client certificates are asked for, not demanded (tokens are the other way in)."""
        raise NotImplementedError
