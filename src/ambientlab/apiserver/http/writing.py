"""From a request that writes to the verbs: bodies decoded, options read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from ambientlab.api import admit, kinds, parse
from ambientlab.api.admit import FieldValidation
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.validation.semantic import webhook_warnings
from ambientlab.apiserver import deletion, patching, refusals, subresources
from ambientlab.apiserver.http.selection import Selection
from ambientlab.apiserver.http.target import Target
from ambientlab.apiserver.options import DeleteOptions, WriteOptions
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Entry

_MAX_MANAGER = 128


@dataclass(frozen=True, slots=True)
class Outcome:
    """An object of the resource, or a body of another kind; `status` is the HTTP status."""

    status: int
    entry: Entry | None = None
    body: Object | None = None
    warnings: Sequence[str] = field(default_factory=tuple)
    entries: Sequence[Entry] | None = None


class Writer:
    def __init__(self, verbs: Verbs, signer: TokenSigner) -> None:
        self._verbs = verbs
        self._signer = signer

    async def create(self, request: web.Request, resource: Resource, target: Target) -> Outcome:
        if resource.namespaced and not target.namespace:
            raise refusals.bad_request("an empty namespace may not be set during creation")
        options = write_options(request)
        obj, warnings = await self._decoded(request, resource, options.field_validation)
        entry = await self._verbs.create(resource, target.namespace, obj, options)
        return _written(resource, target, entry, warnings, created=True)

    async def create_below(self, request: web.Request, target: Target) -> Outcome:
        """POST to a subresource."""
        where = target.namespace, target.name
        match target.subresource:
            case "token":
                body, warnings = await self._decoded(request, kinds.TOKENREQUEST, "Strict")
                token = subresources.create_token(self._verbs, self._signer, *where, body)
                return Outcome(201, body=token, warnings=warnings)
            case "eviction":
                body, warnings = await self._decoded(request, kinds.EVICTION, "Strict")
                return Outcome(201, body=await subresources.evict(self._verbs, *where, body), warnings=warnings)
        raise refusals.method_not_allowed()

    async def update(self, request: web.Request, resource: Resource, target: Target) -> Outcome:
        options = write_options(request)
        where = target.namespace, target.name
        if target.subresource == "scale":
            scale, warnings = await self._decoded(request, kinds.SCALE, options.field_validation)
            body = await subresources.update_scale(self._verbs, resource, *where, scale, options)
            return Outcome(200, body=body, warnings=warnings)
        obj, warnings = await self._decoded(request, resource, options.field_validation)
        entry = await self._verbs.update(resource, *where, obj, options, subresource=target.subresource)
        return _written(resource, target, entry, warnings)

    async def patch(self, request: web.Request, resource: Resource, target: Target) -> Outcome:
        options = write_options(request)
        media_type = request.content_type
        if media_type not in patching.accepted(resource):
            raise patching.unsupported(resource)
        where = target.namespace, target.name
        if media_type == patching.APPLY_PATCH:
            return await self._apply(request, resource, target, options)
        if "force" in request.query:
            raise _bad_option("force", "Forbidden: may not be specified for non-apply patch", "FieldValueForbidden")
        patch = parse.parse(await request.read(), media_type).value
        if target.subresource == "scale":
            scale = await subresources.patch_scale(self._verbs, resource, *where, media_type, patch, options)
            return Outcome(200, body=scale)
        entry, warnings = await self._verbs.patch(
            resource, *where, media_type, patch, options, subresource=target.subresource
        )
        return _written(resource, target, entry, warnings)

    async def _apply(self, request: web.Request, resource: Resource, target: Target, options: WriteOptions) -> Outcome:
        if not request.query.get("fieldManager"):
            raise _bad_option("fieldManager", "Required value: is required for apply patch", "FieldValueRequired")
        if target.subresource == "scale":
            raise patching.unsupported(resource)
        body = await request.read()
        config, warnings = admit.decode(
            self._verbs.registry, resource, body, "application/yaml", options.field_validation
        )
        entry, created = await self._verbs.apply(
            resource, target.namespace, target.name, config, options, subresource=target.subresource
        )
        return _written(resource, target, entry, warnings, created=created)

    async def delete(self, request: web.Request, resource: Resource, target: Target) -> Outcome:
        options = await self._delete_options(request)
        entry, gone = await deletion.delete(self._verbs, resource, target.namespace, target.name, options)
        if not gone or resource == kinds.POD:
            return Outcome(200, entry)
        details = {"name": target.name, "kind": resource.plural, "uid": entry.object["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        return Outcome(200, body=success(details))

    async def delete_collection(self, request: web.Request, resource: Resource, selection: Selection) -> Outcome:
        options = await self._delete_options(request)
        found = selection.of(self._verbs.store.list(self._verbs.collection(resource), selection.namespace))
        return Outcome(200, entries=await deletion.delete_all(self._verbs, resource, found, options))

    async def _delete_options(self, request: web.Request) -> DeleteOptions:
        body: Object = {}
        if await request.read():
            body, _ = await self._decoded(request, kinds.DELETEOPTIONS, "Ignore")
        query = {key: value for key, value in request.query.items() if key in _DELETE_QUERY}
        return subresources.delete_options(body, query)

    async def _decoded(
        self, request: web.Request, resource: Resource, validation: FieldValidation
    ) -> tuple[Object, list[str]]:
        content_type = request.headers.get("Content-Type", "application/json")
        return admit.decode(self._verbs.registry, resource, await request.read(), content_type, validation)


def _written(
    resource: Resource, target: Target, entry: Entry, warnings: Sequence[str], *, created: bool = False
) -> Outcome:
    """With `warnings` of decoding and those of webhooks, which see no subresources."""
    told = [] if target.subresource else webhook_warnings(resource, entry.object)
    return Outcome(201 if created else 200, entry, warnings=[*warnings, *told])


_DELETE_QUERY = frozenset({"gracePeriodSeconds", "propagationPolicy", "orphanDependents", "dryRun"})


def success(details: Object | None = None) -> Object:
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**status, "details": details} if details else status


def write_options(request: web.Request) -> WriteOptions:
    """The query's options. Raises 400, 422 for values that are none."""
    query = request.query
    dry_run = query.getall("dryRun", [])
    if dry_run not in ([], ["All"]):
        raise _bad_option(
            "dryRun", f'Unsupported value: "{dry_run[0]}": supported values: "All"', "FieldValueNotSupported"
        )
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "").partition("/")[0] or "unknown"
    if len(manager) > _MAX_MANAGER:
        raise _bad_option("fieldManager", "Too long: may not be more than 128 bytes", "FieldValueTooLong")
    validation: FieldValidation
    match query.get("fieldValidation", ""):
        case "" | "Warn":
            validation = "Warn"
        case "Strict":
            validation = "Strict"
        case "Ignore":
            validation = "Ignore"
        case other:
            text = f'Unsupported value: "{other}": supported values: "Ignore", "Strict", "Warn"'
            raise _bad_option("fieldValidation", text, "FieldValueNotSupported")
    return WriteOptions(manager, bool(dry_run), validation, query.get("force") in ("true", "1"))


def _bad_option(name: str, message: str, reason: str) -> StatusError:
    cause = Cause(reason, message, name)
    return StatusError(
        422,
        "Invalid",
        f'PatchOptions.meta.k8s.io "" is invalid: {name}: {message}',
        group="meta.k8s.io",
        kind="PatchOptions",
        causes=(cause,),
    )
