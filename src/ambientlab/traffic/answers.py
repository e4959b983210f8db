"""What is asked, what came back, and by what answers are told apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

SHOWN = 512
"""Bytes of a body that are enough to tell who sent it."""

_VERSION = re.compile(r"\bversion: ([^,\s]+)|^ServiceVersion=(\S+)", re.MULTILINE)
_INSTANCE = re.compile(r"\binstance: ([^,\s]+)|^Hostname=(\S+)|\"pod\": \"([^\"]+)\"", re.MULTILINE)
"""As the samples helloworld, echo-advanced and echo-basic say it of themselves."""


@dataclass(frozen=True, slots=True)
class Requests:
    """`number` 0 is as many as fit into `seconds`, `seconds` 0 as long as they take, `rate` 0 as fast as they are
    answered. With `reuse`, connections are used for more than one request."""

    source: str  # namespace/pod
    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    number: int = 200
    seconds: float = 0
    rate: float = 0
    parallel: int = 1
    reuse: bool = False
    patience: float = 20
    container: str = ""


class Answer(NamedTuple):
    """`at` is when it was asked, in seconds since the start. `status` is 0 where no response came, and `problem` says
    why. `service` are milliseconds that the service itself took, as far as a proxy told."""

    at: float
    seconds: float
    status: int
    problem: str = ""
    service: int = 0
    header: str = ""
    body: str = ""

    @property
    def delay(self) -> float:
        """Seconds that the way took, without the service: a busy service is no injected delay."""
        return self.seconds - self.service / 1000

    @property
    def outcome(self) -> str:
        return f"HTTP {self.status}" if self.status else f"no answer ({self.problem})"


By = Callable[[Answer], str]


def by(text: str) -> By:
    """`version`, `instance`, `status` or `header:NAME`. Raises ValueError for anything else."""
    if text == "status":
        return lambda answer: answer.outcome
    if text == "version":
        return lambda answer: _found(_VERSION, answer)
    if text == "instance":
        return lambda answer: _found(_INSTANCE, answer)
    if text.startswith("header:") and len(text) > len("header:"):
        return lambda answer: answer.header or answer.outcome
    raise ValueError(f"{text!r} is not version, instance, status or header:NAME")


def header_of(text: str) -> str:
    """The header that `by` needs of each answer, "" if none."""
    return text.partition(":")[2] if text.startswith("header:") else ""


def _found(pattern: re.Pattern[str], answer: Answer) -> str:
    match = pattern.search(answer.body)
    return next(filter(None, match.groups())) if match else answer.outcome
