"""Claims of storage."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.printers.columns import AGE, NAME, Column, Printer, age, wide

_UNSET = "<unset>"


def _claim(obj: Object, now: datetime) -> list[Any]:
    """Capacity and access modes are those of the volume, which no claim has here."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    phase = "Terminating" if meta.get("deletionTimestamp") else (obj.get("status") or {}).get("phase", "")
    return [
        meta["name"],
        phase,
        "",
        "",
        "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", _UNSET),
        age(obj, now),
        spec.get("volumeMode", _UNSET),
    ]


PERSISTENTVOLUMECLAIM = Printer(
    (
        NAME,
        Column("Status"),
        Column("Volume"),
        Column("Capacity"),
        Column("Access Modes"),
        Column("StorageClass"),
        Column("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ),
    _claim,
)
