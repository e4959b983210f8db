"""Values of the mesh as plain data to read, as a person would write them: empty and absent things left out."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

from ambientlab.mesh.ir import Key


def plain(value: Any) -> Any:
    if isinstance(value, Key):
        return str(value)
    if is_dataclass(value):
        shown = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {name: v for name, v in shown.items() if v not in (None, "", 0, False, [], {})}
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
