"""One request, as its client sends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

Headers = tuple[tuple[str, str], ...]
"""Lower-case names with their values, in order; a name may come more than once."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Request:
    """`host` is what the client looks up: a name, short or full, or an address. `path` has the query with it.

    `authority` is what the request says it is for: `Host` of HTTP/1.1, `:authority` of HTTP/2.
    """

    host: str
    port: int
    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    authority: str = ""
    scheme: str = "http"

    @classmethod
    def to(cls, url: str, method: str = "GET", headers: Iterable[tuple[str, str]] = ()) -> Request:
        """What curl sends for a URL. Raises ValueError for what is no http or https URL with a host."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of http or https with a host")
        own = _PORTS[parts.scheme]
        port = own if parts.port is None else parts.port
        named = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        authority = named if port == own else f"{named}:{port}"
        plain: list[tuple[str, str]] = []
        for name, value in headers:
            if name.lower() in ("host", ":authority"):
                authority = value
            else:
                plain.append((name.lower(), value))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port, method, path, tuple(plain), authority, parts.scheme)

    @property
    def server_name(self) -> str:
        """What the client says in TLS that it looks for, which is never an address (RFC 6066, section 3)."""
        try:
            ip_address(self.host)
        except ValueError:
            return self.host if self.scheme == "https" else ""
        return ""

    @property
    def grpc(self) -> bool:
        """Whether proxies take it for gRPC, whose answers carry a status of their own (Envoy,
        source/common/grpc/common.cc, hasGrpcContentType)."""
        kind = next(iter(self.values("content-type")), "")
        return kind == "application/grpc" or kind.startswith("application/grpc+")

    def values(self, name: str) -> tuple[str, ...]:
        """All headers of a name, among which Envoy counts what the request is for."""
        pseudo = {":method": self.method, ":path": self.path, ":scheme": self.scheme, ":authority": self.authority}
        name = ":authority" if name == "host" else name
        return (pseudo[name],) if name in pseudo else tuple(value for key, value in self.headers if key == name)
