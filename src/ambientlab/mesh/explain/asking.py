"""What is asked: a URL as people type it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from ambientlab.api.kinds import NAMESPACE
from ambientlab.mesh.decide import Request
from ambientlab.mesh.index import MeshIndex

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HOST = re.compile(r"[a-zA-Z0-9_*]([a-zA-Z0-9_.-]*[a-zA-Z0-9_.])?|[0-9a-fA-F:.]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST_NAMES = 12


class AskedError(Exception):
    """A question that makes no sense by itself; `hints` are what to do about it, one each."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class UnknownError(AskedError):
    """What is asked about is not there."""


class NoNamespaceError(UnknownError):
    """`names` are those that there are."""

    def __init__(self, name: str, names: Iterable[str]) -> None:
        known = sorted(set(names))
        near = get_close_matches(name, known, _MOST_NAMES, 0) if len(known) > _MOST_NAMES else known
        more = ", ..." if len(near) < len(known) else ""
        super().__init__(f'there is no namespace "{name}"', f"there are {', '.join(sorted(near))}{more}")


def request(url: str, method: str = "GET", headers: Iterable[str] = ()) -> Request:
    """As curl reads a URL: without a scheme it is http, without a port 80. Headers are `Name: value`. Raises
    AskedError."""
    text = url if _SCHEME.match(url) else f"http://{url}"
    named = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise AskedError(f"{header!r} is no header", "headers are written as in -H 'end-user: jason'")
        named.append((name, value.strip()))
    if not _TOKEN.fullmatch(method):
        raise AskedError(f"{method!r} is no method", "methods are written as in -X POST")
    try:
        found = Request.to(text, method, named)
    except ValueError as error:
        raise AskedError(str(error), "a URL looks like helloworld.hello:5000/hello") from None
    if not _HOST.fullmatch(found.host):
        raise AskedError(f"{found.host!r} is no host", "a URL looks like helloworld.hello:5000/hello")
    return found


def check_namespace(index: MeshIndex, name: str, *, implied: bool = False) -> None:
    """Raises NoNamespaceError if there is none of that name. Nobody can tell where no namespace is seen, unless those
    that objects are in are `implied`, as in files."""
    names = {key.name for key in index.sources[NAMESPACE]}
    if not names and not implied:
        return
    names |= {key.namespace for source in index.sources.values() for key in source if key.namespace}
    if name not in names:
        raise NoNamespaceError(name, names)
