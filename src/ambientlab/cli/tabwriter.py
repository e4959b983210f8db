"""Columns as Go's text/tabwriter lays them out, in which istioctl prints."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ambientlab.cli.output import printable

PADDING = 5
"""Of most of istioctl's tables."""


def columns(rows: Sequence[Sequence[str]], padding: int = PADDING) -> None:
    """Each as wide as its widest cell and the padding; what follows the last tab of a line is not padded."""
    widths = [max(map(len, column)) + padding for column in zip(*(row[:-1] for row in rows), strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo(printable("".join(cells) + row[-1]))
