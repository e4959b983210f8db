"""Which configuration a proxy gets: decided by who it proved to be, never by what it says about itself."""

from __future__ import annotations

from ambientlab.api.client import Client
from ambientlab.api.kinds import GATEWAY_NAME_LABEL, POD
from ambientlab.api.objects import Object, labels_of
from ambientlab.mesh.ir import Key
from ambientlab.mesh.serve.identity import Identity

NODE_PROXY = ("istio-system", "ztunnel")
"""Namespace and service account of the node proxy."""


def is_node_proxy(proxy: Identity) -> bool:
    return (proxy.namespace, proxy.service_account) == NODE_PROXY


def gateway_of(client: Client, proxy: Identity) -> Key | None:
    """The Gateway that the proxy's pod is an instance of; its label says so, and only within its own namespace."""
    pod = client.get(POD, proxy.pod, proxy.namespace)
    if pod is None or (pod["spec"].get("serviceAccountName") or "default") != proxy.service_account:
        return None
    name = labels_of(pod).get(GATEWAY_NAME_LABEL)
    return Key(proxy.namespace, name) if name else None


def environment_of(pod: Object) -> dict[str, str]:
    """What the containers of one of Istio's pods are told in variables, so far as the values stand in the pod."""
    containers = pod["spec"].get("containers") or ()
    return {one["name"]: one.get("value") or "" for container in containers for one in container.get("env") or ()}
