"""What happens to one request in this mesh, and why: from the IR alone, without sending it.

The expected split, an explanation and a plan are views of the one `Decision`. It is what real Envoys do with the
configuration `mesh.xds` makes of the same IR, which a property test holds it to.
"""

from __future__ import annotations

from ambientlab.mesh.decide.decision import (
    Answered,
    Decision,
    Delivered,
    Failed,
    Hop,
    Outcome,
    Passage,
    Reason,
    Result,
    Routing,
    Source,
    Target,
    Why,
    by_answer,
    by_label,
    by_workload,
)
from ambientlab.mesh.decide.headers import changed
from ambientlab.mesh.decide.hops import decide
from ambientlab.mesh.decide.matching import Candidate, Check
from ambientlab.mesh.decide.policy import Judged, Verdict
from ambientlab.mesh.decide.request import Request

__all__ = [
    "Answered",
    "Candidate",
    "Check",
    "Decision",
    "Delivered",
    "Failed",
    "Hop",
    "Judged",
    "Outcome",
    "Passage",
    "Reason",
    "Request",
    "Result",
    "Routing",
    "Source",
    "Target",
    "Verdict",
    "Why",
    "by_answer",
    "by_label",
    "by_workload",
    "changed",
    "decide",
]
