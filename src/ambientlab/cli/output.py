"""How the commands speak: steps and hints on stderr, data on stdout, colour only where a person looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import click

EXIT_FAILURE = 1
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in range(128, 160)}


def at_terminal(stream: TextIO | None) -> bool:
    """Python has None for a stream that was closed before it began."""
    return stream is not None and stream.isatty()


def _colour() -> bool:
    return at_terminal(sys.stderr) and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Text of objects and pods as a terminal shows it and does not obey it (k8s.io/cli-runtime, EscapeTerminal)."""
    return text.translate(_CONTROLS)


def talk(text: str, *, bold: bool = False, fg: str | None = None) -> None:
    text = printable(text)
    click.echo(click.style(text, bold=bold, fg=fg) if _colour() else text, err=True)


def step(text: str) -> None:
    tick = click.style("✓", fg="green") if _colour() else "✓"
    click.echo(f" {tick} {text}", err=True)


def fail(message: str, hints: Sequence[str] = (), code: int = EXIT_FAILURE) -> NoReturn:
    """One line that says what is wrong, then the next steps, then out."""
    talk(f"Error: {message}", fg="red")
    for hint in hints:
        talk(f"  → {hint}")
    raise SystemExit(code)


def json_text(value: Any) -> str:
    """Written so that no terminal obeys it: JSON itself asks for that of no more than the first controls."""
    import orjson

    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return text if text.isascii() else text.translate(_JSON_CONTROLS)


def json_out(value: Any) -> None:
    click.echo(json_text(value))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as kubectl prints them: upper-case heads, three spaces between, nothing after the last."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("   ".join(cells).rstrip())
