"""How a cluster finds its endpoints: by EDS, by DNS, or by the address or the name that the client called.

The settings of DNS are Istio's (pilot/pkg/networking/core/cluster_builder.go); a name that does not resolve is asked
for again sooner, because in a lab names come and go.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig as DynamicCluster
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig

from ambientlab.mesh.ir import Resolution
from ambientlab.mesh.xds.messages import packed

_REFRESH_SECONDS = 60
"""At most; a record's own time to live goes before it."""
_RETRY_SECONDS = 1
_RETRY_MAX_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Discovery:
    """With a resolution by DNS, `assignment` is what to resolve. With NONE, `target_port` replaces the port that was
    called, unless it is 0. With DYNAMIC_DNS, it is the names below `host` that a filter has resolved."""

    resolution: Resolution = Resolution.STATIC
    assignment: ClusterLoadAssignment | None = None
    target_port: int = 0
    host: str = ""

    def apply(self, cluster: Cluster) -> None:
        """To a cluster that asks EDS."""
        if self.resolution.by_name:
            cluster.ClearField("eds_cluster_config")
            self._resolve(cluster)
        elif self.resolution is Resolution.NONE:
            cluster.ClearField("eds_cluster_config")
            cluster.type = Cluster.ORIGINAL_DST
            cluster.lb_policy = Cluster.CLUSTER_PROVIDED
            cluster.cleanup_interval.FromSeconds(60)
            if self.target_port:
                cluster.original_dst_lb_config.upstream_port_override.value = self.target_port
        elif self.resolution is Resolution.DYNAMIC_DNS:
            cluster.ClearField("eds_cluster_config")
            config = DynamicCluster(dns_cache_config=dns_cache(self.host))
            cluster.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
            cluster.cluster_type.typed_config.CopyFrom(packed(config))
            cluster.lb_policy = Cluster.CLUSTER_PROVIDED

    def _resolve(self, cluster: Cluster) -> None:
        assignment = self.assignment or ClusterLoadAssignment(cluster_name=cluster.name)
        names = sum(len(locality.lb_endpoints) for locality in assignment.endpoints)
        # Envoy takes exactly one name for it
        logical = self.resolution is Resolution.DNS_ROUND_ROBIN and names == 1
        cluster.type = Cluster.LOGICAL_DNS if logical else Cluster.STRICT_DNS
        cluster.load_assignment.CopyFrom(assignment)
        cluster.dns_lookup_family = Cluster.V4_ONLY
        cluster.respect_dns_ttl = True
        cluster.dns_refresh_rate.FromSeconds(_REFRESH_SECONDS)
        cluster.dns_failure_refresh_rate.base_interval.FromSeconds(_RETRY_SECONDS)
        cluster.dns_failure_refresh_rate.max_interval.FromSeconds(_RETRY_MAX_SECONDS)


STATIC = Discovery()


def dns_cache(host: str) -> DnsCacheConfig:
    """The filter finds out addresses of names below `host`, and the cluster connects to them."""
    return DnsCacheConfig(name=f"{host}_dfp_dns_cache", dns_lookup_family=Cluster.V4_ONLY)
