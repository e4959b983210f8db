"""Scalar values as the two APIs write them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from ambientlab.api.durations import seconds
from ambientlab.mesh.ir import Key

_LONGEST_MS = 2**63 // 10**6


def milliseconds(text: str) -> int:
    """A duration, rounded to milliseconds and cut off at the longest that Go has, about 292 years. Raises ValueError
    for anything else."""
    found = seconds(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration")
    return min(round(found * 1000), _LONGEST_MS)


def is_true(text: str) -> bool:
    """What Go's strconv.ParseBool takes for true."""
    return text in ("1", "t", "T", "TRUE", "true", "True")


def parts_per_million(percent: Any) -> int:
    """Istio's Percent, of which 0.0001 is the smallest that Envoy can tell from nothing. What is less than a millionth
    is cut off (route.go, translatePercentToFractionalPercent)."""
    return int(float(percent) * 10_000)


@dataclass(frozen=True, slots=True)
class Addresses:
    """What is known as an address: of IPv6 only where that is."""

    ipv6: bool

    def single(self, text: str) -> str | None:
        """The one address that `text` is, possibly written as a network of one, in the form that everybody writes; None
        for anything else."""
        network = self._network(text, strict=True)
        return str(network.network_address) if network is not None and network.num_addresses == 1 else None

    def network(self, text: str) -> str | None:
        """The network of more than one address that `text` is, its host bits cut off (helpers.go, parseCidrOrIP)."""
        network = self._network(text, strict=False)
        return str(network) if network is not None and network.num_addresses > 1 else None

    def _network(self, text: str, *, strict: bool) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
        try:
            network = ipaddress.ip_network(text, strict=strict)
        except ValueError:
            return None
        return network if network.version == 4 or (self.ipv6 and "%" not in text) else None


def service_host(key: Key, domain: str) -> str:
    """The host of a Service: its full name in the cluster's DNS."""
    return f"{key.name}.{key.namespace}.svc.{domain}"


def host_of(name: str, namespace: str, domain: str) -> str:
    """A host as Istio completes short names: within the namespace of the object that names it."""
    return name if "." in name or "*" in name else service_host(Key(namespace, name), domain)


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host of a VirtualService or DestinationRule, possibly with a leading `*`, covers a service's."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host


def hosts_overlap(one: str, other: str) -> bool:
    """Whether either covers the other (istio/istio, pkg/config/host/name.go, Matches)."""
    return host_matches(one, other) or host_matches(other, one)
