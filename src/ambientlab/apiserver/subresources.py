"""Subresources that speak a kind of their own: scale, token, eviction."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from ambientlab.api import admit, kinds
from ambientlab.api.client import Propagation
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.numbers import signed
from ambientlab.api.objects import Object, copy, name, timestamp
from ambientlab.api.resources import Resource
from ambientlab.apiserver import deletion, patching, refusals, strategy
from ambientlab.apiserver.options import DeleteOptions, WriteOptions
from ambientlab.apiserver.tokens import API_AUDIENCE, Claims, TokenSigner
from ambientlab.apiserver.verbs import Verbs

MIN_TOKEN_SECONDS = 600
MAX_TOKEN_SECONDS = 1 << 32
_DEFAULT_TOKEN_SECONDS = 3600
_PROPAGATIONS: dict[str, Propagation] = {"Background": "Background", "Foreground": "Foreground", "Orphan": "Orphan"}


def get_scale(verbs: Verbs, resource: Resource, namespace: str, object_name: str) -> Object:
    return _scale_of(verbs, resource, verbs.get(resource, namespace, object_name).object)


async def update_scale(
    verbs: Verbs, resource: Resource, namespace: str, object_name: str, scale: Object, options: WriteOptions
) -> Object:
    """Set what a Scale says of replicas; a resourceVersion in it must be current."""
    current = verbs.latest(resource, namespace, object_name).object
    wanted = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(wanted, int) or wanted < 0:
        message = f"Invalid value: {wanted}: must be greater than or equal to 0"
        raise refusals.invalid(kinds.SCALE, object_name, Cause("FieldValueInvalid", message, "spec.replicas"))
    obj = copy(current)
    _set(obj, _paths(verbs, resource)["specReplicasPath"], wanted)
    given = scale.get("metadata") or {}
    if given.get("resourceVersion"):
        obj["metadata"]["resourceVersion"] = given["resourceVersion"]
    if given.get("uid"):
        obj["metadata"]["uid"] = given["uid"]
    entry = await verbs.update(resource, namespace, object_name, obj, options, subresource="scale")
    return _scale_of(verbs, resource, entry.object)


async def patch_scale(
    verbs: Verbs,
    resource: Resource,
    namespace: str,
    object_name: str,
    media_type: str,
    patch: Any,
    options: WriteOptions,
) -> Object:
    current = _scale_of(verbs, resource, verbs.latest(resource, namespace, object_name).object)
    wanted = patching.patched(kinds.SCALE, media_type, current, patch, verbs.registry.schema(kinds.SCALE))
    scale, _ = admit.conform(verbs.registry, kinds.SCALE, wanted, options.field_validation)
    return await update_scale(verbs, resource, namespace, object_name, scale, options)


def _paths(verbs: Verbs, resource: Resource) -> dict[str, str]:
    crd = verbs.registry.entry(resource).crd
    if crd is None:
        return {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = next(one for one in crd["spec"]["versions"] if one["name"] == resource.version)
    paths: dict[str, str] = version["subresources"]["scale"]
    return paths


def _scale_of(verbs: Verbs, resource: Resource, obj: Object) -> Object:
    paths = _paths(verbs, resource)
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    status: dict[str, Any] = {"replicas": _get(obj, paths["statusReplicasPath"]) or 0}
    if "labelSelectorPath" in paths:
        status["selector"] = _get(obj, paths["labelSelectorPath"]) or ""
    elif not strategy.is_custom(resource):
        status["selector"] = selector_text(obj["spec"].get("selector") or {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": _get(obj, paths["specReplicasPath"]) or 0},
        "status": status,
    }


def selector_text(selector: Object) -> str:
    """A LabelSelector in its string form."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        match one["operator"]:
            case "Exists":
                terms.append(one["key"])
            case "DoesNotExist":
                terms.append("!" + one["key"])
            case operator:
                terms.append(f"{one['key']} {operator.lower()} ({','.join(sorted(one.get('values') or ()))})")
    return ",".join(terms)


