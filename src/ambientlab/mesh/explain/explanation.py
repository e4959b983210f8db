"""Why a request goes where it goes, as one value to render.

What becomes of the request is the `Decision`, which nothing here repeats. Around it stands what a person needs to
understand it: who asks and why them, which objects had a part in it, which were meant to and had none, and what to
type about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ambientlab.mesh.decide import Decision
from ambientlab.mesh.index import ObjectRef
from ambientlab.mesh.ir import Distribution, Endpoint, Key, Port


class Cause(StrEnum):
    """Why an object has no effect on a request, or not the one it asks for. Values are part of the documented JSON."""

    NO_WAYPOINT = "NoWaypoint"
    WAYPOINT_NOT_READY = "WaypointNotReady"
    WAYPOINT_REFUSES = "WaypointRefuses"
    CLIENT_SIDE = "ClientSideWaypoint"
    UNUSED_WAYPOINT = "UnusedWaypoint"
    NOT_CAPTURED = "ClientNotCaptured"
    WRONG_NAMESPACE = "WrongNamespace"
    NOT_EXPORTED = "NotExported"
    SHADOWED = "Shadowed"
    OTHER_PORT = "OtherPort"
    OTHER_HOST = "OtherHost"
    NOT_FOR_MESH = "NotForMesh"
    NEVER_MATCHES = "NeverMatches"
    NO_MATCH = "NoMatch"
    NEEDS_WAYPOINT = "SelectorWithL7"
    POD_NOT_CAPTURED = "PodNotCaptured"
    AMBIENT = "IgnoredInAmbient"
    NOT_BUILT = "NotBuilt"
    INVALID = "Invalid"
    MISSING_BACKEND = "MissingBackend"
    EMPTY_SUBSET = "EmptySubset"
    NO_ENDPOINT = "NoEndpoint"
    OUT_OF_REACH = "OutOfReach"
    WAYPOINT_IDENTITY = "WaypointIdentity"
    NO_EFFECT = "NoEffect"


BROKEN = frozenset(
    {Cause.MISSING_BACKEND, Cause.EMPTY_SUBSET, Cause.NO_ENDPOINT, Cause.OUT_OF_REACH, Cause.WAYPOINT_IDENTITY}
)
"""Those of what is in force and is not what anybody wants."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """Commands to paste, in order, and what they are for."""

    purpose: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that was meant to have a part in the request. `field` is what of it the finding is about, "" for all
    of it."""

    object: ObjectRef
    cause: Cause
    message: str
    field: str = ""
    remedies: tuple[Remedy, ...] = ()


class Place(StrEnum):
    """Which proxy an object is followed by."""

    WAYPOINT = "waypoint"
    ZTUNNEL = "ztunnel"


@dataclass(frozen=True, slots=True)
class Applied:
    """An object that has a part in the request, which, and at what: ztunnel is that of the pods at the end."""

    object: ObjectRef
    part: str
    place: Place


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks. `chosen` says why this one where nobody was named, `ztunnel` is the node proxy that takes its traffic,
    `outside` why none does."""

    key: Key | None
    chosen: str = ""
    ztunnel: Key | None = None
    outside: str = ""


@dataclass(frozen=True, slots=True)
class Callee:
    """What declares the name or the address asked for: None for what the cluster knows nothing of. `distribution` is
    which endpoints it prefers."""

    object: ObjectRef | None = None
    port: Port | None = None
    ports: tuple[Port, ...] = ()
    distribution: Distribution = Distribution.ANY


@dataclass(frozen=True, slots=True)
class WaypointChoice:
    """`asked` is the waypoint that a label of the object `by` asks for. `why` is in words why it is used or not."""

    asked: Key | None
    by: ObjectRef | None
    why: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """What could not be read, so that nothing is known of it, and what to type about it."""

    what: str
    why: str
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"not seen: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """`applied` is in the order of the way; `ignored` had no effect, `problems` have one that nobody wants. Nothing
    answers at the endpoints `beyond` the machine, whatever their share."""

    decision: Decision
    client: Client
    callee: Callee
    waypoint: WaypointChoice
    applied: tuple[Applied, ...]
    ignored: tuple[Finding, ...]
    problems: tuple[Finding, ...]
    unseen: tuple[Unseen, ...] = ()
    beyond: frozenset[Endpoint] = frozenset()

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """All that there are, each once, those of problems first."""
        return tuple(dict.fromkeys(r for found in (*self.problems, *self.ignored) for r in found.remedies))
