"""What the index has to say about the objects it read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.mesh.ir import Destination


class ObjectRef(NamedTuple):
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


ACCEPTED = "Accepted"
RESOLVED_REFS = "ResolvedRefs"
UNSUPPORTED = "Unsupported"
REFUSED = "Refused"
"""By a proxy, of what it was sent."""
RESOLVED_WAYPOINTS = "ResolvedWaypoints"
WAYPOINT_BOUND = "istio.io/WaypointBound"
FINDING = "ambientlab.io/Finding"
"""A condition of our own, for what Istio leaves unsaid: so it is on a cluster with Istio too."""
SEVERAL = "Several"
"""The reason of that for more than one finding."""
ELSEWHERE = "(another controller's)"
"""Instead of a condition: they are not for us to write."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A statement about one object.

    `condition` names the status condition it decides, with `reason` and `message` as Istio writes them; a diagnostic
    without one is a finding, which Istio leaves unsaid. `field` is the path of what it is about, `host` the service
    where it holds for that one alone, `destination` that of a route where it is about one, and `first` what comes
    before an object that is not heard for it.
    """

    object: ObjectRef
    reason: str
    message: str
    condition: str = ""
    field: str = ""
    host: str = ""
    destination: Destination | None = None
    first: tuple[ObjectRef, ...] = ()

    @property
    def text(self) -> str:
        """The message, with what it is about where it does not name that itself."""
        return self.message if not self.field or self.field in self.message else f"{self.field}: {self.message}"


def unsupported(ref: ObjectRef, field: str, consequence: str = "it has no effect here") -> Diagnostic:
    """A field that Istio honours and this mesh does not yet."""
    return Diagnostic(ref, UNSUPPORTED, f"{field} is not supported by ambientlab: {consequence}", field=field)


def ignored(ref: ObjectRef, field: str, why: str) -> Diagnostic:
    """A field or an object that Istio's ambient mode ignores too."""
    return Diagnostic(ref, "Ignored", why, field=field)
