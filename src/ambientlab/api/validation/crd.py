"""CustomResourceDefinitions: names, versions, and a schema that this server can serve (apiextensions/validation)."""

from __future__ import annotations

from ambientlab import re2
from ambientlab.api import cel, jsonpath
from ambientlab.api.fielderrors import Errors, child, invalid, key, not_supported, required
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, structural

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def custom_resource_definition(obj: Object, old: Object | None, errors: Errors) -> None:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    group, plural = spec.get("group") or "", names.get("plural") or ""
    name = obj["metadata"].get("name")
    if name != f"{plural}.{group}":
        errors.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not group:
        errors.append(required("spec.group"))
    else:
        meta.check("spec.group", group, meta.dns_subdomain, errors)
        if "." not in group:
            errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope")
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    _names(names, errors)
    _versions(spec.get("versions") or [], errors)
    if (strategy := (spec.get("conversion") or {}).get("strategy")) != "None":
        # Conversion webhooks exist in Kubernetes; nothing here would call one.
        errors.append(not_supported("spec.conversion.strategy", strategy or "", ("None",)))
    if old is not None:
        _unchanged(spec, old["spec"], errors)


def _names(names: Object, errors: Errors) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        where = child("spec.names", field)
        if not names.get(field):
            errors.append(required(where))
        else:
            meta.check(where, names[field].lower(), meta.dns_1035_label, errors)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        errors.append(invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    for index, one in enumerate(names.get("shortNames") or ()):
        meta.check(f"spec.names.shortNames[{index}]", one, meta.dns_1035_label, errors)


def _versions(versions: list[Object], errors: Errors) -> None:
    seen: set[str] = set()
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        name = version.get("name") or ""
        meta.check(child(where, "name"), name, meta.dns_1035_label, errors)
        if name in seen:
            errors.append(invalid(child(where, "name"), name, "must be unique"))
        seen.add(name)
        _columns(version.get("additionalPrinterColumns") or [], child(where, "additionalPrinterColumns"), errors)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        here = child(where, "schema.openAPIV3Schema")
        if schema is None:
            errors.append(required(here, "schemas are required"))
            continue
        if schema.get("type") != "object":
            text = schema.get("type") or ""
            errors.append(invalid(child(here, "type"), text, "must be object at the root"))
        _schema(schema, here, errors)
    if sum(1 for version in versions if version.get("storage")) != 1:
        listed = [version.get("name") for version in versions]
        errors.append(invalid("spec.versions", listed, "must have exactly one version marked as storage version"))


def _columns(columns: list[Object], path: str, errors: Errors) -> None:
    for index, column in enumerate(columns):
        where = f"{path}[{index}]"
        for field in ("name", "type", "jsonPath"):
            if not column.get(field):
                errors.append(required(child(where, field)))
        if (kind := column.get("type")) and kind not in _COLUMN_TYPES:
            errors.append(not_supported(child(where, "type"), kind, _COLUMN_TYPES))
        try:
            jsonpath.compile_path(column.get("jsonPath") or ".")
        except jsonpath.PathError as error:
            errors.append(invalid(child(where, "jsonPath"), column["jsonPath"], str(error)))


def _schema(schema: Object, path: str, errors: Errors, *, junctor: bool = False) -> None:
    """Structural, and with patterns and rules that compile. Inside allOf and its like, types come from outside."""
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not free and not junctor:
        errors.append(required(child(path, "type"), "must not be empty for specified object fields"))
    elif kind is not None and kind not in _TYPES:
        errors.append(not_supported(child(path, "type"), kind, _TYPES))
    if kind == "array" and "items" not in schema and not junctor:
        errors.append(required(child(path, "items"), "must be specified"))
    _compiles(schema, path, errors)
    for name, inner in (schema.get("properties") or {}).items():
        _schema(inner, key(child(path, "properties"), name), errors, junctor=junctor)
    for field in ("items", "additionalProperties", "not"):
        if isinstance(inner := schema.get(field), dict):
            _schema(inner, child(path, field), errors, junctor=junctor or field == "not")
    for field in ("allOf", "anyOf", "oneOf"):
        for index, inner in enumerate(schema.get(field) or ()):
            _schema(inner, f"{child(path, field)}[{index}]", errors, junctor=True)


def _compiles(schema: Object, path: str, errors: Errors) -> None:
    if pattern := schema.get("pattern"):
        try:
            structural.check_pattern(pattern)
        except re2.ExpressionError as error:
            errors.append(
                invalid(child(path, "pattern"), pattern, f"must be a valid regular expression, but isn't: {error}")
            )
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = child(f"{child(path, 'x-kubernetes-validations')}[{index}]", "rule")
        text = rule.get("rule") or ""
        if not text.strip():
            errors.append(required(where, "rule is not specified"))
            continue
        try:
            cel.compile_rule(text)
        except cel.CelError as error:
            errors.append(invalid(where, rule, f"compilation failed: {error}"))


def _unchanged(spec: Object, old: Object, errors: Errors) -> None:
    for path, after, before in (
        ("spec.group", spec.get("group"), old.get("group")),
        ("spec.scope", spec.get("scope"), old.get("scope")),
        ("spec.names.kind", (spec.get("names") or {}).get("kind"), old["names"].get("kind")),
        ("spec.names.plural", (spec.get("names") or {}).get("plural"), old["names"].get("plural")),
    ):
        if after != before:
            errors.append(invalid(path, after, "field is immutable"))
