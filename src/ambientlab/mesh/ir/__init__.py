"""The mesh as the proxies see it: frozen values that know neither Kubernetes nor Envoy.

    Workload ──waypoint──▶ Waypoint ◀──waypoint── Service ──endpoints──▶ Workload
                                                  │   ▲
             ▲                  RouteTable, Guard ┘   └── Destination (a service's port, or a subset of it,
      Authorizations                                       with a TrafficPolicy)

Everything that decides about traffic (Envoy's configuration, the expected split, an explanation) reads these values
and nothing else, so that they cannot disagree. Equal values mean equal behaviour: a stage that produced the same value
again has nothing to tell the stages behind it.
"""

from __future__ import annotations

from ambientlab.mesh.ir.addresses import is_ipv6, with_port
from ambientlab.mesh.ir.authorizations import NONE_ALLOWED, Authorization, Clause, Clauses, Scope, allowed_by, denied_by
from ambientlab.mesh.ir.credentials import Credential
from ambientlab.mesh.ir.identities import TrustDomains, trust_domain_of
from ambientlab.mesh.ir.mesh import THE_MESH, Mesh
from ambientlab.mesh.ir.nearness import Distribution, Place
from ambientlab.mesh.ir.policies import (
    AuthorizationPolicy,
    CheckedBody,
    Condition,
    Conditions,
    Guard,
    JwtRule,
    PolicyAction,
    PolicyRule,
    Provider,
)
from ambientlab.mesh.ir.routes import (
    DEFAULT_RETRIES,
    Abort,
    Action,
    Cors,
    Delay,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HeaderChange,
    Match,
    Mirror,
    Redirect,
    RetryPolicy,
    Rewrite,
    Route,
    RouteTable,
    StringMatch,
    TcpRoute,
    WeightedDestination,
)
from ambientlab.mesh.ir.services import (
    SERVICE_KIND,
    AppProtocol,
    Endpoint,
    Labels,
    Port,
    Resolution,
    Service,
    Subset,
    by_address,
)
from ambientlab.mesh.ir.telemetry import EVERYTHING, MetricChange, Telemetry
from ambientlab.mesh.ir.traffic import (
    CA_SUFFIX,
    Algorithm,
    ConnectionPool,
    ConsistentHash,
    HashKey,
    LoadBalancer,
    Localities,
    OutlierDetection,
    RetryBudget,
    TcpKeepalive,
    Tls,
    TrafficPolicy,
    Tunnel,
    Warmup,
)
from ambientlab.mesh.ir.workloads import Canary, Key, Protocol, Traffic, Waypoint, Workload, takes_tunnels

__all__ = [
    "CA_SUFFIX",
    "DEFAULT_RETRIES",
    "EVERYTHING",
    "NONE_ALLOWED",
    "SERVICE_KIND",
    "THE_MESH",
    "Abort",
    "Action",
    "Algorithm",
    "AppProtocol",
    "Authorization",
    "AuthorizationPolicy",
    "Canary",
    "CheckedBody",
    "Clause",
    "Clauses",
    "Condition",
    "Conditions",
    "ConnectionPool",
    "ConsistentHash",
    "Cors",
    "Credential",
    "Delay",
    "Destination",
    "DirectResponse",
    "Distribution",
    "Endpoint",
    "Fault",
    "Forward",
    "Guard",
    "HashKey",
    "HeaderChange",
    "JwtRule",
    "Key",
    "Labels",
    "LoadBalancer",
    "Localities",
    "Match",
    "Mesh",
    "MetricChange",
    "Mirror",
    "OutlierDetection",
    "Place",
    "PolicyAction",
    "PolicyRule",
    "Port",
    "Protocol",
    "Provider",
    "Redirect",
    "Resolution",
    "RetryBudget",
    "RetryPolicy",
    "Rewrite",
    "Route",
    "RouteTable",
    "Scope",
    "Service",
    "StringMatch",
    "Subset",
    "TcpKeepalive",
    "TcpRoute",
    "Telemetry",
    "Tls",
    "Traffic",
    "TrafficPolicy",
    "TrustDomains",
    "Tunnel",
    "Warmup",
    "Waypoint",
    "WeightedDestination",
    "Workload",
    "allowed_by",
    "by_address",
    "denied_by",
    "is_ipv6",
    "takes_tunnels",
    "trust_domain_of",
    "with_port",
]
