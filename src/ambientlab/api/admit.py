"""From a request body to an object fit to store: decode, default, validate.

    obj, warnings = decode(registry, resource, body, content_type, "Strict")   # or conform() for an object in hand
    default(registry, resource, obj)
    validate_create(registry, resource, obj)          # or validate_update(registry, resource, obj, old)

Each step raises `StatusError` with the text, reason and causes of a kube-apiserver. Nothing here knows who asks:
names, uids, resource versions, generation and status belong to the verbs.
"""

from __future__ import annotations

from typing import Any, Literal

from ambientlab.api import defaults, definitions, parse, pruning, schema, typed
from ambientlab.api.errors import StatusError
from ambientlab.api.fielderrors import Errors, quote, raise_invalid
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.api.validation import meta, rules, semantic, structural

FieldValidation = Literal["Strict", "Warn", "Ignore"]
_MAX_WARNINGS = 100
_MAX_DEPTH = 220


def decode(
    registry: Registry,
    resource: Resource,
    body: bytes,
    content_type: str,
    field_validation: FieldValidation = "Strict",
) -> tuple[Object, list[str]]:
    """Parse JSON, YAML or Kubernetes protobuf into an object of `resource`, with warnings for the client.

    Unknown fields are dropped, as typed decoding does (and pruning, for CRs). An empty apiVersion/kind is filled in.
    Raises 400 (not the right kind, unknown or duplicate fields if Strict, wrong types of core kinds), 415.
    """
    try:
        parsed = parse.parse(body, content_type, find_duplicates=field_validation != "Ignore")
    except StatusError as error:
        if error.code == 400 and error.message.startswith("couldn't"):
            error.message = f"the object provided is unrecognized (must be of type {resource.kind}): {error.message}"
        raise
    return _conform(registry, resource, parsed.value, field_validation, parsed.duplicates, body)


def conform(
    registry: Registry, resource: Resource, obj: Any, field_validation: FieldValidation = "Strict"
) -> tuple[Object, list[str]]:
    """What `decode` does after parsing: for an object that is the result of a patch or comes from this process.

    The result shares nothing with `obj` that defaulting would write to.
    """
    return _conform(registry, resource, obj, field_validation, [], b"")


def _conform(
    registry: Registry,
    resource: Resource,
    value: Any,
    field_validation: FieldValidation,
    duplicates: list[str],
    body: bytes,
) -> tuple[Object, list[str]]:
    if not isinstance(value, dict):
        detail = f"json: cannot unmarshal {structural.type_name(value)} into Go value of type {resource.kind}"
        raise _bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; "
            f"json parse error: {detail} ({parse.summary(body)})"
        )
    api_version, kind = _identify(registry, resource, value)
    entry = registry.entry(resource)
    try:
        if entry.raw_schema is None:
            obj, reading = typed.read(entry.schema, value)
            unknown, error = reading.unknown, reading.error
        else:
            _check_depth(value)
            obj, unknown, error = _custom(entry.schema, value)
    except RecursionError:
        raise _bad_request(f"{kind} is nested too deeply") from None
    prefix = f"{kind} in version {quote(api_version.rpartition('/')[2])} cannot be handled as a {resource.kind}"
    if error:
        raise _bad_request(f"{prefix}: {error}")
    problems = [*duplicates, *(f"unknown field {quote(path)}" for path in unknown)][:_MAX_WARNINGS]
    if problems and field_validation == "Strict":
        raise _bad_request(f"{prefix}: strict decoding error: {', '.join(problems)}")
    obj["apiVersion"], obj["kind"] = api_version, kind
    if not isinstance(obj.get("metadata"), dict) and resource.kind != "DeleteOptions":
        obj["metadata"] = {}
    return obj, problems if field_validation == "Warn" else []


def _check_depth(value: Any) -> None:
    """Raises RecursionError for what could not be encoded again: orjson writes no more than 254 levels, and events,
    Tables and managed fields add some. Kinds with types of their own end earlier."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        if not level:
            return
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    raise RecursionError


def _identify(registry: Registry, resource: Resource, value: Object) -> tuple[str, str]:
    """apiVersion and kind of a body, which must be those of `resource`; absent ones are those of `resource`."""
    api_version = value.get("apiVersion") or resource.api_version
    kind = value.get("kind") or resource.kind
    for name, one in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(one, str):
            raise _bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; "
                f"json parse error: json: cannot unmarshal {structural.type_name(one)} into field {name} of type string"
            )
    if resource.kind == "DeleteOptions" and kind == resource.kind:
        return api_version, kind  # registered in every group
    if api_version != resource.api_version:
        raise _bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if kind != resource.kind:
        version = quote(resource.version)
        detail = f"no kind {quote(kind)} is registered for version {quote(api_version)}"
        if registry.find_kind(api_version, kind):
            group = resource.group.partition(".")[0] or "core"
            detail = f"converting ({resource.version}.{kind}) to ({group}.{resource.kind}): unknown conversion"
        raise _bad_request(f"{kind} in version {version} cannot be handled as a {resource.kind}: {detail}")
    return api_version, kind


def _custom(node: schema.Node, value: Object) -> tuple[Object, list[str], str]:
    """A custom resource: pruned by its schema, its metadata read as the typed thing it is."""
    obj, unknown = pruning.prune(node, value)
    error = ""
    if "metadata" in obj:
        metadata, reading = typed.read(schema.core(definitions.OBJECT_META), obj["metadata"], "metadata")
        obj["metadata"] = metadata
        unknown = reading.unknown + unknown
        error = reading.error
    return obj, unknown, error


def default(registry: Registry, resource: Resource, obj: Object) -> None:
    """Fill in Kubernetes' defaults, in place."""
    entry = registry.entry(resource)
    if entry.raw_schema is None:
        defaults.apply(resource, obj)
    else:
        pruning.default(entry.schema, obj)


def validate_create(registry: Registry, resource: Resource, obj: Object) -> None:
    """Raises 422 Invalid with one cause per problem (400 where Istio's webhook refuses)."""
    errors: Errors = []
    meta.validate(resource, obj, errors)
    _specific(registry, resource, obj, None, errors)


def validate_update(registry: Registry, resource: Resource, obj: Object, old: Object, *, subresource: str = "") -> None:
    """As `validate_create`, and what may not change; CEL transition rules see `old` as oldSelf."""
    errors: Errors = []
    meta.validate(resource, obj, errors)
    meta.validate_update(obj, old, errors)
    if subresource == "status" and registry.entry(resource).raw_schema is None:
        raise_invalid(resource, _name(obj), errors)
        return
    _specific(registry, resource, obj, old, errors)


def _specific(registry: Registry, resource: Resource, obj: Object, old: Object | None, errors: Errors) -> None:
    entry = registry.entry(resource)
    if entry.raw_schema is None:
        semantic.builtin(resource, obj, old, errors)
        raise_invalid(resource, _name(obj), errors)
        return
    errors.extend(structural.validate(entry.schema, obj, old))
    if not structural.blocks_rules(errors):
        errors.extend(rules.validate(entry.schema, obj, old))
    raise_invalid(resource, _name(obj), errors)
    semantic.webhook(resource, obj)


def _name(obj: Object) -> str:
    name: str = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
    return name


def _bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)
