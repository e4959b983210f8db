"""What is asked: a URL as people type it, and a client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from ambientlab.api.kinds import GATEWAY_NAME_LABEL, NAMESPACE, POD
from ambientlab.mesh.decide import Request
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key, Workload

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HOST = re.compile(r"[a-zA-Z0-9_*]([a-zA-Z0-9_.-]*[a-zA-Z0-9_.])?|[0-9a-fA-F:.]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USUAL_CLIENTS = ("curl", "sleep", "client", "debug", "shell")
_NOBODY = "kube-system"
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


@dataclass(frozen=True, slots=True)
class Asker:
    """A client, and why this one where the question left it open."""

    key: Key | None
    chosen: str = ""


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


def named(index: MeshIndex, text: str) -> Asker:
    """`NAMESPACE/POD`, or the name of what made the pod. Raises AskedError and UnknownError."""
    namespace, slash, name = text.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise AskedError(f"{text!r} names no pod", "--from takes NAMESPACE/POD, as in --from test/curl")
    key, pods = Key(namespace, name), index.sources[POD]
    if key in index.mesh.workloads:
        return Asker(key)
    made = [w for w in _ready(index) if w.namespace == namespace and w.workload_name == name]
    if made:
        return Asker(made[0].key, f"a pod of {name}")
    if key not in pods:
        check_namespace(index, namespace)
        raise UnknownError(f"there is no pod {key}", f"kubectl get pods -n {namespace}")
    if pods[key]["spec"].get("hostNetwork"):
        return Asker(None, f"{key} is in its node's network, where nothing takes its traffic into the mesh")
    phase = (pods[key].get("status") or {}).get("phase", "Pending")
    raise UnknownError(f"pod {key} has no address: it is {phase}", f"kubectl describe pod {name} -n {namespace}")


def check_namespace(index: MeshIndex, name: str, *, implied: bool = False) -> None:
    """Raises NoNamespaceError if there is none of that name. Nobody can tell where no namespace is seen, unless those
    that objects are in are `implied`, as in files."""
    names = {key.name for key in index.sources[NAMESPACE]}
    if not names and not implied:
        return
    names |= {key.namespace for source in index.sources.values() for key in source if key.namespace}
    if name not in names:
        raise NoNamespaceError(name, names)


def anybody(index: MeshIndex, request: Request) -> Asker:
    """Without a word about who asks: somebody who is likely to, and in the mesh if anybody is."""
    wanted = request.host.lower().split(".")[0]

    def rank(workload: Workload) -> tuple[bool, bool, bool, Key]:
        names = {workload.name, workload.workload_name, dict(workload.labels).get("app", "")}
        return (
            not workload.captured,
            not names & {*_USUAL_CLIENTS},
            wanted in names,
            workload.key,
        )

    found = sorted(_ready(index), key=rank)
    if not found:
        return Asker(None, "there is no pod that could ask, so somebody outside of the cluster does")
    first = found[0]
    where = "in the mesh" if first.captured else "of the cluster; none is in the mesh"
    return Asker(first.key, f"a pod {where}; --from NAMESPACE/POD asks for another")


def _ready(index: MeshIndex) -> list[Workload]:
    """Pods that may ask: neither what runs the mesh nor its proxies."""
    return [
        workload
        for key, workload in sorted(index.workloads.items())
        if workload.ready
        and key.namespace not in (_NOBODY, index.home.root, index.home.config.namespace)
        and GATEWAY_NAME_LABEL not in dict(workload.labels)
    ]
