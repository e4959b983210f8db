"""Who asks: a pod that is named, or one of a workload that is, as kubectl names these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ambientlab.api.kinds import GATEWAY_NAME_LABEL, POD
from ambientlab.api.objects import Object
from ambientlab.api.workload_names import workload_names
from ambientlab.mesh.decide import Request
from ambientlab.mesh.explain.asking import AskedError, NoNamespaceError, UnknownError, check_namespace
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key, Workload

_USUAL_CLIENTS = ("curl", "sleep", "client", "debug", "shell")
_NOBODY = "kube-system"
_KINDS = {
    "Pod": "po pod pods",
    "Service": "svc service services",
    "Deployment": "deploy deployment deployments",
    "ReplicaSet": "rs replicaset replicasets",
    "DaemonSet": "ds daemonset daemonsets",
    "StatefulSet": "sts statefulset statefulsets",
    "Job": "job jobs",
    "CronJob": "cj cronjob cronjobs",
}
_TYPES = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_BY_OTHERS = {"Deployment": "ReplicaSet", "CronJob": "Job"}
"""What these make makes the pods, under names that tell who is behind it."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A client, and why this one where the question left it open. One that is in the network of its node is no workload
    of its own, and has that `node`."""

    key: Key | None
    chosen: str = ""
    node: str = ""


def named(index: MeshIndex, text: str, namespace: str = "") -> Asker:
    """`NAMESPACE/POD` or `NAMESPACE/TYPE/NAME`, both without the namespace where that is given. In place of a pod's
    name there may be that of what made it. Raises AskedError and UnknownError."""
    parts = text.split("/")
    if namespace and len(parts) < 3 and (len(parts) == 1 or _kind(parts[0])):
        parts = [namespace, *parts]
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise AskedError(f"{text!r} names no pod", "--from takes NAMESPACE/POD, as in --from test/curl")
    if namespace and parts[0] != namespace:
        hint = f"with -n {namespace}, --from takes POD or deploy/NAME"
        raise AskedError(f"{text!r} is not in namespace {namespace}", hint)
    if len(parts) == 3:
        return _one_of(index, parts[0], parts[1], parts[2])
    try:
        return _pod(index, Key(*parts))
    except NoNamespaceError as error:
        if not _kind(parts[0]):
            raise
        error.hints = (f"--from NAMESPACE/{text} asks for a pod of it", *error.hints)
        raise


def _pod(index: MeshIndex, key: Key) -> Asker:
    namespace, name = key
    pods = index.sources[POD]
    if key in index.mesh.workloads:
        return Asker(key)
    made = [w for w in _ready(index) if w.namespace == namespace and w.workload_name == name]
    if made:
        return Asker(made[0].key, f"a pod of {name}")
    if key not in pods:
        check_namespace(index, namespace)
        raise UnknownError(f"there is no pod {key}", f"kubectl get pods -n {namespace}")
    if pods[key]["spec"].get("hostNetwork"):
        why = f"{key} is in its node's network, where nothing takes its traffic into the mesh"
        return Asker(None, why, pods[key]["spec"].get("nodeName") or "")
    phase = (pods[key].get("status") or {}).get("phase", "Pending")
    raise UnknownError(f"pod {key} has no address: it is {phase}", f"kubectl describe pod {name} -n {namespace}")


def _one_of(index: MeshIndex, namespace: str, type_: str, name: str) -> Asker:
    """The first that is ready, or else the first."""
    kind, key = _kind(type_), Key(namespace, name)
    if kind is None:
        types = ", ".join(sorted(words.split()[0] for words in _KINDS.values()))
        raise AskedError(f"{type_!r} is no type that has pods", f"--from takes those of {types}")
    if kind == POD.kind:
        return _pod(index, key)
    found = sorted(_pods_of(index, kind, key))
    if not found:
        check_namespace(index, namespace)
        raise UnknownError(f"there is no pod of {kind} {key}", f"kubectl get pods -n {namespace}")
    ready = [pod for pod in found if (workload := index.mesh.workloads.get(pod)) is not None and workload.ready]
    asker = _pod(index, (ready or found)[0])
    return replace(asker, chosen=", but ".join(filter(None, (f"a pod of {kind} {name}", asker.chosen))))


def _pods_of(index: MeshIndex, kind: str, key: Key) -> Iterable[Key]:
    if kind == "Service":
        service = index.mesh.services.get(index.host(key))
        behind = {end.workload.key for end in (service.endpoints if service is not None else ()) if end.workload}
        return behind & set(index.sources[POD])
    pods = ((at, pod) for at, pod in index.sources[POD].items() if at.namespace == key.namespace)
    return [at for at, pod in pods if _made(pod, kind, key.name)]


def _made(pod: Object, kind: str, name: str) -> bool:
    """Whether what is named made a pod, by itself or by what it makes."""
    owners = pod["metadata"].get("ownerReferences") or ()
    maker = next(((one["kind"], one["name"]) for one in owners if one.get("controller")), ("", ""))
    if kind in _BY_OTHERS:
        return maker[0] == _BY_OTHERS[kind] and maker[1] != name == workload_names(pod).workload
    return maker == (kind, name)


def _kind(type_: str) -> str | None:
    """As kubectl takes types: in any case, and with a group."""
    return _TYPES.get(type_.partition(".")[0].lower())


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
