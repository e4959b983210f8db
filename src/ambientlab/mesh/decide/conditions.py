"""How conditions of policies hold, at a waypoint and at ztunnel: what each attribute is, they know themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network

from ambientlab.mesh.ir import Condition

Has = Callable[[str, str], bool]
"""Whether an attribute has a value."""


def holds(condition: Condition, has: Has) -> bool:
    def one_of(values: Iterable[str]) -> bool:
        return any(has(condition.attribute, value) for value in values)

    return (not condition.values or one_of(condition.values)) and not one_of(condition.not_values)


def like(found: str, value: str) -> bool:
    """A star begins or ends a value, or is anything that is there."""
    if value == "*":
        return found != ""
    if value.startswith("*"):
        return found.endswith(value[1:])
    return found.startswith(value[:-1]) if value.endswith("*") else found == value


def within(address: str, block: str) -> bool:
    try:
        return ip_address(address) in ip_network(block, strict=False)
    except ValueError:
        return False
