"""What a change of objects does to traffic, before it is made: the mesh as it is and as it is to be, and every kind of
request that goes another way.

    Change ── objects as they are and as they are to be; `mesh.foreseen` adds what controllers make of them
       ▼
    two states of the mesh ── `touched`: which services can differ, and for whom (`clients`)
       ▼
    probes ── for each of those, requests that stand for all others, from what both states ask of requests (`parts`)
       ▼
    Effect ── what `mesh.decide` says of each in both states, aspect by aspect (`aspects`, `differences`)

Pure. Nothing is decided here a second time, and nothing is sent.
"""

from __future__ import annotations

from ambientlab.mesh.plan.aspects import Aspect
from ambientlab.mesh.plan.clients import Clients
from ambientlab.mesh.plan.comparing import Comparison, Effect, Example, Fate, compare
from ambientlab.mesh.plan.denials import Connection, Denial, denials, denying
from ambientlab.mesh.plan.differences import Difference, Share
from ambientlab.mesh.plan.planning import Plan, plan, ref_of

__all__ = [
    "Aspect",
    "Clients",
    "Comparison",
    "Connection",
    "Denial",
    "Difference",
    "Effect",
    "Example",
    "Fate",
    "Plan",
    "Share",
    "compare",
    "denials",
    "denying",
    "plan",
    "ref_of",
]
