"""Semantic validation of the kinds: what a schema cannot say."""

from __future__ import annotations

from collections.abc import Callable

from ambientlab.api import kinds
from ambientlab.api.fielderrors import Errors
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.validation import config, crd, istio, pods, services, storage, workloads
from ambientlab.api.validation.istio import warnings

_BUILTIN: dict[Resource, Callable[[Object, Object | None, Errors], None]] = {
    kinds.POD: pods.pod,
    kinds.SERVICE: services.service,
    kinds.ENDPOINTSLICE: services.endpoint_slice,
    kinds.DEPLOYMENT: workloads.deployment,
    kinds.REPLICASET: workloads.replica_set,
    kinds.DAEMONSET: workloads.daemon_set,
    kinds.CONFIGMAP: config.config_map,
    kinds.SECRET: config.secret,
    kinds.EVENT: config.event,
    kinds.PERSISTENTVOLUMECLAIM: storage.persistent_volume_claim,
    kinds.CUSTOMRESOURCEDEFINITION: crd.custom_resource_definition,
    kinds.TOKENREQUEST: config.token_request,
    kinds.SCALE: workloads.scale,
}


def builtin(resource: Resource, obj: Object, old: Object | None, errors: Errors) -> None:
    """Validate a built-in kind; `old` is None on create."""
    if function := _BUILTIN.get(resource):
        function(obj, old, errors)


_ISTIO = (kinds.ISTIO_NETWORKING, kinds.ISTIO_SECURITY, kinds.ISTIO_TELEMETRY)


def webhook(resource: Resource, obj: Object) -> None:
    """What a validating webhook of the mesh refuses. Raises StatusError."""
    if resource.group in _ISTIO:
        istio.validate(resource, obj)


def webhook_warnings(resource: Resource, obj: Object) -> list[str]:
    """What it tells the client of an object that it lets pass."""
    return warnings.warnings(resource.kind, obj) if resource.group in _ISTIO else []
