"""What a name or an address stands for, for a client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ambientlab.mesh.ir import Key, Mesh, Service, Workload, names, precedence

NDOTS = 5
"""A name with fewer dots is looked for in the search domains first (a pod's resolv.conf)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A service, a workload, or an address that is neither; nothing at all if the address is "" too. A service without
    an address of its own stands for the addresses of its endpoints."""

    address: str = ""
    service: Service | None = None
    workload: Workload | None = None


def found(mesh: Mesh, client: Key | None, host: str, port: int, domain: str) -> Found:
    try:
        address = str(ip_address(host))
    except ValueError:
        service = _named(mesh, client, host, domain)
        return Found((service.vips or ("",))[0], service) if service is not None else Found()
    having = [s for s in mesh.services.values() if address in s.vips]
    having.sort(key=lambda s: (all(p.number != port for p in s.ports), precedence(s)))
    having += _around(mesh, address, port)
    if having:
        return Found(address, having[0])
    return Found(address, None, next((w for w in mesh.workloads.values() if address in w.ips), None))


def _around(mesh: Mesh, address: str, port: int) -> list[Service]:
    """The services of the closest network around an address."""
    networks = {network for service in mesh.services.values() for network in service.networks}
    around = [network for network in networks if ip_address(address) in ip_network(network)]
    closest = max(around, key=lambda network: ip_network(network).prefixlen, default=None)
    found = [service for service in mesh.services.values() if closest in service.networks]
    return sorted(found, key=lambda service: (all(p.number != port for p in service.ports), precedence(service)))


def _named(mesh: Mesh, client: Key | None, host: str, domain: str) -> Service | None:
    """By the full name, or else by the wildcard that covers most of it."""
    labels = host.lower().removesuffix(".").split(".")
    wildcards = (f"*.{'.'.join(labels[n:])}" for n in range(1, len(labels)))
    for name in (*_names(client, host, domain), *wildcards):
        if (service := names.meant(client.namespace if client else "", name, mesh.services.get)) is not None:
            return service
    return None


def _names(client: Key | None, host: str, domain: str) -> Iterator[str]:
    name = host.lower()
    if name.endswith("."):
        yield name[:-1]
        return
    searched = [] if client is None else [f"{client.namespace}.svc.{domain}", f"svc.{domain}", domain]
    full = [f"{name}.{suffix}" for suffix in searched]
    yield from (*full, name) if name.count(".") < NDOTS else (name, *full)
