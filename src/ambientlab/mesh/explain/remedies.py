"""What to type about a finding: commands of kubectl and istioctl as they are pasted into a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ambientlab.api import objects
from ambientlab.api.kinds import GATEWAY, GATEWAY_NAME_LABEL, NAMESPACE
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import WAYPOINT_CLASS
from ambientlab.mesh.enrolment import MODE_LABEL, SIDECAR_STATUS
from ambientlab.mesh.explain.explanation import Remedy
from ambientlab.mesh.index import ANALYSED, RESOURCES, MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.index.services import SERVICE_NAME
from ambientlab.mesh.index.waypoints import USE_WAYPOINT, WAYPOINT_FOR, Binding, asked_for
from ambientlab.mesh.ir import Destination, Key, Service, Subset

_KINDS: Mapping[str, Resource] = {name_of(r.group, r.kind): r for r in (*RESOURCES, *ANALYSED)}


def resource_of(ref: ObjectRef) -> Resource:
    return _KINDS[ref.kind]


def object_of(index: MeshIndex, ref: ObjectRef) -> Object | None:
    return index.sources[resource_of(ref)].get(key_of(ref))


def key_of(ref: ObjectRef) -> Key:
    return Key(ref.namespace, ref.name)


def where(ref: ObjectRef) -> list[str]:
    """`virtualservice hello-world-vs -n hello`, as kubectl takes it."""
    resource = resource_of(ref)
    # of some names there are two kinds
    kind = f"{resource.singular}.{resource.group}" if resource.kind == "Gateway" else resource.singular
    return [kind, ref.name, *(["-n", ref.namespace] if ref.namespace else [])]


def line(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def aimed(command: str, *flags: str) -> str:
    """The command with `flags` that say which cluster is meant, if there are any and it does not have them."""
    said = f" {line(*flags)}" if flags else ""
    program = rf"(?:^|(?<= \| )|(?<= && ))(kubectl|istioctl)(?= )(?!{re.escape(said)} )"
    return re.sub(program, lambda found: f"{found[1]}{said}", command)


def all_aimed(some: Iterable[Remedy], *flags: str) -> tuple[Remedy, ...]:
    return tuple(replace(one, commands=tuple(aimed(command, *flags) for command in one.commands)) for one in some)


def patch(ref: ObjectRef, *operations: tuple[str, str, Any]) -> str:
    """A JSON patch of (operation, path, value)."""
    body = [{"op": op, "path": path} | ({} if op == "remove" else {"value": value}) for op, path, value in operations]
    return line("kubectl", "patch", *where(ref), "--type=json", "-p", json.dumps(body))


def label(ref: ObjectRef, *labels: str, overwrite: bool = False) -> str:
    return line("kubectl", "label", *where(ref), *labels, *(["--overwrite"] if overwrite else []))


def look(ref: ObjectRef) -> str:
    return line("kubectl", "describe", *where(ref))


def delete(ref: ObjectRef) -> str:
    return line("kubectl", "delete", *where(ref))


def instead(ref: ObjectRef, first: ObjectRef) -> Remedy:
    return Remedy(f"let {ref} decide in place of {first}", (delete(first),))


def move(ref: ObjectRef, namespace: str) -> str:
    """The same object in another namespace, and not here once it is there. What it names without a namespace is then
    looked for there."""
    edits = ("/^  uid:/d", "/^  resourceVersion:/d", f"s/^  namespace: {ref.namespace}$/  namespace: {namespace}/")
    sed = line("sed", *(word for edit in edits for word in ("-e", edit)))
    get = line("kubectl", "get", *where(ref), "-o", "yaml")
    return f"{get} | {sed} | kubectl apply -f - && {delete(ref)}"


def go_home(ref: ObjectRef, home: str) -> Remedy:
    return Remedy(f"move it to {home}, where it is looked for", (move(ref, home),))


def export(ref: ObjectRef) -> Remedy:
    return Remedy("export it to every namespace", (patch(ref, ("add", "/spec/exportTo", ["*"])),))


def namespace_ref(name: str) -> ObjectRef:
    return ObjectRef(NAMESPACE.kind, "", name)


def gateway_ref(key: Key) -> ObjectRef:
    return ObjectRef(GATEWAY.kind, *key)


def capture(index: MeshIndex, client: Key) -> Remedy:
    """Take a pod into the mesh. A label of its own comes before its namespace's, and a sidecar keeps it out."""
    pod, home = ObjectRef("Pod", *client), namespace_ref(client.namespace)
    obj = index.sources[resource_of(pod)].get(client) or {"metadata": {}}
    commands = []
    if SIDECAR_STATUS in objects.annotations_of(obj):
        ambient_alone = label(home, "istio-injection-", "istio.io/rev-", f"{MODE_LABEL}=ambient", overwrite=True)
        restart = line("kubectl", "rollout", "restart", "deployment", "-n", client.namespace)
        return Remedy(f"take {client} into the mesh without a sidecar", (ambient_alone, restart))
    if MODE_LABEL in (obj["metadata"].get("labels") or {}):
        commands.append(label(pod, f"{MODE_LABEL}-"))
    if not ambient(index, client.namespace):
        commands.append(label(home, f"{MODE_LABEL}=ambient", overwrite=True))
    return Remedy(f"take {client} into the mesh", tuple(commands) or (look(pod),))


def ambient(index: MeshIndex, namespace: str) -> bool:
    return labels_of_namespace(index, namespace).get(MODE_LABEL) == "ambient"


def labels_of_namespace(index: MeshIndex, namespace: str) -> dict[str, str]:
    obj = index.sources[NAMESPACE].get(Key("", namespace)) or {"metadata": {}}
    return obj["metadata"].get("labels") or {}


