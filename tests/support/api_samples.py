"""Valid objects to spoil, and the spoiling."""

from __future__ import annotations

import copy
from typing import Any

from ambientlab.api.objects import Object

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "curl", "namespace": "test"},
    "spec": {"containers": [{"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]}]},
}
DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "helloworld-v1", "namespace": "hello"},
    "spec": {
        "selector": {"matchLabels": {"app": "helloworld"}},
        "template": {
            "metadata": {"labels": {"app": "helloworld"}},
            "spec": {
                "containers": [
                    {
                        "name": "helloworld",
                        "image": "docker.io/istio/examples-helloworld-v1:1.0",
                        "ports": [{"containerPort": 5000}],
                    }
                ]
            },
        },
    },
}
SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "helloworld", "namespace": "hello"},
    "spec": {"selector": {"app": "helloworld"}, "ports": [{"name": "http", "port": 5000}]},
}
ENDPOINTSLICE: Object = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "helloworld-1", "namespace": "hello"},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.244.0.5"], "hostname": "first"}],
    "ports": [{"name": "http", "port": 5000}],
}
CONFIGMAP: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "hello"},
    "data": {"key": "value"},
}
HTTPROUTE: Object = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "split", "namespace": "hello"},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "helloworld", "port": 5000}],
        "rules": [
            {
                "backendRefs": [
                    {"name": "helloworld-v1", "port": 5000, "weight": 95},
                    {"name": "helloworld-v2", "port": 5000, "weight": 5},
                ]
            }
        ],
    },
}
GATEWAY: Object = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "waypoint", "namespace": "hello"},
    "spec": {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    },
}
VIRTUALSERVICE: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "hello-world-vs", "namespace": "hello"},
    "spec": {
        "hosts": ["helloworld"],
        "http": [
            {
                "route": [
                    {"destination": {"host": "helloworld", "subset": "v1"}, "weight": 95},
                    {"destination": {"host": "helloworld", "subset": "v2"}, "weight": 5},
                ]
            }
        ],
    },
}
DESTINATIONRULE: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "hello-world-dr", "namespace": "hello"},
    "spec": {
        "host": "helloworld",
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}],
    },
}
BACKENDTLSPOLICY: Object = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "BackendTLSPolicy",
    "metadata": {"name": "shop", "namespace": "hello"},
    "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "shop"}],
        "validation": {
            "hostname": "shop.example",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "authority"}],
            "subjectAltNames": [{"type": "Hostname", "hostname": "*.shop.example"}],
        },
    },
}
SERVICEENTRY: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "api", "namespace": "egress"},
    "spec": {
        "hosts": ["api.example.com"],
        "location": "MESH_EXTERNAL",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.1", "ports": {"http": 9090}, "labels": {"version": "v1"}, "weight": 3}],
    },
}
WORKLOADENTRY: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadEntry",
    "metadata": {"name": "vm", "namespace": "egress"},
    "spec": {"address": "192.0.2.7", "labels": {"app": "api"}, "serviceAccount": "api"},
}
DROP = object()


def spoiled(obj: Object, path: str, value: Any) -> Object:
    """A copy with the value at `path` (`spec.ports.0.port`) replaced, or removed with DROP."""
    result = copy.deepcopy(obj)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = result
    for part in parents:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    if value is DROP:
        del place[last]
    elif isinstance(place, list) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return result
