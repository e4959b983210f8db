"""The kinds built into the server, and those of the CRDs it ships, as constants to import.

A kind is listed here only if something behind it works: what is missing answers as an unknown kind would.
"""

from __future__ import annotations

from ambientlab.api.resources import Resource

# fmt: off
POD = Resource(
    "", "v1", "pods", "Pod", short_names=("po",), categories=("all",),
    subresources=("status", "log", "exec", "attach", "portforward", "proxy", "eviction", "ephemeralcontainers"),
)
SERVICE = Resource(
    "", "v1", "services", "Service", short_names=("svc",), categories=("all",), subresources=("status", "proxy")
)
NAMESPACE = Resource(
    "", "v1", "namespaces", "Namespace", False, short_names=("ns",), subresources=("status", "finalize")
)
NODE = Resource("", "v1", "nodes", "Node", False, short_names=("no",), subresources=("status",))
CONFIGMAP = Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",))
SECRET = Resource("", "v1", "secrets", "Secret")
SERVICEACCOUNT = Resource(
    "", "v1", "serviceaccounts", "ServiceAccount", short_names=("sa",), subresources=("token",)
)
EVENT = Resource("", "v1", "events", "Event", short_names=("ev",))
PERSISTENTVOLUMECLAIM = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short_names=("pvc",), subresources=("status",)
)
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", short_names=("ep",))
DEPLOYMENT = Resource(
    "apps", "v1", "deployments", "Deployment", short_names=("deploy",), categories=("all",),
    subresources=("status", "scale"),
)
REPLICASET = Resource(
    "apps", "v1", "replicasets", "ReplicaSet", short_names=("rs",), categories=("all",),
    subresources=("status", "scale"),
)
DAEMONSET = Resource(
    "apps", "v1", "daemonsets", "DaemonSet", short_names=("ds",), categories=("all",), subresources=("status",)
)
CONTROLLERREVISION = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
ENDPOINTSLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
_READ_ONLY = ("get", "list", "watch")
MUTATINGWEBHOOKCONFIGURATION = Resource(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False,
    categories=("api-extensions",), verbs=_READ_ONLY,
)
VALIDATINGWEBHOOKCONFIGURATION = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False,
    categories=("api-extensions",), verbs=_READ_ONLY,
)
PERSISTENTVOLUME = Resource(
    "", "v1", "persistentvolumes", "PersistentVolume", False, short_names=("pv",), verbs=_READ_ONLY
)
REPLICATIONCONTROLLER = Resource(
    "", "v1", "replicationcontrollers", "ReplicationController", short_names=("rc",), categories=("all",),
    verbs=_READ_ONLY,
)
STATEFULSET = Resource(
    "apps", "v1", "statefulsets", "StatefulSet", short_names=("sts",), categories=("all",), verbs=_READ_ONLY
)
JOB = Resource("batch", "v1", "jobs", "Job", categories=("all",), verbs=_READ_ONLY)
CRONJOB = Resource("batch", "v1", "cronjobs", "CronJob", short_names=("cj",), categories=("all",), verbs=_READ_ONLY)
INGRESS = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", short_names=("ing",), verbs=_READ_ONLY)
NONE_OF = (
    MUTATINGWEBHOOKCONFIGURATION, VALIDATINGWEBHOOKCONFIGURATION, PERSISTENTVOLUME, REPLICATIONCONTROLLER, STATEFULSET,
    JOB, CRONJOB, INGRESS,
)
"""There are none, and none can be made: nobody here calls webhooks, has storage or runs such workloads. Istio's own
istioctl waits for lists of webhooks, and `kubectl apply --prune` for those of the others (k8s.io/kubectl,
pkg/util/prune)."""

CUSTOMRESOURCEDEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False,
    short_names=("crd", "crds"), categories=("api-extensions",), subresources=("status",),
)

# Bodies of subresources and of reviews: decoded like any kind, never stored, not in CORE.
TOKENREQUEST = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", verbs=("create",))
TOKENREVIEW = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False, verbs=("create",))
SELFSUBJECTREVIEW = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, verbs=("create",)
)
SELFSUBJECTACCESSREVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False, verbs=("create",)
)
SELFSUBJECTRULESREVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False, verbs=("create",)
)
SCALE = Resource("autoscaling", "v1", "scales", "Scale")
EVICTION = Resource("policy", "v1", "evictions", "Eviction", verbs=("create",))
DELETEOPTIONS = Resource("", "v1", "deleteoptions", "DeleteOptions")
# fmt: on

BODIES: tuple[Resource, ...] = (
    TOKENREQUEST, TOKENREVIEW, SELFSUBJECTREVIEW, SELFSUBJECTACCESSREVIEW, SELFSUBJECTRULESREVIEW,
    SCALE, EVICTION, DELETEOPTIONS,
)  # fmt: skip

CORE: tuple[Resource, ...] = (
    POD, SERVICE, NAMESPACE, NODE, CONFIGMAP, SECRET, SERVICEACCOUNT, EVENT, ENDPOINTS,
    PERSISTENTVOLUMECLAIM,
    DEPLOYMENT, REPLICASET, DAEMONSET, CONTROLLERREVISION, ENDPOINTSLICE, LEASE, CUSTOMRESOURCEDEFINITION, *NONE_OF,
)  # fmt: skip

GATEWAY_GROUP = "gateway.networking.k8s.io"
GATEWAY_NAME_LABEL = f"{GATEWAY_GROUP}/gateway-name"
"""On what runs a Gateway: whose it is."""

