"""From a lab's directory to a `Lab`; every mistake is reported with the file and the field it is in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec
import yaml

from ambientlab.labs.model import Asset, Check, Definition, Kubectl, Lab, Log, Output, Traffic, is_file_name
from ambientlab.traffic import stats

DEFINITION = "lab.yaml"


class LabError(Exception):
    """A lab that cannot be used. The message names the file, the field and what is wrong with it."""


def names() -> list[str]:
    """The labs that ship with the package."""
    return sorted(entry.name for entry in _content().iterdir() if entry.joinpath(DEFINITION).is_file())


def load(name: str) -> Lab:
    """A lab that ships with the package. Raises LabError for an unknown name, saying which exist."""
    if name not in names():
        raise LabError(f"no lab {name!r}; there are: {', '.join(names())}")
    return load_directory(name, _content().joinpath(name))


def load_directory(name: str, directory: Traversable) -> Lab:
    """A lab from anywhere. Raises LabError."""
    path = f"{name}/{DEFINITION}"
    definition = parse(_read(directory, DEFINITION, name), path)

    def files(wanted: tuple[str, ...], field: str) -> tuple[Asset, ...]:
        for index, file in enumerate(wanted):
            if not is_file_name(file):
                raise LabError(f"{path}: {field}[{index}]: {file!r} is not the name of a file beside {DEFINITION}")
        return tuple(Asset(file, _read(directory, file, name)) for file in wanted)

    return Lab(
        name, definition, files(definition.assets, "assets"), files(definition.setup.manifests, "setup.manifests")
    )


def parse(text: str, path: str) -> Definition:
    """`path` is for messages only."""
    try:
        document = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise LabError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        definition = msgspec.convert(document, Definition)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise LabError(f"{path}: {where.strip('`.') or 'the document'}: {message}") from error
    for where, mistake in _mistakes(definition):
        raise LabError(f"{path}: {where}: {mistake}")
    return definition


def _content() -> Traversable:
    return resources.files(__package__).joinpath("content")


def _read(directory: Traversable, file: str, name: str) -> str:
    try:
        return directory.joinpath(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{name}/{file}: {error}") from error


def _mistakes(definition: Definition) -> Iterator[tuple[str, str]]:
    if not definition.steps:
        yield "steps", "a lab has at least one step"
    for index, step in enumerate(definition.steps):
        where = f"steps[{index}]"
        if step.fails_before and not step.checks:
            yield f"{where}.fails_before", "there are no checks that could fail"
        for number, check in enumerate(step.checks):
            for field, mistake in _check_mistakes(check):
                yield f"{where}.checks[{number}].{field}", mistake


def _check_mistakes(check: Check) -> Iterator[tuple[str, str]]:
    match check:
        case Traffic():
            yield from _traffic_mistakes(check)
        case Kubectl():
            if not re.match(r"(condition=|jsonpath=|create$|delete$)", check.condition):
                yield "for", "wants condition=NAME, jsonpath={PATH}=VALUE, create or delete"
        case Output() | Log():
            yield from _pattern_mistakes("matches", check.matches)


def _traffic_mistakes(check: Traffic) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"https?://[^\s#{}\[\]]+", check.url):
        yield "url", f"{check.url!r} is not an http URL free of #, braces and brackets"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*", check.source):
        yield "from", "wants NAMESPACE/POD"
    if check.requests < 1 or check.parallel < 1:
        yield "requests", "requests and parallel are at least 1"
    if not check.outcomes:
        yield "outcomes", "at least one outcome is expected"
    shares = [outcome.share for outcome in check.outcomes]
    given = [share for share in shares if share is not None]
    if given and (len(given) < len(shares) or min(given) < 0 or abs(sum(given) - 100) > 1e-9):
        yield "outcomes", "shares are given for all outcomes and sum to 100, or for none"
    if len({outcome.name for outcome in check.outcomes}) < len(shares):
        yield "outcomes", "names of outcomes are unique"
    for index, outcome in enumerate(check.outcomes):
        if outcome.body is not None:
            yield from _pattern_mistakes(f"outcomes[{index}].body", outcome.body)
            if check.parallel > 1:
                yield f"outcomes[{index}].body", "bodies of parallel requests are not read"
    if stats.outcomes(check.requests, sum(share != 0 for share in shares)) > stats.MAX_OUTCOMES:
        yield "requests", "too many requests for an exact test of so many outcomes"


def _pattern_mistakes(field: str, pattern: str) -> Iterator[tuple[str, str]]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield field, f"not a regular expression: {error}"
