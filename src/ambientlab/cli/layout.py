"""Text laid out for a terminal, as explanations and findings have it.

Lines are at most `WIDTH` wide where words can be broken; commands are broken so that they can still be pasted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from ambientlab.cli.output import printable
from ambientlab.mesh.explain import Remedy, Unseen

WIDTH = 80
INDENT = "  "
NOT_SEEN = "Not seen"
"""The heading of `not_seen`."""


def page(parts: Iterable[Iterable[str]]) -> str:
    """Paragraphs of lines, with nothing that a terminal would obey."""
    return printable("\n\n".join("\n".join(part) for part in parts))


def to_paste(remedy: Remedy, indent: str = INDENT) -> Iterator[str]:
    yield from wrapped(f"# {remedy.purpose}", indent, f"{indent}# ")
    for command in remedy.commands:
        yield from broken(command, indent)


def not_seen(unseen: Iterable[Unseen]) -> Iterator[str]:
    by_reason: dict[str, list[Unseen]] = {}
    for one in unseen:
        by_reason.setdefault(one.why, []).append(one)
    for why, those in by_reason.items():
        yield from wrapped(f"{', '.join(dict.fromkeys(one.what for one in those))}: {why}", INDENT, f"{INDENT}  ")
        for command in dict.fromkeys(command for one in those for command in one.commands):
            yield from broken(command, f"{INDENT}  ")


def broken(command: str, indent: str) -> Iterator[str]:
    """A command on lines that a shell takes together: broken at spaces between words, or within a JSON text, where a
    line's end means nothing."""
    line = indent
    quoted = False
    for number, word in enumerate(command.split(" ")):
        end = "" if quoted else " \\"
        if number and len(line) + 1 + len(word) + len(end) > WIDTH and line.strip():
            yield line + end
            line = f"{indent}    {word}"
        else:
            line += f" {word}" if number else word
        quoted ^= word.count("'") % 2 == 1
    yield line


def sides(lead: str, left: str, right: str) -> Iterator[str]:
    """Both ends of a line, or of two where they do not fit on one."""
    room = WIDTH - len(lead) - len(left)
    if len(right) + 2 <= room:
        yield f"{lead}{left}{right.rjust(room)}".rstrip()
    else:
        yield f"{lead}{left}"
        yield right.rjust(WIDTH)


def wrapped(text: str, first: str, later: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if later is None else later,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
