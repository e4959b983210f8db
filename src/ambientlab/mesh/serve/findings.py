"""Findings in istiod's log: a line for each when it comes up, and none while it stays."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ambientlab.mesh.index import Diagnostic, ObjectRef

log = logging.getLogger("ambientlab.istiod")


class Announcer:
    def __init__(self) -> None:
        self._said: Mapping[ObjectRef, tuple[Diagnostic, ...]] = {}

    def update(self, findings: Mapping[ObjectRef, tuple[Diagnostic, ...]]) -> None:
        for ref, found in findings.items():
            before = self._said.get(ref, ())
            if found != before:
                for finding in found:
                    if finding not in before:
                        log.warning("%s: %s", ref, finding.text)
        self._said = findings
