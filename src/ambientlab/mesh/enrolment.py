"""Which pods are to be in the mesh, as Istio has it (cni/pkg/util/enablement_selector.go, with the selectors of the
chart's values.yaml)."""

from __future__ import annotations

from ambientlab.api.objects import Object, annotations_of, labels_of, namespace

MODE_LABEL = "istio.io/dataplane-mode"
SIDECAR_STATUS = "sidecar.istio.io/status"
EXCLUDED_NAMESPACES = frozenset({"kube-system"})
"""Whatever their labels say (manifests/charts/istio-cni/values.yaml, excludeNamespaces)."""


def should_capture(pod: Object, pod_namespace: Object | None) -> bool:
    """A label on the namespace or the pod asks for it; the pod's `none`, a sidecar, the node's own network or an
    excluded namespace rule it out. Waypoints carry `none`."""
    if namespace(pod) in EXCLUDED_NAMESPACES or pod["spec"].get("hostNetwork") or SIDECAR_STATUS in annotations_of(pod):
        return False
    mode = labels_of(pod).get(MODE_LABEL)
    return mode == "ambient" or (is_ambient(pod_namespace) and mode != "none")


def is_ambient(pod_namespace: Object | None) -> bool:
    return pod_namespace is not None and labels_of(pod_namespace).get(MODE_LABEL) == "ambient"
