"""What a path and a method ask for: Kubernetes' RequestInfo (k8s.io/apiserver/pkg/endpoints/request)."""

from __future__ import annotations

from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class Target:
    """A resource request if `plural` is set, else one for a path such as `/version`."""

    path: str
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    behind: str = ""
    """The path behind the subresource, which only a proxy's has: to what the program at its end answers."""


def read_target(method: str, path: str, *, watch: bool = False) -> Target:
    """`path` is decoded. A path below a group that is none of a resource keeps `plural` empty."""
    parts = [part for part in path.split("/") if part]
    clean = "/" + "/".join(parts)
    verb = _VERBS.get(method, method.lower())
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Target(clean, verb)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        # Below a namespace come its resources, except for its own two subresources.
        if len(rest) > 2 and not (group == "" and len(rest) == 3 and rest[2] in ("status", "finalize")):
            rest = rest[2:]
        else:
            namespace = ""
    proxies = rest[2:3] == ["proxy"]
    if len(rest) > 3 and not proxies:
        return Target(clean, verb)
    behind = _behind(path, len(parts) - len(rest) + 3) if proxies else ""
    plural, name, subresource = (*rest, "", "")[:3]
    if not name and verb in ("get", "delete"):
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}[verb]
    elif verb == "get" and watch and not subresource:
        verb = "watch"
    return Target(clean, verb, group, version, namespace, plural, name, subresource, behind)


def _behind(path: str, count: int) -> str:
    """What comes after so many parts of a path, as it is: slashes mean something to whoever it is for."""
    pieces = path.split("/")
    ends = [at for at, piece in enumerate(pieces, 1) if piece]
    rest = pieces[ends[count - 1] :]
    return "/" + "/".join(rest) if rest else ""
