"""Pages of docs/ that tests hold to what the commands say."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

_CONSOLE = re.compile(r"^```console\n(\$ [^\n]*\n)(.*?)^```", re.MULTILINE | re.DOTALL)


def rows(page: Path, section: str) -> list[str]:
    """The lines of tables in a section."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return [line for line in found[1].splitlines() if line.startswith("| ")]


def told(page: Path) -> set[str]:
    """The fields that a page names in its section about JSON."""
    return {name for row in rows(page, "JSON") for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}


def fields(documents: Iterable[Any], types: Collection[frozenset[str]] = (), whole: Collection[str] = ()) -> set[str]:
    """The paths of documents, down to objects of `types`, known by their fields, and to what is `whole`: these a page
    describes by themselves. What is null or empty in one document has fields in another."""
    found = {path for document in documents for path in _paths(document, types, whole, "")}
    return found - {path.rpartition(".")[0] for path in found}


def _paths(value: Any, types: Collection[frozenset[str]], whole: Collection[str], path: str) -> Iterator[str]:
    if isinstance(value, dict) and frozenset(value) not in types and path not in whole:
        for name, inner in value.items():
            yield from _paths(inner, types, whole, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and path not in whole:
        for inner in value:
            yield from _paths(inner, types, whole, f"{path}[]")
    else:
        yield path


def shows(page: Path, goldens: Path, names: tuple[str, ...]) -> None:
    """What its commands print, one after the other, is what is on file of those names."""
    printed = [(goldens / f"{name}.txt").read_text() for name in names]
    if os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"):
        fresh = iter(printed)
        page.write_text(_CONSOLE.sub(lambda match: f"```console\n{match[1]}{next(fresh)}```", page.read_text()))
    assert [text for _, text in _CONSOLE.findall(page.read_text())] == printed
