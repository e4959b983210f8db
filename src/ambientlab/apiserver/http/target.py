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
    if len(rest) > 3:
        return Target(clean, verb)
    plural, name, subresource = (*rest, "", "")[:3]
    if not name and verb in ("get", "delete"):
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}[verb]
    elif verb == "get" and watch and not subresource:
        verb = "watch"
    return Target(clean, verb, group, version, namespace, plural, name, subresource)