GATEWAYCLASS = Resource(
    GATEWAY_GROUP,
    "v1",
    "gatewayclasses",
    "GatewayClass",
    False,
    short_names=("gc",),
    categories=("gateway-api",),
    subresources=("status",),
)
GATEWAY = Resource(
    GATEWAY_GROUP,
    "v1",
    "gateways",
    "Gateway",
    short_names=("gtw",),
    categories=("gateway-api",),
    subresources=("status",),
)
BACKENDTLSPOLICY = Resource(
    GATEWAY_GROUP,
    "v1",
    "backendtlspolicies",
    "BackendTLSPolicy",
    short_names=("btlspolicy",),
    categories=("gateway-api",),
    subresources=("status",),
)
GRPCROUTE = Resource(
    GATEWAY_GROUP, "v1", "grpcroutes", "GRPCRoute", categories=("gateway-api",), subresources=("status",)
)
TCPROUTE = Resource(GATEWAY_GROUP, "v1", "tcproutes", "TCPRoute", categories=("gateway-api",), subresources=("status",))
TLSROUTE = Resource(GATEWAY_GROUP, "v1", "tlsroutes", "TLSRoute", categories=("gateway-api",), subresources=("status",))
HTTPROUTE = Resource(
    GATEWAY_GROUP, "v1", "httproutes", "HTTPRoute", categories=("gateway-api",), subresources=("status",)
)
REFERENCEGRANT = Resource(
    GATEWAY_GROUP, "v1", "referencegrants", "ReferenceGrant", short_names=("refgrant",), categories=("gateway-api",)
)

ISTIO_NETWORKING = "networking.istio.io"
VIRTUALSERVICE = Resource(
    ISTIO_NETWORKING,
    "v1",
    "virtualservices",
    "VirtualService",
    short_names=("vs",),
    categories=("istio-io", "networking-istio-io"),
    subresources=("status",),
)
DESTINATIONRULE = Resource(
    ISTIO_NETWORKING,
    "v1",
    "destinationrules",
    "DestinationRule",
    short_names=("dr",),
    categories=("istio-io", "networking-istio-io"),
    subresources=("status",),
)
SERVICEENTRY = Resource(
    ISTIO_NETWORKING,
    "v1",
    "serviceentries",
    "ServiceEntry",
    short_names=("se",),
    categories=("istio-io", "networking-istio-io"),
    subresources=("status",),
)
WORKLOADENTRY = Resource(
    ISTIO_NETWORKING,
    "v1",
    "workloadentries",
    "WorkloadEntry",
    short_names=("we",),
    categories=("istio-io", "networking-istio-io"),
    subresources=("status",),
)

ISTIO_SECURITY = "security.istio.io"
AUTHORIZATIONPOLICY = Resource(
    ISTIO_SECURITY,
    "v1",
    "authorizationpolicies",
    "AuthorizationPolicy",
    short_names=("ap",),
    categories=("istio-io", "security-istio-io"),
    subresources=("status",),
)
REQUESTAUTHENTICATION = Resource(
    ISTIO_SECURITY,
    "v1",
    "requestauthentications",
    "RequestAuthentication",
    short_names=("ra",),
    categories=("istio-io", "security-istio-io"),
    subresources=("status",),
)
PEERAUTHENTICATION = Resource(
    ISTIO_SECURITY,
    "v1",
    "peerauthentications",
    "PeerAuthentication",
    short_names=("pa",),
    categories=("istio-io", "security-istio-io"),
    subresources=("status",),
)

ISTIO_TELEMETRY = "telemetry.istio.io"
TELEMETRY = Resource(
    ISTIO_TELEMETRY,
    "v1",
    "telemetries",
    "Telemetry",
    short_names=("telemetry",),
    categories=("istio-io", "telemetry-istio-io"),
    subresources=("status",),
)


def _istio(group: str, version: str, plural: str, kind: str, *short_names: str) -> Resource:
    categories = ("istio-io", f"{group.partition('.')[0]}-istio-io")
    return Resource(
        group, version, plural, kind, short_names=short_names, categories=categories, subresources=("status",)
    )


# Kinds that nothing is built for: accepted, and reported as without effect.
ENVOYFILTER = _istio(ISTIO_NETWORKING, "v1alpha3", "envoyfilters", "EnvoyFilter")
SIDECAR = _istio(ISTIO_NETWORKING, "v1", "sidecars", "Sidecar")
PROXYCONFIG = _istio(ISTIO_NETWORKING, "v1beta1", "proxyconfigs", "ProxyConfig")
ISTIOGATEWAY = _istio(ISTIO_NETWORKING, "v1", "gateways", "Gateway", "gw")
WASMPLUGIN = _istio("extensions.istio.io", "v1alpha1", "wasmplugins", "WasmPlugin")
TRAFFICEXTENSION = _istio("extensions.istio.io", "v1alpha1", "trafficextensions", "TrafficExtension")
NOT_BUILT = (ENVOYFILTER, SIDECAR, PROXYCONFIG, ISTIOGATEWAY, WASMPLUGIN, TRAFFICEXTENSION)

SHIPPED_CRDS: tuple[Resource, ...] = (
    GATEWAYCLASS, GATEWAY, HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE, REFERENCEGRANT, BACKENDTLSPOLICY, VIRTUALSERVICE,
    DESTINATIONRULE, SERVICEENTRY, WORKLOADENTRY,
    AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION, PEERAUTHENTICATION, TELEMETRY, *NOT_BUILT,
)  # fmt: skip
