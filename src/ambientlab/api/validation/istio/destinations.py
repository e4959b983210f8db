"""Where routes lead: destinations with their weights, header operations, and the gateways rules are bound to."""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.headervalues import header_value


def gateway_names(names: Iterable[str]) -> Messages:
    problems: Messages = []
    for name in names:
        namespace, slash, local = name.partition("/")
        if not slash:
            return problems + common.fqdn(name)
        if not namespace or not local:
            problems.append("config namespace and gateway name cannot be empty")
        if not common.is_label(namespace):
            problems.append(f"invalid value for namespace: {quote(namespace)}")
        if not common.is_label(local):
            problems.append(f"invalid value for gateway name: {quote(local)}")
    return problems


def is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


def header_operations(headers: Object) -> Messages:
    problems: Messages = []
    for side in ("request", "response"):
        operations = headers.get(side) or {}
        for field in ("add", "set"):
            for name, value in (operations.get(field) or {}).items():
                problems += _header_name(name, authority=side == "request")
                problems += header_value(value)
        for name in operations.get("remove") or ():
            problems += _header_name(name, authority=False)
    return problems


def _header_name(name: str, *, authority: bool) -> Messages:
    if not name:
        return ["header name cannot be empty"]
    if authority and is_authority(name):
        return []
    if name.lower() == "host":
        return [f"invalid header {quote(name)}: cannot set Host header"]
    return [f'invalid header {quote(name)}: header cannot have ":" prefix'] if name.startswith(":") else []


def destinations(backends: list[Object]) -> Messages:
    problems: Messages = []
    for backend in backends:
        problems += header_operations(backend.get("headers") or {})
        problems += destination(backend["destination"])
        if (weight := backend.get("weight", 0)) < 0:
            problems.append(f"weight {weight} < 0")
    if len(backends) > 1 and sum(backend.get("weight", 0) for backend in backends) == 0:
        problems.append("total destination weight = 0")
    return problems


def destination(value: Object) -> Messages:
    host = value.get("host", "")
    problems = [f"invalid destination host {host}"] if host == "*" else common.wildcard_domain(host)
    if value.get("subset"):
        problems += common.subset_name(value["subset"])
    if "port" in value:
        problems += common.port(value["port"].get("number", 0))
    return problems
