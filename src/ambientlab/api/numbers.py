"""Numbers written as text, which are ASCII digits and no more of them than count, as Go's strconv reads them.

`int` takes digits of every script, spaces and underscores; `str.isdigit` also takes what `int` refuses, as it does more
than 4,300 digits.
"""

from __future__ import annotations

import re

INT64 = (1 << 63) - 1

_DIGITS = re.compile("[0-9]{1,19}")


def whole(text: str, most: int = INT64) -> int | None:
    """From 0 to `most`; None for any other text, and for more than 19 characters, be it that they begin with zeros."""
    number = int(text) if _DIGITS.fullmatch(text) else None
    return number if number is not None and number <= most else None


def signed(text: str) -> int | None:
    """The same with a sign or without, as ParseInt takes it."""
    number = whole(text.removeprefix("-" if text.startswith("-") else "+"))
    return -number if number is not None and text.startswith("-") else number
