"""ConfigMaps, secrets, events and token requests (pkg/apis/core/validation, pkg/apis/authentication/validation)."""

from __future__ import annotations

from ambientlab.api.fielderrors import Errors, child, forbidden, invalid, key, required, too_long
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta

_SIZE_LIMIT = 1024 * 1024
_REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_MIN_TOKEN_SECONDS = 600


def config_map(obj: Object, old: Object | None, errors: Errors) -> None:
    text, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for field, values in (("data", text), ("binaryData", binary)):
        for name in values:
            meta.check(key(field, name), name, meta.config_key, errors)
    for name in text.keys() & binary.keys():
        errors.append(invalid(key("data", name), name, "duplicate of key present in binaryData"))
    size = sum(len(value.encode()) for value in text.values()) + sum(len(value) * 3 // 4 for value in binary.values())
    if size > _SIZE_LIMIT:
        errors.append(too_long("", _SIZE_LIMIT))
    _frozen(obj, old, ("data", "binaryData"), errors)


def secret(obj: Object, old: Object | None, errors: Errors) -> None:
    data = obj.get("data") or {}
    for name in data:
        meta.check(key("data", name), name, meta.config_key, errors)
    if sum(len(value) * 3 // 4 for value in data.values()) > _SIZE_LIMIT:
        errors.append(too_long("data", _SIZE_LIMIT))
    kind = obj.get("type") or ""
    for name in _REQUIRED_KEYS.get(kind, ()):
        if name not in data:
            errors.append(required(key("data", name)))
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        errors.append(required("data[username]"))
        errors.append(required("data[password]"))
    annotations = obj["metadata"].get("annotations") or {}
    if kind == "kubernetes.io/service-account-token" and not annotations.get(_ACCOUNT_NAME):
        errors.append(required(key("metadata.annotations", _ACCOUNT_NAME)))
    if old is not None and old.get("type") != kind:
        errors.append(invalid("type", kind, "field is immutable"))
    _frozen(obj, old, ("data",), errors)


def _frozen(obj: Object, old: Object | None, fields: tuple[str, ...], errors: Errors) -> None:
    if old is None or not old.get("immutable"):
        return
    if not obj.get("immutable"):
        errors.append(forbidden("immutable", "field is immutable when `immutable` is set"))
    for field in fields:
        if obj.get(field) != old.get(field):
            errors.append(forbidden(field, "field is immutable when `immutable` is set"))


def event(obj: Object, old: Object | None, errors: Errors) -> None:
    namespace = obj["metadata"].get("namespace")
    involved = (obj.get("involvedObject") or {}).get("namespace") or ""
    if involved != namespace and (involved or namespace != "default"):
        errors.append(invalid("involvedObject.namespace", involved, "does not match event.namespace"))


def token_request(obj: Object, old: Object | None, errors: Errors) -> None:
    where = child("spec", "expirationSeconds")
    seconds = (obj.get("spec") or {}).get("expirationSeconds", 0)
    if seconds < _MIN_TOKEN_SECONDS:
        errors.append(invalid(where, seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > 1 << 32:
        errors.append(invalid(where, seconds, "may not specify a duration larger than 2^32 seconds"))
