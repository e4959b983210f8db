"""What to type about a finding where `mesh.explain.remedies` has nothing for it: every finding offers something."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import ObjectRef

_STEP = re.compile(r"\[(?P<item>[^]]*)\]|\{(?P<entry>[^}]*)\}|(?P<name>[^.[{]+)")


def pointer(field: str) -> str:
    """`spec.http[0].match[1].name` as a JSON pointer."""
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps(field))


def steps(field: str) -> Iterator[str]:
    """`metadata.labels[istio.io/use-waypoint]` -> metadata, labels, istio.io/use-waypoint."""
    return (found[str(found.lastgroup)] for found in _STEP.finditer(field))


def edit(ref: ObjectRef, field: str = "") -> Remedy:
    what = f"{field} of {ref}" if field else str(ref)
    return Remedy(f"change {what}", (remedies.line("kubectl", "edit", *remedies.where(ref)),))


def without(ref: ObjectRef, field: str = "") -> Remedy:
    """Take away what has no effect anyway: a field, or all of the object."""
    if field in ("", "spec"):
        return Remedy(f"take away {ref}", (remedies.delete(ref),))
    return Remedy(f"take away {field} of {ref}", (remedies.patch(ref, ("remove", pointer(field), None)),))


def look(ref: ObjectRef) -> Remedy:
    return Remedy(f"see {ref}", (remedies.look(ref),))
