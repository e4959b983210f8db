"""What runs a waypoint Gateway: its ServiceAccount, Deployment and Service. Pure.

Shape, names, labels and ports are those istiod gives them (manifests/charts/istio-control/istio-discovery,
files/waypoint.yaml), so that what people read and select by is the same. Server-side apply keeps everything not named
here, `spec.replicas` among it, to the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ambientlab.api.kinds import DEPLOYMENT, GATEWAY, GATEWAY_NAME_LABEL, SERVICE, SERVICEACCOUNT
from ambientlab.api.objects import Object, annotations_of, labels_of, name, namespace, uid
from ambientlab.api.resources import Resource
from ambientlab.cluster import CLUSTER_ID, DOMAIN, ISTIO_VERSION, TRUST_DOMAIN

CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name"
MANAGED_LABEL = "gateway.istio.io/managed"
MANAGED_BY = "istio.io-mesh-controller"

_NAME_OVERRIDE = "gateway.istio.io/name-override"
_ACCOUNT_OVERRIDE = "gateway.istio.io/service-account"
_SERVICE_TYPE = "networking.istio.io/service-type"
# Addressed to the controller, not to what it makes.
_NOT_PASSED_ON = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "gateway.istio.io/controller-version",
    _NAME_OVERRIDE,
    _ACCOUNT_OVERRIDE,
)
_STATUS_PORT = 15021
_PROXY_ID = 1337
_IMAGE = f"docker.io/istio/proxyv2:{ISTIO_VERSION}"


def deployment_name(gateway: Object) -> str:
    return annotations_of(gateway).get(_NAME_OVERRIDE, name(gateway))


def resources(
    gateway: Object, trust_domain: str = TRUST_DOMAIN, proxy_config: Mapping[str, Any] | None = None
) -> Iterator[tuple[Resource, Object]]:
    """In the order in which they need each other: the pods run as the account."""
    account = annotations_of(gateway).get(_ACCOUNT_OVERRIDE, name(gateway))
    yield SERVICEACCOUNT, _object(SERVICEACCOUNT, gateway, account, _annotations(gateway))
    deployment = _object(DEPLOYMENT, gateway, deployment_name(gateway), _annotations(gateway))
    deployment["spec"] = _deployment_spec(gateway, account, trust_domain, proxy_config or {})
    yield DEPLOYMENT, deployment
    near = {"networking.istio.io/traffic-distribution": "PreferClose", **_annotations(gateway)}
    service = _object(SERVICE, gateway, deployment_name(gateway), near)
    service["spec"] = {
        "type": annotations_of(gateway).get(_SERVICE_TYPE, "ClusterIP"),
        "ipFamilyPolicy": "PreferDualStack",
        "selector": {GATEWAY_NAME_LABEL: name(gateway)},
        "ports": list(_service_ports(gateway)),
    }
    yield SERVICE, service


def _infrastructure(gateway: Object, part: str) -> dict[str, str]:
    """`spec.infrastructure.labels` or `.annotations` where they are set, else the Gateway's own."""
    chosen = (gateway["spec"].get("infrastructure") or {}).get(part)
    if chosen is not None:
        return {key: value for key, value in chosen.items() if not key.startswith(f"{GATEWAY.group}/")}
    return dict(gateway["metadata"].get(part) or {})


def _annotations(gateway: Object) -> dict[str, str]:
    found = _infrastructure(gateway, "annotations")
    return {key: value for key, value in found.items() if key not in _NOT_PASSED_ON}


def _identity(gateway: Object) -> dict[str, str]:
    gateway_class: str = gateway["spec"]["gatewayClassName"]
    return {GATEWAY_NAME_LABEL: name(gateway), CLASS_LABEL: gateway_class, MANAGED_LABEL: MANAGED_BY}


def _object(resource: Resource, gateway: Object, object_name: str, annotations: dict[str, str]) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": object_name,
            "namespace": namespace(gateway),
            "labels": {**_infrastructure(gateway, "labels"), **_identity(gateway)},
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": GATEWAY.api_version,
                    "kind": GATEWAY.kind,
                    "name": name(gateway),
                    "uid": uid(gateway),
                }
            ],
        },
    }


def _service_ports(gateway: Object) -> Iterator[Object]:
    """The readiness port first, then one per listener port."""
    yield {"name": "status-port", "port": _STATUS_PORT, "protocol": "TCP", "appProtocol": "tcp"}
    seen = set()
    for listener in gateway["spec"].get("listeners") or []:
        if listener["port"] not in seen:
            seen.add(listener["port"])
            yield {
                # A listener's name may be longer than a port's and have dots.
                "name": listener["name"].replace(".", "-")[:63],
                "port": listener["port"],
                "protocol": "TCP",
                "appProtocol": listener["protocol"].lower(),
            }


