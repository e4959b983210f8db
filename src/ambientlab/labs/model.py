"""What a lab is: the file `lab.yaml` as types. Shapes are checked here; what needs more than a shape in `loading`.

Times are seconds, shares are percent of all requests.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Outcome(_Part, frozen=True):
    """One kind of answer. A request counts for the first outcome whose every given condition holds.

    `body` is a regular expression searched in the body. Shares left out everywhere are equal ones.
    """

    name: str
    share: float | None = None
    status: int | None = None
    body: str | None = None
    at_least: float | None = None
    under: float | None = None


class Traffic(_Part, frozen=True, tag_field="kind", tag="traffic"):
    """Requests from a pod, each on a connection of its own, counted by outcome and compared with the expected shares.

    With `parallel` above 1, for requests that wait, bodies are not read.
    """

    url: str
    source: str = msgspec.field(name="from")  # namespace/pod
    outcomes: tuple[Outcome, ...]
    requests: int = 200
    parallel: int = 1
    headers: dict[str, str] = {}


class Kubectl(_Part, frozen=True, tag_field="kind", tag="kubectl"):
    """`kubectl wait --for=<condition> <resource>`: condition=Name, jsonpath={path}=value, create or delete.

    `expected` says it in words.
    """

    resource: str
    condition: str = msgspec.field(name="for")
    expected: str
    namespace: str = ""
    within: float = 60


class Output(_Part, frozen=True, tag_field="kind", tag="output"):
    """The step's commands printed text that the regular expression `matches` (^ and $ match at lines).

    Known only where the commands were run by us: `lab check` leaves it out.
    """

    matches: str
    expected: str


class Log(_Part, frozen=True, tag_field="kind", tag="log"):
    """A line of a log matches, among the last `tail` ones or the new ones until the deadline."""

    target: str
    matches: str
    expected: str
    namespace: str = ""
    tail: int = 500
    within: float = 20


Check = Traffic | Kubectl | Output | Log


class Step(_Part, frozen=True):
    """`fails_before`: the checks must not hold before the commands ran. A check that cannot fail proves nothing."""

    title: str
    text: str
    commands: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    fails_before: bool = False
    timeout: float = 120


class Setup(_Part, frozen=True):
    """The world a lab starts from: manifests to apply, then commands that return when it is there."""

    manifests: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Definition(_Part, frozen=True):
    """`assets` and the manifests of `setup` are names of files beside lab.yaml; `reset` undoes what the steps leave."""

    title: str
    summary: str
    steps: tuple[Step, ...]
    setup: Setup = Setup()
    assets: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()


class Asset(_Part, frozen=True):
    """A file of the learner's directory."""

    name: str
    content: str


class Lab(msgspec.Struct, frozen=True):
    """A definition that was validated, with the contents of its files."""

    name: str
    definition: Definition
    assets: tuple[Asset, ...]
    manifests: tuple[Asset, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.definition.steps


def is_file_name(name: str) -> bool:
    """A plain name: nothing in a lab may lead out of its directory."""
    return name not in ("", ".", "..") and PurePosixPath(name).name == name and "\0" not in name
