"""What `istioctl x describe` says of ports, DestinationRules and routes, a line for each fact.

Wording is that of istioctl/pkg/describe; routes of the Gateway API, which it does not know, are told like those of
VirtualServices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ambientlab.mesh.ir import Key

LEVEL = "   "
NAMED_BY = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
VERSIONED_BY = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
"""Labels that give a workload its name and its revision in telemetry."""


def not_tcp(port: Mapping[str, Any]) -> str:
    protocol = port.get("protocol", "TCP")
    return "" if protocol == "TCP" else f"/{protocol}"


def target_port(port: Mapping[str, Any], pod: Mapping[str, Any]) -> Any:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for one in container.get("ports") or ():
            if one.get("name") == target:
                return one["containerPort"]
    return target


def protocol(port: Mapping[str, Any]) -> str:
    from ambientlab.mesh.index.services import app_protocol
    from ambientlab.mesh.ir import AppProtocol

    found = app_protocol(port)
    if found is AppProtocol.UNDECLARED:
        return "auto-detect" if not (port.get("name") or port.get("appProtocol")) else "UnsupportedProtocol"
    return str(found.value).upper()


def subsets(found: Mapping[str, bool]) -> Iterator[str]:
    """Of a DestinationRule, with whether one of the pods is in it."""
    if not found:
        return
    matching = [name for name, has in found.items() if has]
    others = [name for name, has in found.items() if not has]
    if not matching:
        yield f"WARNING POD DOES NOT MATCH ANY SUBSETS.  (Non matching subsets {','.join(others)})"
    yield f"Matching subsets: {','.join(matching)}"
    if others:
        yield f"{LEVEL}(Non-matching subsets {','.join(others)})"


_SHORT: Mapping[str, str] = {
    "loadBalancer": "load balancer",
    "connectionPool": "connection pool",
    "outlierDetection": "outlier detection",
}


def traffic_policy(policy: Mapping[str, Any] | None) -> Iterator[str]:
    if policy is None:
        yield "No Traffic Policy"
        return
    yield from _settings(policy, "Traffic Policy TLS Mode")
    if policy.get("portLevelSettings"):
        yield "Port Level Settings:"
        for one in policy["portLevelSettings"]:
            yield f"{LEVEL}{one['port']['number']}:"
            yield from (f"{LEVEL * 2}{line}" for line in _settings(one, "TLS Mode"))


def _settings(policy: Mapping[str, Any], tls: str) -> Iterator[str]:
    if policy.get("tls"):
        yield f"{tls}: {policy['tls'].get('mode', 'DISABLE')}"
    if words := [word for name, word in _SHORT.items() if policy.get(name)]:
        yield f"Policies: {'/'.join(words)}"


def virtual_service(spec: Mapping[str, Any], subsets: Mapping[str, bool]) -> Iterator[str]:
    """What a VirtualService's rules do, in order."""
    for rule in spec.get("http") or ():
        for route in rule.get("route") or ():
            to, subset = route["destination"], route["destination"].get("subset")
            if subset and subset not in subsets:
                yield f"WARNING: Route to subset {subset} but NO DESTINATION RULE defining subsets!"
                continue
            weight = route.get("weight", 100 if len(rule["route"]) == 1 else 0)
            of_subset = f' subset "{subset}"' if subset else ""
            yield f'Route to host "{to["host"]}"{of_subset} with weight {weight}%'
        conditions = [_match(one) for one in rule.get("match") or ()]
        if rule.get("fault"):
            conditions.insert(0, f"Fault injection {', '.join(sorted(rule['fault']))}")
        if conditions:
            yield ", ".join(conditions)
    for protocol in ("tls", "tcp"):
        if spec.get(protocol):
            yield f"{len(spec[protocol])} {protocol.upper()} route(s)"


def _match(match: Mapping[str, Any]) -> str:
    text = "Match: " + _string(match.get("uri"))
    if headers := match.get("headers"):
        text += " when headers are " + "; ".join(f"{name}={_string(value)}" for name, value in headers.items())
    return text.strip()


def _string(match: Mapping[str, str] | None) -> str:
    if not match:
        return ""
    [(kind, value)] = list(match.items())[:1]
    return {"exact": value, "prefix": f"{value}*"}.get(kind, f"{kind}:{value}")


def is_parent(ref: Mapping[str, Any], route: Key, service: Key) -> bool:
    where = Key(ref.get("namespace", route.namespace), ref["name"])
    return ref.get("kind", "Gateway") == "Service" and ref.get("group", "") in ("", "core") and where == service


def route(spec: Mapping[str, Any]) -> Iterator[str]:
    """What the rules of a route of the Gateway API do, in order."""
    for rule in spec.get("rules") or ():
        refs = rule.get("backendRefs") or ()
        total = sum(ref.get("weight", 1) for ref in refs)
        for ref in refs:
            share = 100 * ref.get("weight", 1) / total if total else 0
            yield f'Route to {ref.get("kind", "Service")} "{ref["name"]}" port {ref.get("port", "")} with {share:g}%'
        if rule.get("filters"):
            yield f"Filters: {', '.join(one['type'] for one in rule['filters'])}"
        if matches := [_condition(one) for one in rule.get("matches") or ()]:
            yield ", ".join(matches)


_TYPES: Mapping[str, str] = {"Exact": "exact", "PathPrefix": "prefix", "RegularExpression": "regex"}
"""Of matches, as a VirtualService has them."""


def _condition(match: Mapping[str, Any]) -> str:
    path, method = match.get("path") or {}, match.get("method") or ""
    if isinstance(method, str):
        what = [method, _string({_TYPES[path.get("type", "PathPrefix")]: path.get("value", "/")}) if path else ""]
    else:
        what = [f"{method.get('service', '*')}/{method.get('method', '*')}"]
    if headers := match.get("headers"):
        what.append("when headers are " + "; ".join(f"{one['name']}={one['value']}" for one in headers))
    return " ".join(["Match:", *filter(None, what)])
