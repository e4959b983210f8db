"""The pods of an Istio in ambient mode, as its charts label them."""

from __future__ import annotations

from ambientlab.api.objects import Object

MESH_CONFIG: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "istio", "namespace": "istio-system"},
    "data": {"mesh": "rootNamespace: istio-system"},
}
"""Which istiod of the default revision reads."""


def istio(
    version: str = "1.31.0", namespace: str = "istio-system", revision: str = "default", *, ready: bool = True
) -> list[Object]:
    """istiod, ztunnel and istio-cni on one node."""
    mark = {} if revision == "default" else {"istio.io/rev": revision}
    return [
        istiod(version, namespace, revision, ready=ready),
        _pod("ztunnel-7kq2x", namespace, f"ztunnel:{version}", {"app": "ztunnel"}, ready=ready, annotations=mark),
        _pod("istio-cni-node-x8tzl", namespace, f"install-cni:{version}", {"k8s-app": "istio-cni-node"}, ready=ready),
    ]


def istiod(version: str, namespace: str, revision: str, *, ready: bool = True) -> Object:
    name = "istiod" if revision == "default" else f"istiod-{revision}"
    labels = {"app": "istiod", "istio.io/rev": revision}
    return _pod(f"{name}-6c9d7b8f5-4vjzq", namespace, f"pilot:{version}", labels, ready=ready)


def _pod(
    name: str,
    namespace: str,
    image: str,
    labels: dict[str, str],
    *,
    ready: bool,
    annotations: dict[str, str] | None = None,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations or {}},
        "spec": {
            "nodeName": "ambientlab",
            "containers": [{"name": "istio-proxy", "image": f"docker.io/istio/{image}"}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.244.9.9",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }
