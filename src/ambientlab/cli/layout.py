"""Text laid out for a terminal, as explanations and findings have it.

Lines are at most `WIDTH` wide where words can be broken; commands are broken so that they can still be pasted.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator

from ambientlab.cli.output import printable
from ambientlab.mesh.explain import Remedy, Unseen

WIDTH = 80
INDENT = "  "
NOT_SEEN = "Not seen"
"""The heading of `not_seen`."""
_CONTINUED = " \\"
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+""")
_APOSTROPHE = """'"'"'"""
"""Within what a shell takes as it is."""
_BETWEEN_VALUES = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^" ])+')


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


def located(field: str, message: str) -> str:
    """A message with the field it is about, unless it says so itself."""
    return f"{field}: {message}" if field and field not in message else message


def broken(command: str, indent: str) -> Iterator[str]:
    """A command on lines that a shell takes together: broken between its words, or within one that is a JSON text,
    where a line's end means nothing between values."""
    line = indent
    end = ""
    for word in _WORD.findall(command):
        *pieces, last = _pieces(word)
        for piece, after in (*((each, "") for each in pieces), (last, _CONTINUED)):
            if line.strip() and len(line) + 1 + len(piece) + len(after) > WIDTH:
                yield line + end
                line = f"{indent}    {piece}"
            else:
                line += f" {piece}" if line.strip() else piece
            end = after
    yield line


def _pieces(word: str) -> list[str]:
    """Of a word of a shell, the parts of the JSON that it is, or it as it is."""
    try:
        value = json.loads(*shlex.split(word))
    except ValueError:
        return [word]
    if not isinstance(value, dict | list):
        return [word]
    parts = _BETWEEN_VALUES.findall(word.replace(_APOSTROPHE, "\0"))
    return [part.replace("\0", _APOSTROPHE) for part in parts]


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
