"""Addresses of IP, of either family."""

from __future__ import annotations


def is_ipv6(address: str) -> bool:
    return ":" in address


def with_port(address: str, port: int) -> str:
    """As authorities and logs write it."""
    return f"[{address}]:{port}" if is_ipv6(address) else f"{address}:{port}"
