"""`cluster` (istioctl/pkg/writer/envoy/configdump/cluster.go)."""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.cli.proxy_config.dump import Message, owner, parse_name

HEADER = ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]


@dataclass(frozen=True, slots=True)
class ClusterFilter:
    """Parts of the cluster's name."""

    fqdn: str = ""
    port: int = 0
    subset: str = ""
    direction: str = ""

    def admits(self, cluster: Message) -> bool:
        name = cluster.get("name", "")
        wanted = (self.fqdn, self.direction, self.subset, f"|{self.port}|" if self.port else "")
        return all(part in name for part in wanted)


def rows(clusters: list[Message]) -> list[list[str]]:
    return [row(cluster) for cluster in clusters]


def row(cluster: Message) -> list[str]:
    kind = (cluster.get("cluster_type") or {}).get("name") or cluster.get("type", "STATIC")
    parsed = parse_name(cluster.get("name", ""))
    if parsed is None:
        return [cluster.get("name", ""), "-", "-", "-", kind, owner(cluster)]
    direction, subset, host, port = parsed
    return [host, str(port), subset or "-", direction, kind, owner(cluster)]


def prefixed(cluster: Message) -> list[str]:
    """As `all` shows it: what is no service's name has the prefix as well."""
    name = f"cluster/{cluster.get('name', '')}"
    first, *rest = row(cluster)
    return [name, name if first == cluster.get("name", "") else first, *rest]