def _get(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _set(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def create_token(
    verbs: Verbs, signer: TokenSigner, namespace: str, account_name: str, request: Object, now: float | None = None
) -> Object:
    """TokenRequest: a token for a service account, bound to a pod if the request says so."""
    account = verbs.get(kinds.SERVICEACCOUNT, namespace, account_name).object
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds") or _DEFAULT_TOKEN_SECONDS
    if not MIN_TOKEN_SECONDS <= seconds <= MAX_TOKEN_SECONDS:
        limit = (
            "may not specify a duration less than 10 minutes"
            if seconds < MIN_TOKEN_SECONDS
            else "may not specify a duration larger than 2^32 seconds"
        )
        cause = Cause("FieldValueInvalid", f"Invalid value: {seconds}: {limit}", "spec.expirationSeconds")
        raise refusals.invalid(kinds.TOKENREQUEST, "", cause)
    pod, pod_uid = _bound_pod(verbs, namespace, account_name, spec.get("boundObjectRef") or {})
    issued = int(time.time() if now is None else now)
    audiences = tuple(spec.get("audiences") or (API_AUDIENCE,))
    claims = Claims(namespace, account_name, account["metadata"]["uid"], audiences, issued + seconds, pod, pod_uid)
    expires = timestamp(datetime.fromtimestamp(claims.expires, UTC))
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": account_name, "namespace": namespace, "creationTimestamp": verbs.now()},
        "spec": {**spec, "audiences": list(audiences), "expirationSeconds": seconds},
        "status": {"token": signer.sign(claims, issued), "expirationTimestamp": expires},
    }


def _bound_pod(verbs: Verbs, namespace: str, account: str, reference: Object) -> tuple[str, str]:
    if not reference:
        return "", ""
    if reference.get("kind") != "Pod" or reference.get("apiVersion") != "v1":
        raise refusals.bad_request(f"cannot bind token for serviceaccount {account!r} to a type other than Pod")
    pod = verbs.get(kinds.POD, namespace, reference.get("name", "")).object
    if pod["spec"].get("serviceAccountName") != account:
        text = f"cannot bind token for serviceaccount {account!r} to pod running with different serviceaccount name."
        raise refusals.bad_request(text)
    if reference.get("uid") and reference["uid"] != pod["metadata"]["uid"]:
        why = (
            f"the UID in the bound object reference ({reference['uid']}) "
            f"does not match the UID in record. The object might have been deleted and then recreated"
        )
        raise refusals.conflict(kinds.POD, name(pod), why)
    return name(pod), pod["metadata"]["uid"]


async def evict(verbs: Verbs, namespace: str, pod_name: str, eviction: Object) -> Object:
    """Eviction is deletion: there are no PodDisruptionBudgets here to ask."""
    given = (eviction.get("metadata") or {}).get("name")
    if given and given != pod_name:
        raise refusals.bad_request(f"name in URL does not match name in Eviction object: {pod_name} vs {given}")
    options = delete_options(eviction.get("deleteOptions") or {})
    await deletion.delete(verbs, kinds.POD, namespace, pod_name, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def delete_options(body: Object, query: Object | None = None) -> DeleteOptions:
    """metav1.DeleteOptions from a body, or from the query where the body does not say. Raises 400, 422."""
    source = {**(query or {}), **body}
    grace, propagation = source.get("gracePeriodSeconds"), source.get("propagationPolicy")
    if isinstance(grace, str):
        text, grace = grace, signed(grace)
        if grace is None:
            raise refusals.bad_request(f"invalid gracePeriodSeconds: {text[:40]}")
    if grace is not None and not isinstance(grace, int):
        raise refusals.bad_request("gracePeriodSeconds must be a number")
    if propagation is not None and propagation not in _PROPAGATIONS:
        message = f'Unsupported value: "{propagation}": supported values: "Background", "Foreground", "Orphan"'
        cause = Cause("FieldValueNotSupported", message, "propagationPolicy")
        raise StatusError(
            422, "Invalid", f'DeleteOptions.meta.k8s.io "" is invalid: {cause.field}: {message}', causes=(cause,)
        )
    if propagation is None and source.get("orphanDependents") in (True, "true"):
        propagation = "Orphan"
    preconditions = source.get("preconditions") or {}
    return DeleteOptions(
        grace_seconds=grace,
        propagation=_PROPAGATIONS[propagation] if propagation else None,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=bool(source.get("dryRun")),
    )
