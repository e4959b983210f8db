"""Claims of storage (pkg/apis/core/validation, ValidatePersistentVolumeClaim)."""

from __future__ import annotations

from ambientlab.api.fielderrors import Errors, forbidden, invalid, key, not_supported, required
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, scalars

_ONE_POD = "ReadWriteOncePod"
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", _ONE_POD)
_SIZE = key("spec.resources", "storage")


def persistent_volume_claim(obj: Object, old: Object | None, errors: Errors) -> None:
    """What is claimed may not change: no claim here is ever bound."""
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(required("spec.accessModes", "at least 1 access mode is required"))
    errors += [not_supported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
    if _ONE_POD in modes and set(modes) & {*_MODES} != {_ONE_POD}:
        errors.append(forbidden("spec.accessModes", f"may not use {_ONE_POD} with other access modes"))
    if (selector := spec.get("selector")) is not None:
        meta.selector(selector, "spec.selector", errors)
    _size(((spec.get("resources") or {}).get("requests") or {}).get("storage"), errors)
    scalars.one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"), errors, needed=False)
    if old is not None and spec != (old.get("spec") or {}):
        unbound = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound"
        errors.append(forbidden("spec", f"{unbound} claims"))


def _size(text: str | None, errors: Errors) -> None:
    if text is None:
        errors.append(required(_SIZE))
    elif (size := scalars.quantity(text)) is None or size <= 0:
        errors.append(invalid(_SIZE, text, "must be greater than zero"))
