"""What a request says about how it wants to be done, whoever it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.api.admit import FieldValidation
from ambientlab.api.client import Propagation

MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """authentication.k8s.io UserInfo. `extra` holds what a token is bound to."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Of create, update and patch. `manager` goes into managedFields; `force` is for server-side apply."""

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: FieldValidation = "Strict"
    force: bool = False


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions. Without `propagation` the object's own finalizers decide, else Background."""

    grace_seconds: int | None = None
    propagation: Propagation | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
