"""docs/compatibility.md says what the code does. AMBIENTLAB_REFRESH_GOLDENS=1 writes it anew."""

from __future__ import annotations

import os

import pytest

from ambientlab.mesh.index.coverage import EXEMPTIONS
from support import compatibility

KINDS = {compatibility.name_of(crd): crd for crd in compatibility.kinds()}


def test_the_page_is_up_to_date() -> None:
    text = compatibility.page()
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        compatibility.PAGE.write_text(text)
    assert compatibility.PAGE.read_text() == text


@pytest.mark.parametrize("kind", sorted(EXEMPTIONS))
def test_exemptions_are_of_fields_there_are(kind: str) -> None:
    covered = (compatibility.exemption(kind, path) for path in compatibility.fields(KINDS[kind]))
    assert EXEMPTIONS[kind].keys() == {found[0] for found in covered if found is not None}


def test_every_honoured_field_has_a_golden() -> None:
    shown = compatibility.shown_in_goldens()
    missing = [
        f"{kind} {path}"
        for kind, crd in KINDS.items()
        for path in compatibility.fields(crd)
        if compatibility.exemption(kind, path) is None and path not in shown.get(kind, ())
    ]
    assert missing == []
