"""Findings in istiod's log: a line for each when it comes up, and none while it stays."""

from __future__ import annotations

import logging

from ambientlab.flow.collection import Change
from ambientlab.mesh.index import Diagnostic, ObjectRef

log = logging.getLogger("ambientlab.istiod")


def announce(ref: ObjectRef, change: Change[tuple[Diagnostic, ...]]) -> None:
    for finding in change.new or ():
        if finding not in (change.old or ()):
            log.warning("%s: %s", ref, finding.text)