def _deployment_spec(gateway: Object, account: str, trust_domain: str, proxy_config: Mapping[str, Any]) -> Object:
    workload = deployment_name(gateway)
    return {
        "selector": {"matchLabels": {GATEWAY_NAME_LABEL: name(gateway)}},
        "template": {
            "metadata": {
                "labels": {
                    "sidecar.istio.io/inject": "false",
                    "istio.io/dataplane-mode": "none",
                    "service.istio.io/canonical-name": workload,
                    "service.istio.io/canonical-revision": "latest",
                    **_infrastructure(gateway, "labels"),
                    **_identity(gateway),
                },
                "annotations": {
                    **_annotations(gateway),
                    "istio.io/rev": labels_of(gateway).get("istio.io/rev", "default"),
                    "prometheus.io/path": "/stats/prometheus",
                    "prometheus.io/port": "15020",
                    "prometheus.io/scrape": "true",
                },
            },
            "spec": {
                "serviceAccountName": account,
                "containers": [_proxy(gateway, account, trust_domain, proxy_config)],
                "volumes": list(_volumes()),
            },
        },
    }


def _proxy(gateway: Object, account: str, trust_domain: str, proxy_config: Mapping[str, Any]) -> Object:
    return {
        "name": "istio-proxy",
        "image": _IMAGE,
        "args": [
            *("proxy", "waypoint"),
            *("--domain", f"$(POD_NAMESPACE).svc.{DOMAIN}"),
            *("--serviceCluster", f"{account}.$(POD_NAMESPACE)"),
            *("--proxyLogLevel", "warning"),
            *("--proxyComponentLogLevel", "misc:error"),
            *("--log_output_level", "default:info"),
        ],
        "ports": [
            {"containerPort": 15020, "name": "metrics", "protocol": "TCP"},
            {"containerPort": _STATUS_PORT, "name": "status-port", "protocol": "TCP"},
            {"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"},
        ],
        "env": list(_environment(gateway, trust_domain, proxy_config)),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        "startupProbe": _probe(failureThreshold=30, periodSeconds=1),
        "readinessProbe": _probe(failureThreshold=4, periodSeconds=15),
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _PROXY_ID,
            "runAsGroup": _PROXY_ID,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in _MOUNTS.items()],
    }


def _probe(**timing: int) -> Object:
    return {
        "httpGet": {"path": "/healthz/ready", "port": _STATUS_PORT, "scheme": "HTTP"},
        "successThreshold": 1,
        "timeoutSeconds": 1,
        **timing,
    }


def _environment(gateway: Object, trust_domain: str, proxy_config: Mapping[str, Any]) -> Iterator[Object]:
    workload = deployment_name(gateway)
    owner = f"kubernetes://apis/apps/v1/namespaces/{namespace(gateway)}/deployments/{workload}"
    fields = {
        "ISTIO_META_SERVICE_ACCOUNT": "spec.serviceAccountName",
        "ISTIO_META_NODE_NAME": "spec.nodeName",
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
    }
    limits = {"ISTIO_CPU_LIMIT": "limits.cpu", "GOMEMLIMIT": "limits.memory", "GOMAXPROCS": "limits.cpu"}
    values = {
        "PILOT_CERT_PROVIDER": "istiod",
        "CA_ADDR": "istiod.istio-system.svc:15012",
        "PROXY_CONFIG": json.dumps(proxy_config, separators=(",", ":")) + "\n",
        "ISTIO_META_CLUSTER_ID": CLUSTER_ID,
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_WORKLOAD_NAME": workload,
        "ISTIO_META_OWNER": owner,
        "ISTIO_META_MESH_ID": trust_domain,
        "TRUST_DOMAIN": trust_domain,
    }
    for variable, path in fields.items():
        yield {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}}
    for variable, limit in limits.items():
        yield {"name": variable, "valueFrom": {"resourceFieldRef": {"resource": limit, "divisor": "1"}}}
    for variable, value in values.items():
        yield {"name": variable, "value": value}


_MOUNTS = {
    "workload-socket": "/var/run/secrets/workload-spiffe-uds",
    "istiod-ca-cert": "/var/run/secrets/istio",
    "istio-data": "/var/lib/istio/data",
    "istio-envoy": "/etc/istio/proxy",
    "istio-token": "/var/run/secrets/tokens",
    "istio-podinfo": "/etc/istio/pod",
}


def _volumes() -> Iterator[dict[str, Any]]:
    yield {"name": "workload-socket", "emptyDir": {}}
    yield {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}
    yield {"name": "istio-data", "emptyDir": {}}
    described = {"labels": "metadata.labels", "annotations": "metadata.annotations"}
    yield {
        "name": "istio-podinfo",
        "downwardAPI": {
            "items": [{"path": path, "fieldRef": {"fieldPath": field}} for path, field in described.items()]
        },
    }
    token = {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}
    yield {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}}
    yield {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}
