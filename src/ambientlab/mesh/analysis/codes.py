"""The codes of ambientlab's own findings. docs/findings.md is made of them, with an example of each.

A code never comes to mean something else; one that nothing finds is left out, and its number with it.
"""

from __future__ import annotations

from ambientlab.mesh.analysis.finding import Registry, Severity

PAGE = "docs/findings.md"
REGISTRY = Registry("AML", lambda id_: f"{PAGE}#{id_.lower()}")

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

NO_WAYPOINT = REGISTRY.add(
    1,
    "NoWaypoint",
    _WARNING,
    "L7 policy without a waypoint",
    "In ambient mode ztunnel carries bytes and knows nothing of HTTP. Routes, traffic policies and whatever a policy"
    " says of requests take effect in a waypoint, and what this object is for uses none.",
)
UNUSED_WAYPOINT = REGISTRY.add(
    2,
    "UnusedWaypoint",
    _WARNING,
    "A waypoint that nothing uses",
    "A waypoint gets traffic once a label `istio.io/use-waypoint` on a Namespace, Service, ServiceEntry or Pod names"
    " it. Deploying one is not enough.",
)
WAYPOINT_MISSING = REGISTRY.add(
    3,
    "WaypointMissing",
    _ERROR,
    "A label names a waypoint that does not exist",
    "Traffic goes directly while the waypoint is missing: no route and no policy of a waypoint is in its way.",
)
WAYPOINT_NOT_READY = REGISTRY.add(
    4,
    "WaypointNotReady",
    _WARNING,
    "A waypoint is not ready",
    "A waypoint is used once its Gateway has an address. Until then traffic goes directly, past its routes and"
    " policies.",
)
WAYPOINT_WITHOUT_PODS = REGISTRY.add(
    5,
    "WaypointWithoutPods",
    _ERROR,
    "A waypoint without pods",
    "A Gateway with an address is used, whether or not a pod of it is ready. Connections to what uses it fail.",
)
WAYPOINT_REFUSES = REGISTRY.add(
    6,
    "WaypointRefuses",
    _ERROR,
    "A waypoint of another namespace does not let the object in",
    "A Gateway's listener says in `allowedRoutes` which namespaces may use it; without, only its own. Traffic goes"
    " directly.",
)
WRONG_WAYPOINT_TYPE = REGISTRY.add(
    7,
    "WrongWaypointType",
    _WARNING,
    "A waypoint is for another type of traffic",
    "The label `istio.io/waypoint-for` says whether a waypoint takes what is addressed to services (the default), to"
    " workloads, to both or to none. What it does not take goes directly.",
)
CANARY_UNUSABLE = REGISTRY.add(
    8,
    "CanaryUnusable",
    _WARNING,
    "A canary waypoint that gets nothing",
    "The label `istio.io/use-waypoint-canary` names a second waypoint for a share of the connections. One that cannot"
    " be used leaves all of them to the first.",
)
SHADOWED = REGISTRY.add(
    9,
    "Shadowed",
    _WARNING,
    "Something else comes first",
    "A waypoint lines up the routes of all objects for a host: VirtualServices that are not public, then routes of the"
    " Gateway API in its own namespace, then the rest by age. What is behind a route that takes every request is met by"
    " none. Of DestinationRules, PeerAuthentications and ServiceEntries for the same, one counts as well.",
)
WRONG_NAMESPACE = REGISTRY.add(
    10,
    "WrongNamespace",
    _WARNING,
    "An object where no waypoint looks for it",
    "A waypoint takes routes from the service's namespace and from its own, and only what is exported to it. Routes in"
    " the namespace of a client have no effect in ambient mode.",
)
NO_SUCH_SERVICE = REGISTRY.add(
    11,
    "NoSuchService",
    _ERROR,
    "A host or target that does not exist",
    "The object names something that is not there, so nothing follows it. A short name is completed in the namespace"
    " of the object that has it, one with a dot not at all.",
)
NO_SUCH_PORT = REGISTRY.add(
    12,
    "NoSuchPort",
    _ERROR,
    "A port that the service does not have",
    "A route for a port that its service does not have routes nothing.",
)
OTHER_PROTOCOL = REGISTRY.add(
    13,
    "OtherProtocol",
    _WARNING,
    "A route for a port that carries something else",
    "`appProtocol` of a Service's port, or else its name up to the first `-`, says what is on it. What is not HTTP a"
    " waypoint carries as it is, and nobody reads requests there; on a port for HTTP, routes for connections mean"
    " nothing.",
)
UNDECLARED_PROTOCOL = REGISTRY.add(
    14,
    "UndeclaredProtocol",
    _INFO,
    "HTTP routes for a port that does not say that it is HTTP",
    "Without a name such as `http` or an `appProtocol`, a waypoint finds out from the first bytes of each connection"
    " whether it carries HTTP.",
)
MISSING_BACKEND = REGISTRY.add(
    15,
    "MissingBackend",
    _ERROR,
    "A route leads to what does not exist",
    "A Service, port or subset that is not there keeps its share: those requests are answered 500 (503 where a"
    " VirtualService says so), and the others get no more than theirs.",
)
NO_ENDPOINTS = REGISTRY.add(
    16,
    "NoEndpoints",
    _WARNING,
    "A route leads to nobody",
    "A subset whose labels no ready pod has, or a Service without a ready endpoint, keeps its share as well: those"
    " requests are answered 503.",
)
ODD_WEIGHTS = REGISTRY.add(
    17,
    "OddWeights",
    _INFO,
    "Weights that give other shares than they seem to",
    "Weights are shares of their sum, and an only destination gets everything. Numbers that look like percent and do"
    " not add up to 100 mean something else than they say.",
)
NEVER_MATCHES = REGISTRY.add(
    18,
    "NeverMatches",
    _WARNING,
    "Something that cannot happen",
    "No request can match it at the proxy that follows it.",
)
NOT_PERMITTED = REGISTRY.add(
    19,
    "NotPermitted",
    _INFO,
    "A reference into another namespace without a ReferenceGrant",
    "Istio asks for none in a mesh. Other implementations of the Gateway API answer such a share with 500.",
)
NEEDS_WAYPOINT = REGISTRY.add(
    20,
    "NeedsWaypoint",
    _ERROR,
    "A policy that ztunnel cannot enforce as it is written",
    "ztunnel enforces policies without targetRefs, and knows connections alone. From a DENY rule it takes what it"
    " knows, which may be nothing, so that what should be stopped passes. An ALLOW rule about requests it leaves out,"
    " so that what should be let in is stopped.",
)
ADMITS_NOBODY = REGISTRY.add(
    21,
    "AdmitsNobody",
    _WARNING,
    "An ALLOW policy that nobody can match",
    "As soon as one ALLOW policy is in force, what no ALLOW rule matches is refused.",
)
WAYPOINT_NOT_ADMITTED = REGISTRY.add(
    22,
    "WaypointNotAdmitted",
    _ERROR,
    "A policy that shuts the waypoint out",
    "What comes through a waypoint reaches ztunnel with the waypoint's identity, not the client's. A policy of ztunnel"
    " that asks for clients refuses the waypoint, and with it everything that is sent to the service.",
)
STRICT_OUTSIDERS = REGISTRY.add(
    23,
    "StrictOutsiders",
    _WARNING,
    "STRICT, and pods outside the mesh",
    "STRICT refuses connections without mutual TLS. Pods that are not in the mesh have none to offer.",
)
NOBODY_SELECTED = REGISTRY.add(
    24,
    "NobodySelected",
    _WARNING,
    "A policy for nobody",
    "Policies without targetRefs are enforced by ztunnel before pods that are in the mesh. One that selects no such pod"
    " protects nothing.",
)
SKIPS_WAYPOINT = REGISTRY.add(
    25,
    "SkipsWaypoint",
    _WARNING,
    "Something of a service that traffic goes past",
    "ztunnel knows a service by its address. Connections to a host without one, such as a headless Service, or to a"
    " wildcard without a waypoint that finds out the name, meet no waypoint and none of its routes.",
)
IGNORED = REGISTRY.add(
    26,
    "Ignored",
    _WARNING,
    "A field or object that ambient mode ignores",
    "Istio accepts it, and neither ztunnel nor a waypoint acts on it.",
)
NOT_BUILT = REGISTRY.add(
    27,
    "NotBuilt",
    _INFO,
    "A field or object that ambientlab does not build",
    "On a cluster Istio honours it. The mesh of ambientlab, and what its commands foresee, leaves it out.",
)
INVALID = REGISTRY.add(
    28,
    "Invalid",
    _ERROR,
    "Something that means nothing",
    "The API accepts it, and whoever reads it cannot make sense of it.",
)
