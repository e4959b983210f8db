"""Pages of docs/ that tests hold to what the commands say."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CONSOLE = re.compile(r"^```console\n(\$ [^\n]*\n)(.*?)^```", re.MULTILINE | re.DOTALL)


def rows(page: Path, section: str) -> list[str]:
    """The lines of tables in a section."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return [line for line in found[1].splitlines() if line.startswith("| ")]


def shows(page: Path, goldens: Path, names: tuple[str, ...]) -> None:
    """What its commands print, one after the other, is what is on file of those names."""
    printed = [(goldens / f"{name}.txt").read_text() for name in names]
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        fresh = iter(printed)
        page.write_text(_CONSOLE.sub(lambda match: f"```console\n{match[1]}{next(fresh)}```", page.read_text()))
    assert [text for _, text in _CONSOLE.findall(page.read_text())] == printed
