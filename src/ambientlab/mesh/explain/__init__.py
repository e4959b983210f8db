"""Why a request goes where it goes: what `mesh.decide` says of it, and what of the objects around it has no part in it.

Pure: objects that are indexed and a question in, an `Explanation` out. Nothing is decided here a second time.
"""

from __future__ import annotations

from ambientlab.mesh.explain.asking import (
    AskedError,
    NoNamespaceError,
    UnknownError,
    check_namespace,
    request,
)
from ambientlab.mesh.explain.clients import Asker, anybody, named
from ambientlab.mesh.explain.explaining import aimed, explain
from ambientlab.mesh.explain.explanation import (
    Applied,
    Callee,
    Cause,
    Client,
    Explanation,
    Finding,
    Place,
    Remedy,
    Unseen,
    WaypointChoice,
)

__all__ = [
    "Applied",
    "AskedError",
    "Asker",
    "Callee",
    "Cause",
    "Client",
    "Explanation",
    "Finding",
    "NoNamespaceError",
    "Place",
    "Remedy",
    "UnknownError",
    "Unseen",
    "WaypointChoice",
    "aimed",
    "anybody",
    "check_namespace",
    "explain",
    "named",
    "request",
]
