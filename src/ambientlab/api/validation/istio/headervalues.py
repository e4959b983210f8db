"""Values of headers that routes set: literal text, `%%` for a percent sign, and variables such as `%START_TIME%` or
`%DYNAMIC_METADATA(["a", "b"])%` (header_value_validator.go, validateHeaderValue)."""

from __future__ import annotations

import re
from enum import Enum, auto

from ambientlab.api.validation.istio.common import Messages

_CHARACTERS = re.compile("[^\x00-\x08\x0a-\x1f\x7f]*")


class _State(Enum):
    LITERAL = auto()
    NAME = auto()
    ARGUMENTS = auto()
    STRING_START = auto()
    STRING = auto()
    STRING_END = auto()
    ARGUMENTS_END = auto()
    END = auto()


_NEXT = {
    _State.NAME: {"%": _State.LITERAL, "(": _State.ARGUMENTS},
    _State.ARGUMENTS: {"[": _State.STRING_START, " ": _State.ARGUMENTS},
    _State.STRING_START: {'"': _State.STRING, " ": _State.STRING_START},
    _State.STRING: {")": _State.END, '"': _State.STRING_END},
    _State.STRING_END: {",": _State.STRING_START, "]": _State.ARGUMENTS_END, " ": _State.STRING_END},
    _State.ARGUMENTS_END: {")": _State.END, " ": _State.ARGUMENTS_END},
    _State.END: {"%": _State.LITERAL, " ": _State.END},
}
_ANY_OTHER = {_State.NAME: _State.NAME, _State.ARGUMENTS: _State.STRING, _State.STRING: _State.STRING}
_EXPECTED = {
    _State.STRING_START: "Expecting '\"'",
    _State.STRING_END: "Expecting ',', ']', or whitespace",
    _State.ARGUMENTS_END: "Expecting ')' or whitespace after '{}', but found '{}'",
    _State.END: "Expecting '%' or whitespace after",
}


def header_value(value: str) -> Messages:
    if not _CHARACTERS.fullmatch(value):
        return [f"header value configuration {value} is invalid"]
    problem = _format(value)
    return [f"header value configuration: invalid header configuration. {problem}"] if problem else []


def _format(value: str) -> str:
    state, at = _State.LITERAL, 0
    while at < len(value):
        character, following = value[at], value[at + 1 : at + 2]
        if state is _State.LITERAL:
            if character == "%" and not following:
                return "Un-escaped %"
            if character == "%" and following == "%":
                at += 1
            elif character == "%":
                state = _State.NAME
        elif state is _State.STRING and character == "\\":
            if not following:
                return "Un-terminated backslash in JSON string"
            at += 1
        elif (wanted := _NEXT[state].get(character) or _ANY_OTHER.get(state)) is not None:
            state = wanted
        else:
            return _EXPECTED[state]
        at += 1
    return "" if state is _State.LITERAL else f"Un-terminated variable expression '{value}'"