def waypoints_in(index: MeshIndex, namespace: str) -> list[Key]:
    """Gateways of the class of waypoints, ready or not."""
    return sorted(
        key
        for key, obj in index.sources[GATEWAY].items()
        if key.namespace == namespace and obj["spec"].get("gatewayClassName") == WAYPOINT_CLASS
    )


def labelled(index: MeshIndex, ref: ObjectRef) -> ObjectRef | None:
    """The object whose label says which waypoint another uses, or that it uses none."""
    for each in (ref, namespace_ref(ref.namespace)):
        obj = object_of(index, each)
        if obj is not None and asked_for(objects.labels_of(obj), ref.namespace) is not None:
            return each
    return None


def come_by_waypoint(index: MeshIndex, ref: ObjectRef, binding: Binding) -> Remedy:
    """Of an object that has none."""
    match binding.reason:
        case "AttachmentDenied" if binding.asked is not None:
            return let_in(binding.asked)
        case "UnsupportedTrafficType" if binding.asked is not None:
            return serve_all(binding.asked)
        case "WaypointIsNotReady" if binding.asked is not None:
            return get_ready(index, binding.asked)
    return use_waypoint(index, ref, labelled(index, ref))


def use_waypoint(index: MeshIndex, service: ObjectRef, opted_out: ObjectRef | None) -> Remedy:
    """Put a waypoint before a service that asks for none; `opted_out` is what says `none`, if something does."""
    namespace = service.namespace
    found = waypoints_in(index, namespace)
    name = found[0].name if found else "waypoint"
    labels = [f"{USE_WAYPOINT}={name}"]
    commands = []
    if opted_out is not None and opted_out.kind != NAMESPACE.kind:
        commands.append(label(opted_out, f"{USE_WAYPOINT}-"))
    if not ambient(index, namespace):
        labels.insert(0, f"{MODE_LABEL}=ambient")
    if opted_out is None or opted_out.kind == NAMESPACE.kind or not ambient(index, namespace):
        commands.append(label(namespace_ref(namespace), *labels, overwrite=opted_out is not None))
    if not found:
        commands.append(deploy(Key(namespace, name)))
    return Remedy(f"put a waypoint before the services of {namespace}", tuple(commands))


def deploy(waypoint: Key) -> str:
    name = [] if waypoint.name == "waypoint" else ["--name", waypoint.name]
    return line("istioctl", "waypoint", "apply", "-n", waypoint.namespace, *name, "--wait")


def get_ready(index: MeshIndex, waypoint: Key) -> Remedy:
    """Of a waypoint that is asked for and cannot be used yet."""
    if waypoint not in index.sources[GATEWAY]:
        return Remedy(f"make the waypoint {waypoint}, which does not exist", (deploy(waypoint),))
    pods = line("kubectl", "get", "pods", "-n", waypoint.namespace, "-l", f"{GATEWAY_NAME_LABEL}={waypoint.name}")
    return Remedy(f"see why the waypoint {waypoint} is not ready", (look(gateway_ref(waypoint)), pods))


def let_in(waypoint: Key) -> Remedy:
    """For objects of other namespaces."""
    allowed = {"namespaces": {"from": "All"}}
    command = patch(gateway_ref(waypoint), ("add", "/spec/listeners/0/allowedRoutes", allowed))
    return Remedy(f"let the waypoint {waypoint} serve other namespaces", (command,))


def serve_all(waypoint: Key) -> Remedy:
    command = label(gateway_ref(waypoint), f"{WAYPOINT_FOR}=all", overwrite=True)
    return Remedy(f"let the waypoint {waypoint} serve services and workloads", (command,))


def ports_of(service: Service) -> Remedy:
    ref = ObjectRef(service.kind, *service.key)
    return Remedy(f"see which ports {ref} has", (line("kubectl", "get", *where(ref), "-o", "yaml"),))


def provide(index: MeshIndex, destination: Destination) -> tuple[Remedy, ...]:
    """A Service that is not there, if it is to be one of this cluster."""
    name, _, rest = destination.host.partition(".")
    namespace, _, domain = rest.partition(".")
    if domain != f"svc.{index.domain}":
        return ()
    port = destination.port or 80
    if any(w.namespace == namespace and w.workload_name == name for w in index.workloads.values()):
        command = line("kubectl", "expose", "deployment", name, "-n", namespace, f"--port={port}")
    else:
        command = line("kubectl", "create", "service", "clusterip", name, "-n", namespace, f"--tcp={port}")
    return (Remedy(f"make the Service {namespace}/{name}", (command,)),)


def fill(service: Service, subset: Subset) -> Remedy:
    selector = ",".join(f"{name}={value}" for name, value in subset.labels)
    command = line("kubectl", "get", "pods", "-n", service.namespace, "--show-labels")
    return Remedy(f"see which pods are to have {selector}", (command,))


def pods_of(service: Service) -> Remedy:
    selector = f"{SERVICE_NAME}={service.name}"
    command = line("kubectl", "get", "endpointslices", "-n", service.namespace, "-l", selector)
    return Remedy(f"see the endpoints of {service.key}", (command,))


def to_target(ref: ObjectRef, obj: Mapping[str, Any], *services: ObjectRef) -> Remedy:
    """A policy that selects pods becomes one of the waypoint of services."""
    target = [{"group": resource_of(each).group, "kind": each.kind, "name": each.name} for each in services]
    selects = "selector" in (obj.get("spec") or {})
    drop: list[tuple[str, str, Any]] = [("remove", "/spec/selector", None)] if selects else []
    command = patch(ref, *drop, ("add", "/spec/targetRefs", target))
    return Remedy(f"let the waypoint of {', '.join(each.name for each in services)} decide by it", (command,))
