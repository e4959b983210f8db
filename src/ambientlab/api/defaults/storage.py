"""Defaults of claims."""

from __future__ import annotations

from ambientlab.api.objects import Object


def persistent_volume_claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
