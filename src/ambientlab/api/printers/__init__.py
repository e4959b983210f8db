"""The columns and cells of the built-in kinds (pkg/printers/internalversion)."""

from __future__ import annotations

from ambientlab.api import kinds
from ambientlab.api.printers import cluster, network, pods, storage, workloads
from ambientlab.api.printers.columns import Printer
from ambientlab.api.resources import Resource

PRINTERS: dict[Resource, Printer] = {
    kinds.POD: pods.POD,
    kinds.SERVICE: network.SERVICE,
    kinds.ENDPOINTS: network.ENDPOINTS,
    kinds.ENDPOINTSLICE: network.ENDPOINTSLICE,
    kinds.DEPLOYMENT: workloads.DEPLOYMENT,
    kinds.REPLICASET: workloads.REPLICASET,
    kinds.DAEMONSET: workloads.DAEMONSET,
    kinds.CONTROLLERREVISION: workloads.CONTROLLERREVISION,
    kinds.NAMESPACE: cluster.NAMESPACE,
    kinds.NODE: cluster.NODE,
    kinds.EVENT: cluster.EVENT,
    kinds.CONFIGMAP: cluster.CONFIGMAP,
    kinds.SECRET: cluster.SECRET,
    kinds.SERVICEACCOUNT: cluster.SERVICEACCOUNT,
    kinds.LEASE: cluster.LEASE,
    kinds.PERSISTENTVOLUMECLAIM: storage.PERSISTENTVOLUMECLAIM,
    kinds.CUSTOMRESOURCEDEFINITION: cluster.CUSTOMRESOURCEDEFINITION,
}
