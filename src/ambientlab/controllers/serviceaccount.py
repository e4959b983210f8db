"""What every namespace holds from the start: the account pods run as, and the CAs they trust."""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import CONFIGMAP, NAMESPACE, SERVICEACCOUNT
from ambientlab.api.objects import Object, name, namespace
from ambientlab.controllers.base import Roots, all_of
from ambientlab.controllers.owners import is_deleting
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

DEFAULT_ACCOUNT = "default"
CLUSTER_ROOT = "kube-root-ca.crt"
MESH_ROOT = "istio-ca-root-cert"

# istiod leaves these alone (pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go): no workload of the mesh
# runs there, while ztunnel may run in kube-system.
_OUTSIDE_THE_MESH = ("kube-public", "kube-node-lease", "local-path-storage")


class ServiceAccountController:
    name = "serviceaccount"

    def __init__(self, client: Client, cluster_root: str, mesh_roots: Roots) -> None:
        self._client = client
        self._cluster_root = cluster_root
        self._mesh_roots = mesh_roots

    def watch(self, queue: WorkQueue[str]) -> Iterable[Stop]:
        def account(event: Event) -> None:
            if event.type == "DELETED" and name(event.object) == DEFAULT_ACCOUNT:
                queue.add(namespace(event.object))

        def configmap(event: Event) -> None:
            if event.type != "ADDED" and name(event.object) in (CLUSTER_ROOT, MESH_ROOT):
                queue.add(namespace(event.object))

        def roots() -> None:
            for home in self._client.list(NAMESPACE):
                queue.add(name(home))

        return [
            self._client.watch(NAMESPACE, lambda event: queue.add(name(event.object))),
            self._client.watch(SERVICEACCOUNT, account),
            self._client.watch(CONFIGMAP, configmap),
            self._mesh_roots.watch(roots),
        ]

    async def reconcile(self, key: str) -> None:
        home = self._client.get(NAMESPACE, key)
        if home is None or is_deleting(home):
            return
        writes = []
        if self._client.get(SERVICEACCOUNT, DEFAULT_ACCOUNT, key) is None:
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": DEFAULT_ACCOUNT, "namespace": key},
            }
            writes.append(self._client.create(SERVICEACCOUNT, account))
        for configmap in self._configmaps(key):
            old = self._client.get(CONFIGMAP, name(configmap), key)
            if old is None:
                writes.append(self._client.create(CONFIGMAP, configmap))
            elif old.get("data") != configmap["data"]:
                writes.append(self._client.update(CONFIGMAP, {**old, "data": configmap["data"]}))
        if writes:
            await all_of(writes)

    def _configmaps(self, home: str) -> Iterable[Object]:
        cluster = {
            "annotations": {"kubernetes.io/description": "The CA of this cluster's API server, for pods that call it."}
        }
        yield _configmap(home, CLUSTER_ROOT, {"ca.crt": self._cluster_root}, cluster)
        if home not in _OUTSIDE_THE_MESH:
            mesh = {"labels": {"istio.io/config": "true"}}
            yield _configmap(
                home, MESH_ROOT, {"root-cert.pem": self._mesh_roots.root_pem.decode(errors="replace")}, mesh
            )


def _configmap(home: str, name: str, data: dict[str, str], metadata: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": home, **metadata},
        "data": data,
    }
