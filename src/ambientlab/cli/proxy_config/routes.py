"""`route` (istioctl/pkg/writer/envoy/configdump/route.go)."""

from __future__ import annotations

from ambientlab.cli.proxy_config.dump import Message, owner

HEADER = ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]
BRIEF = ["NAME", "VIRTUAL HOSTS"]
_SHOWN_DOMAINS = 2


def rows(config: Message) -> list[list[str]]:
    found = []
    for host in config.get("virtual_hosts") or ():
        before = [config.get("name", ""), host.get("name", ""), domains(host.get("domains") or [])]
        shown = [route for route in host.get("routes") or () if not _passes_through(route)]
        found += [[*before, match(route.get("match") or {}), owner(route)] for route in shown]
        if not host.get("routes"):
            found.append([*before, "/*", "404"])
    return found


def brief(config: Message) -> list[str]:
    return [config.get("name", ""), str(len(config.get("virtual_hosts") or ()))]


def match(conditions: Message) -> str:
    """Of the path alone, as istioctl has it."""
    found = []
    if prefix := conditions.get("prefix"):
        found.append(f"{prefix}*")
    if prefix := conditions.get("path_separated_prefix"):
        found.append(f"PathPrefix:{prefix}")
    if path := conditions.get("path"):
        found.append(path)
    if (regex := conditions.get("safe_regex")) is not None:
        found.append(f"regex {regex.get('regex', '')}")
    return " ".join(found)


def domains(names: list[str]) -> str:
    """Those without a port, and of one host's names the shortest; two at most."""
    if len(names) == 1:
        return names[0]
    without_port = [name for name in names if ":" not in name or (name.count(":") > 2 and name.endswith("]"))]
    known = set(without_port)
    longer = {
        name
        for name in without_port
        for suffix in (".svc.cluster.local", ".svc")
        if name.endswith(suffix) and name.removesuffix(suffix) in known
    }
    kept = [name for name in without_port if name not in longer]
    shown = ", ".join(kept[:_SHOWN_DOMAINS])
    return f"{shown} + {len(kept) - _SHOWN_DOMAINS} more..." if len(kept) > _SHOWN_DOMAINS else shown


def _passes_through(route: Message) -> bool:
    return (route.get("route") or {}).get("cluster") == "PassthroughCluster"
