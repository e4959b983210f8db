"""Findings in istiod's log: a line for each when it comes up, and none while it stays."""

from __future__ import annotations

import logging

from ambientlab.flow.collection import Change
from ambientlab.mesh.index import Diagnostic, ObjectRef

log = logging.getLogger("ambientlab.istiod")


_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), 127)}
"""What a user's text must not do to a log of lines."""


def announce(ref: ObjectRef, change: Change[tuple[Diagnostic, ...]]) -> None:
    for finding in change.new or ():
        if finding not in (change.old or ()):
            log.warning("%s: %s", ref, finding.text.translate(_ESCAPED))
