"""Names, labels, annotations and the rest of ObjectMeta: what holds for every kind.

Wording and rules: k8s.io/apimachinery/pkg/util/validation and pkg/api/validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ambientlab.api.fielderrors import Errors, child, forbidden, invalid, required, too_long
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS_1123_LABEL = re.compile(_LABEL)
_DNS_1123_SUBDOMAIN = re.compile(_SUBDOMAIN)
_DNS_1035_LABEL = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile("[-._a-zA-Z0-9]+")
_ANNOTATIONS_LIMIT = 256 * 1024

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DNS_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

Check = Callable[[str], list[str]]


def _length(text: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} bytes"] if len(text.encode()) > limit else []


def dns_label(text: str) -> list[str]:
    return _length(text, 63) + ([] if _DNS_1123_LABEL.fullmatch(text) else [_LABEL_TEXT])


def dns_subdomain(text: str) -> list[str]:
    return _length(text, 253) + ([] if _DNS_1123_SUBDOMAIN.fullmatch(text) else [_SUBDOMAIN_TEXT])


def dns_1035_label(text: str) -> list[str]:
    return _length(text, 63) + ([] if _DNS_1035_LABEL.fullmatch(text) else [_DNS_1035_TEXT])


def config_key(text: str) -> list[str]:
    problems = _length(text, 253)
    if not _CONFIG_KEY.fullmatch(text):
        problems.append(_CONFIG_KEY_TEXT)
    elif text == ".":
        problems.append("must not be '.'")
    elif text.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def path_segment(text: str) -> list[str]:
    """The least a name must satisfy: it is one segment of a URL path."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{one}'" for one in "/%" if one in text]


def qualified_name(text: str) -> list[str]:
    """Keys of labels and annotations: an optional DNS prefix, a slash, and a name."""
    prefix, slash, local = text.rpartition("/")
    if "/" in prefix:
        example = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {_QUALIFIED_TEXT}{example}"]
    problems: list[str] = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {problem}" for problem in dns_subdomain(prefix)]
    if not local:
        problems.append("name part must be non-empty")
    elif len(local) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(local):
        problems.append(f"name part {_QUALIFIED_TEXT}")
    return problems


def label_value(text: str) -> list[str]:
    problems = _length(text, 63)
    if text and not _QUALIFIED.fullmatch(text):
        problems.append(_LABEL_VALUE_TEXT)
    return problems


def check(path: str, value: str, rule: Check, errors: Errors) -> None:
    errors.extend(invalid(path, value, problem) for problem in rule(value))


def check_labels(value: dict[str, Any], path: str, errors: Errors) -> None:
    """Keys and values alike are reported at the map itself, not at the key (ValidateLabels)."""
    for name, text in value.items():
        check(path, name, qualified_name, errors)
        check(path, text, label_value, errors)


def check_annotations(value: dict[str, str], path: str, errors: Errors) -> None:
    for name in value:
        check(path, name.lower(), qualified_name, errors)
    if sum(len(name.encode()) + len(text.encode()) for name, text in value.items()) > _ANNOTATIONS_LIMIT:
        errors.append(too_long(path, _ANNOTATIONS_LIMIT))


_NAME_RULES: dict[str, Check] = {
    "services": dns_1035_label,
    "namespaces": dns_label,
    "roles.rbac.authorization.k8s.io": path_segment,
}
_GENERATED_TAIL = 5


def validate(resource: Resource, obj: Object, errors: Errors) -> None:
    """ObjectMeta of a new object. `metadata.name` must be there already: generateName is resolved before."""
    meta = obj.get("metadata") or {}
    path = "metadata"
    rule = _NAME_RULES.get(resource.group_resource, dns_subdomain)
    if generate := meta.get("generateName"):
        stem = f"{generate}{'a' * _GENERATED_TAIL}" if generate.endswith("-") else generate
        check(child(path, "generateName"), generate, lambda _: rule(stem), errors)
    name = meta.get("name")
    if not name:
        errors.append(required(child(path, "name"), "name or generateName is required"))
    else:
        check(child(path, "name"), name, rule, errors)
    if resource.namespaced:
        if not meta.get("namespace"):
            errors.append(required(child(path, "namespace")))
        else:
            check(child(path, "namespace"), meta["namespace"], dns_label, errors)
    elif meta.get("namespace"):
        errors.append(forbidden(child(path, "namespace"), "not allowed on this type"))
    _common(meta, path, errors)


def _common(meta: dict[str, Any], path: str, errors: Errors) -> None:
    check_labels(meta.get("labels") or {}, child(path, "labels"), errors)
    check_annotations(meta.get("annotations") or {}, child(path, "annotations"), errors)
    for one in meta.get("finalizers") or ():
        check(child(path, "finalizers"), one, qualified_name, errors)
    controllers: list[str] = []
    for owner in meta.get("ownerReferences") or ():
        where = child(path, "ownerReferences")
        for field, text in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(field):
                errors.append(invalid(child(where, field), owner.get(field, ""), f"{text} must not be empty"))
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        detail = f"Only one reference can have Controller set to true. Found {', '.join(controllers)}"
        errors.append(invalid(child(path, "ownerReferences"), meta["ownerReferences"], detail))


_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def validate_update(obj: Object, old: Object, errors: Errors) -> None:
    """What may not change, and what an update may not break. Absent server-set fields count as unchanged."""
    meta = obj.get("metadata") or {}
    before = old.get("metadata") or {}
    for name in _IMMUTABLE:
        if name in meta and meta[name] != before.get(name):
            errors.append(invalid(child("metadata", name), meta[name], "field is immutable"))
    _common(meta, "metadata", errors)


def selector(value: dict[str, Any], path: str, errors: Errors) -> None:
    """metav1.LabelSelector."""
    check_labels(value.get("matchLabels") or {}, child(path, "matchLabels"), errors)
    for index, one in enumerate(value.get("matchExpressions") or ()):
        where = f"{child(path, 'matchExpressions')}[{index}]"
        values = one.get("values") or []
        operator = one.get("operator", "")
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be specified when `operator` is 'In' or 'NotIn'"
                errors.append(required(child(where, "values"), detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden(child(where, "values"), detail))
        else:
            errors.append(invalid(child(where, "operator"), operator, "not a valid selector operator"))
        check(child(where, "key"), one.get("key", ""), qualified_name, errors)
        for at, text in enumerate(values):
            check(f"{child(where, 'values')}[{at}]", text, label_value, errors)
