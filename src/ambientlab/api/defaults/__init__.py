"""Kubernetes' defaults of the built-in kinds (pkg/apis/*/v1/defaults.go and the admission plugins everybody runs)."""

from __future__ import annotations

from collections.abc import Callable

from ambientlab.api import kinds
from ambientlab.api.defaults import config, pods, services, storage, workloads
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource

_BY_RESOURCE: dict[Resource, Callable[[Object], None]] = {
    kinds.POD: pods.pod,
    kinds.SERVICE: services.service,
    kinds.ENDPOINTS: services.endpoints,
    kinds.ENDPOINTSLICE: services.endpoint_slice,
    kinds.DEPLOYMENT: workloads.deployment,
    kinds.REPLICASET: workloads.replica_set,
    kinds.DAEMONSET: workloads.daemon_set,
    kinds.NAMESPACE: config.namespace,
    kinds.SECRET: config.secret,
    kinds.PERSISTENTVOLUMECLAIM: storage.persistent_volume_claim,
    kinds.CUSTOMRESOURCEDEFINITION: config.custom_resource_definition,
    kinds.TOKENREQUEST: config.token_request,
}


def apply(resource: Resource, obj: Object) -> None:
    """In place. An object that is no kind of ours, or of the wrong shape, is left as it is: validation tells why."""
    if function := _BY_RESOURCE.get(resource):
        function(obj)
