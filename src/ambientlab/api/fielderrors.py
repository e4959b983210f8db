"""Which field is wrong, and how: worded as k8s.io/apimachinery/pkg/util/validation/field does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.resources import Resource

Kind = Literal[
    "FieldValueInvalid",
    "FieldValueTypeInvalid",
    "FieldValueRequired",
    "FieldValueNotSupported",
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueNotFound",
]


@dataclass(frozen=True, slots=True)
class FieldError:
    """`path` is as Kubernetes prints it (`spec.ports[0].port`), or `<nil>` for the object as a whole."""

    kind: Kind
    path: str
    body: str

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


Errors = list[FieldError]


def child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def key(path: str, name: str) -> str:
    return f"{path}[{name}]"


def quote(text: str) -> str:
    """Go's %q, near enough for what objects hold."""
    return orjson.dumps(text).decode()


def show(value: Any) -> str:
    """A value as field errors print it: strings quoted, scalars plain, the rest as JSON."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _body(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, _body(f"Invalid value: {show(value)}", detail))


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", path, _body(f"Invalid value: {show(value)}", detail))


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, _body("Required value", detail))


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> FieldError:
    values = ", ".join(show(one) for one in supported)
    return FieldError(
        "FieldValueNotSupported", path, _body(f"Unsupported value: {show(value)}", f"supported values: {values}")
    )


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, f"Duplicate value: {show(value)}")


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, f"Not found: {show(value)}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, _body("Forbidden", detail))


def too_long(path: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", path, f"Too long: may not be more than {limit} bytes")


def too_many(path: str, actual: int, limit: int) -> FieldError:
    items = "item" if limit == 1 else "items"
    return FieldError("FieldValueTooMany", path, f"Too many: {actual}: must have at most {limit} {items}")


def raise_invalid(resource: Resource, name: str, errors: Sequence[FieldError]) -> None:
    """Raise 422 Invalid for `errors`, with one cause each; without errors, return."""
    if not errors:
        return
    texts = list(dict.fromkeys(str(error) for error in errors))
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    raise StatusError(
        422,
        "Invalid",
        f"{kind} {quote(name)} is invalid: {message}",
        group=resource.group,
        kind=resource.kind,
        name=name,
        causes=tuple(Cause(error.kind, error.body, error.path) for error in errors),
    )
