"""What a waypoint makes of a path: normalised on arrival, rewritten on the way out, and put into redirects.

The rules are Envoy's, as the waypoint's connection managers are configured: `normalize_path` and nothing else, so
slashes are kept as they are (source/common/http/path_utility.cc).
"""

from __future__ import annotations

import re

from ambientlab import re2
from ambientlab.mesh.ir import Match, Redirect, Rewrite

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = _UNRESERVED | frozenset("!$&'()*+,;=:@/%[]")
_ESCAPE = re.compile("%[0-9a-fA-F]{2}")
_DOTS = {".": ".", "%2e": ".", "..": "..", ".%2e": "..", "%2e.": "..", "%2e%2e": ".."}


def split(path: str) -> tuple[str, str]:
    """The path proper, and the query with its question mark."""
    place = path.find("?")
    return (path, "") if place < 0 else (path[:place], path[place:])


def normalised(path: str) -> str | None:
    """The fragment cut off, dot segments resolved, backslashes turned round, needless escapes undone and what does not
    belong into a URL escaped, as Envoy's URL library does it (googleurl, url/url_canon_path.cc). None for what is
    refused: a NUL, letters that are not of ASCII, or no path at all."""
    proper, query = split(path.partition("#")[0])
    if not proper.startswith("/") or not path.isascii() or "%00" in proper:
        return None
    segments = proper.replace("\\", "/").split("/")[1:]
    result: list[str] = []
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        match _dots(segment):
            case ".":
                result += [""] if last else []
            case "..":
                result = result[:-1] + ([""] if last else [])
            case _:
                result.append(segment)
    kept = _ESCAPE.sub(_unescaped, "/".join(result))
    return "/" + "".join(c if c in _KEPT else f"%{ord(c):02X}" for c in kept) + query


def _dots(segment: str) -> str | None:
    """Dots may have parameters behind a semicolon, unless they are escaped."""
    plain = segment.partition(";")[0]
    return plain if plain in (".", "..") else _DOTS.get(segment.lower())


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[0][1:], 16))
    return character if character in _UNRESERVED else escape[0]


def rewritten(path: str, match: Match, rewrite: Rewrite) -> str:
    """The query stays as it is, whatever becomes of the path. Raises `re2.ExpressionError`."""
    proper, query = split(path)
    if rewrite.full_path is not None:
        return rewrite.full_path + query
    if rewrite.regex is not None:
        return re2.replace_all(*rewrite.regex, proper) + query
    if rewrite.prefix is not None:
        return _with_prefix(proper, match, rewrite.prefix, tidy=True) + query
    return path


def _with_prefix(proper: str, match: Match, prefix: str, *, tidy: bool = False) -> str:
    """What the match matched is replaced: for exact and regular-expression paths the whole. Letters, not elements: `/`
    put for `/old` makes `//a` of `/old/a`. Only a rewrite to `/`, if `tidy`, leaves one slash, as Istio writes it
    (pilot/pkg/networking/core/route/route.go)."""
    wanted = match.path
    if wanted is None or wanted.kind == "present":
        return prefix + proper[1:]
    if wanted.kind not in ("prefix", "path-prefix"):
        return prefix
    rest = proper[len(wanted.value) :]
    if tidy and prefix == "/" and wanted.kind == "path-prefix":
        return "/" + rest.removeprefix("/")
    return prefix + rest


def location(path: str, authority: str, scheme: str, match: Match, redirect: Redirect) -> str:
    """The header of a redirect (source/common/http/utility.cc, newUri)."""
    to = redirect.scheme or scheme
    host = redirect.host or _host(authority, scheme, to, redirect.port)
    port = f":{redirect.port}" if redirect.port else ""
    proper, query = split(path)
    if redirect.full_path is not None:
        path = redirect.full_path if "?" in redirect.full_path else redirect.full_path + query
    elif redirect.prefix is not None:
        path = _with_prefix(proper, match, redirect.prefix) + query
    return f"{to}://{host}{port}{path}"


def _host(authority: str, scheme: str, to: str, port: int) -> str:
    """Without its port where the redirect has one, or where it is the old scheme's own and the scheme changes."""
    end = authority.rfind("]:") + 1 if authority.startswith("[") else authority.rfind(":")
    if end <= 0:
        return authority
    own = {"http": ":80", "https": ":443"}.get(scheme)
    return authority[:end] if port or (to != scheme and authority[end:] == own) else authority
