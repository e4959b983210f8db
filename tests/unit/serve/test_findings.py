from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from ambientlab.flow.collection import Change
from ambientlab.mesh.index import Diagnostic, ObjectRef
from ambientlab.mesh.serve.findings import announce

REF = ObjectRef("Telemetry", "hello", "tags")


def finding(message: str) -> Diagnostic:
    return Diagnostic(REF, "Ignored", message)


def test_a_finding_is_said_once_and_again_when_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ambientlab.istiod")
    states = [None, (finding("one"),), (finding("one"), finding("two")), None, (finding("one"),)]
    for old, new in pairwise(states):
        announce(REF, Change(old, new))
    assert [record.getMessage() for record in caplog.records] == [
        "Telemetry hello/tags: one",
        "Telemetry hello/tags: two",
        "Telemetry hello/tags: one",
    ]


def test_what_a_user_wrote_is_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ambientlab.istiod")
    announce(REF, Change(None, (finding("a tag named a\nb\x1b[2J\x7fü"),)))
    assert caplog.messages == [r"Telemetry hello/tags: a tag named a\nb\x1b[2J\x7fü"]
