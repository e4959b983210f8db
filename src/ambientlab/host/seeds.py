"""What a mesh contains before anybody has applied anything: the objects of a fresh cluster with Istio ambient on it."""

from __future__ import annotations

from collections.abc import Mapping

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import DNS_IP, ISTIO_VERSION, KUBERNETES_IP, NODE_IP, ROOT_NAMESPACE, TRUST_DOMAIN

API_PORT = 6443

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", ROOT_NAMESPACE)

Seed = tuple[Resource, Object]


def namespaces() -> list[Seed]:
    return [
        (kinds.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}) for name in NAMESPACES
    ]


def services() -> list[Seed]:
    """The two Services every pod relies on, both served by the node itself."""
    return [
        *_node_service("default", "kubernetes", KUBERNETES_IP, {"https": ("TCP", 443, API_PORT)}, NODE_IP),
        *_node_service("kube-system", "kube-dns", DNS_IP, {"dns": ("UDP", 53, 53), "dns-tcp": ("TCP", 53, 53)}, DNS_IP),
    ]


def istio() -> list[Seed]:
    """istiod, ztunnel and istio-cni-node as an installation of the ambient profile shows them."""
    mesh_config = f"accessLogFile: /dev/stdout\nrootNamespace: {ROOT_NAMESPACE}\ntrustDomain: {TRUST_DOMAIN}\n"
    return [
        (
            kinds.CONFIGMAP,
            {**_head("v1", "ConfigMap", "istio"), "data": {"mesh": mesh_config, "meshNetworks": "networks: {}"}},
        ),
        *[
            (kinds.SERVICEACCOUNT, _head("v1", "ServiceAccount", name, {"app": name}))
            for name in ("istiod", "ztunnel", "istio-cni")
        ],
        (
            kinds.SERVICE,
            {
                **_head("v1", "Service", "istiod", {**_ISTIOD, **_REVISION}),
                "spec": {
                    "selector": {"app": "istiod"},
                    "ports": [
                        {"name": "grpc-xds", "port": 15010},
                        {"name": "https-dns", "port": 15012},
                        {"name": "https-webhook", "port": 443, "targetPort": 15017},
                        {"name": "http-monitoring", "port": 15014},
                    ],
                },
            },
        ),
        (kinds.DEPLOYMENT, _istiod()),
        (
            kinds.DAEMONSET,
            _daemonset(
                "ztunnel",
                "ztunnel",
                {
                    "name": "istio-proxy",
                    "image": _istio_image("ztunnel"),
                    "args": ["proxy", "ztunnel"],
                    "startupProbe": {**_ZTUNNEL_PROBE, "periodSeconds": 1, "failureThreshold": _ZTUNNEL_SECONDS},
                    "readinessProbe": _ZTUNNEL_PROBE,
                },
                _scraped(15020),
            ),
        ),
        (
            kinds.DAEMONSET,
            _daemonset(
                "istio-cni-node",
                "istio-cni",
                {"name": "install-cni", "image": _istio_image("install-cni"), "args": ["install-cni"]},
            ),
        ),
    ]


def selectors() -> list[Mapping[str, str]]:
    """What tells the pods of each workload of these from all others."""
    workloads = (obj for resource, obj in istio() if resource in (kinds.DEPLOYMENT, kinds.DAEMONSET))
    return [workload["spec"]["selector"]["matchLabels"] for workload in workloads]


def _head(api_version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": ROOT_NAMESPACE}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _istio_image(name: str) -> str:
    return f"docker.io/istio/{name}:{ISTIO_VERSION}"


_ISTIOD = {"app": "istiod", "istio": "pilot"}
_REVISION = {"istio.io/rev": "default"}
"""istioctl looks for the pods of a revision."""


def _istiod() -> Object:
    return {
        **_head("apps/v1", "Deployment", "istiod", {**_ISTIOD, **_REVISION}),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _ISTIOD},
            "template": {
                "metadata": {
                    "labels": {**_ISTIOD, **_REVISION, "istio.io/dataplane-mode": "none"},
                    "annotations": _scraped(15014),
                },
                "spec": {
                    "serviceAccountName": "istiod",
                    "hostNetwork": True,
                    "containers": [{"name": "discovery", "image": _istio_image("pilot"), "args": ["discovery"]}],
                },
            },
        },
    }


# As in Istio's chart: Ready is what has its configuration, not what has merely been started.
_ZTUNNEL_PROBE: Object = {"httpGet": {"path": "/healthz/ready", "port": 15021}}
_ZTUNNEL_SECONDS = 30
"""Unlike Istio's ztunnel, ours is begun anew when it has not become Ready for as long: clusters that change while Envoy
initialises can keep it from ever going on (envoyproxy/envoy issues 13874 and 21425)."""


def _scraped(port: int) -> dict[str, str]:
    """Where Prometheus finds a pod's metrics, as Istio's charts say it."""
    return {"prometheus.io/port": str(port), "prometheus.io/scrape": "true"}


def _daemonset(name: str, account: str, container: Object, annotations: dict[str, str] | None = None) -> Object:
    """hostNetwork, as both are in this node: the proxy opens its listeners inside each pod's namespace itself."""
    labels = {"app": name} if name == "ztunnel" else {"k8s-app": name}
    return {
        **_head("apps/v1", "DaemonSet", name, labels),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": {**labels, "istio.io/dataplane-mode": "none"},
                    **({"annotations": annotations} if annotations else {}),
                },
                "spec": {
                    "serviceAccountName": account,
                    "hostNetwork": True,
                    "containers": [container],
                },
            },
        },
    }


def _node_service(
    namespace: str, name: str, ip: str, ports: dict[str, tuple[str, int, int]], endpoint: str
) -> list[Seed]:
    """A Service without selector, and the EndpointSlice that points it at the node."""
    metadata = {"name": name, "namespace": namespace}
    return [
        (
            kinds.SERVICE,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    **metadata,
                    "labels": {"k8s-app": name} if name == "kube-dns" else {"component": "apiserver"},
                },
                "spec": {
                    "clusterIP": ip,
                    "ports": [
                        {"name": port_name, "protocol": protocol, "port": port, "targetPort": target}
                        for port_name, (protocol, port, target) in ports.items()
                    ],
                },
            },
        ),
        (
            kinds.ENDPOINTSLICE,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [endpoint], "conditions": {"ready": True}}],
                "ports": [
                    {"name": port_name, "protocol": protocol, "port": target}
                    for port_name, (protocol, _, target) in ports.items()
                ],
            },
        ),
    ]
