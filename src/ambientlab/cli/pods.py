"""Pods as istioctl lets one name them, and their Envoys (istioctl/pkg/util/handlers, pkg/kube/client.go)."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ambientlab.api.objects import condition_holds
from ambientlab.host.kubectl import KubectlError, plain

if TYPE_CHECKING:
    from ambientlab.cli.istio.command import Cluster

ADMIN_PORT = 15000
_GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"


class Pod(NamedTuple):
    name: str
    namespace: str


def find(cluster: Cluster, text: str, namespace: str) -> Pod:
    """`pod`, `pod.namespace` or `type/name.namespace`: then the pod one would want the logs of."""
    name, home = _split(text, namespace)
    if "/" not in name:
        return Pod(name, home)
    found = find_all(cluster, text, namespace)
    if not found:
        raise click.ClickException(f'no pods match "{name}"')
    return found[0]


def find_all(cluster: Cluster, text: str, namespace: str) -> list[Pod]:
    """Every pod of what is named, those that are Ready first."""
    name, home = _split(text, namespace)
    if "/" not in name:
        return [Pod(name, home)]
    kind, _, called = name.partition("/")
    try:
        owner = json.loads(cluster.kubectl.run(["get", f"{kind}/{called}", "-n", home, "-o", "json"]))
    except KubectlError as error:
        raise click.ClickException(f'failed retrieving: {plain(str(error))} in the "{home}" namespace') from None
    if owner["kind"] == "Pod":
        return [Pod(called, home)]
    return select(cluster, _selector(owner, name), home)


def select(cluster: Cluster, selector: str, namespace: str) -> list[Pod]:
    pods = cluster.kubectl.list("pods", namespace, selector)
    ready_first = sorted(pods, key=lambda pod: condition_holds(pod, "Ready"), reverse=True)
    return [Pod(pod["metadata"]["name"], namespace) for pod in ready_first]


def ask(cluster: Cluster, pod: Pod, path: str, *, method: str = "GET", port: int = ADMIN_PORT) -> bytes:
    """What answers at a port of the pod's loopback. Raises KubectlError, with istioctl's words for it."""
    try:
        with cluster.kubectl.forward(pod.name, pod.namespace, port) as local:
            connection = http.client.HTTPConnection("127.0.0.1", local, timeout=30)
            connection.request(method, f"/{path}")
            answer = connection.getresponse()
            body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise KubectlError(f"failure running port forward process: {error}") from None
    except KubectlError as error:
        raise KubectlError(unreachable(pod, error)) from None
    if answer.status != http.client.OK:
        raise KubectlError(f"unexpected status code: {answer.status}")
    return body


def unreachable(pod: Pod, error: KubectlError) -> str:
    """What istioctl says of a pod that no port-forward leads to (pkg/kube/portforwarder.go)."""
    twice = "failure running port forward process: failure running port forward process"
    if str(error).endswith(" not found"):
        return f'{twice}: building port forwarded: failed retrieving: {error} in the "{pod.namespace}" namespace'
    return f"{twice}: port forward: error upgrading connection: {error}"


def _split(text: str, namespace: str) -> tuple[str, str]:
    """At the last dot behind the last slash: the type may have dots of its own."""
    start = text.rfind("/") + 1
    dot = text.rfind(".", start)
    return (text, namespace) if dot < 0 else (text[:dot], text[dot + 1 :])


def _selector(owner: dict[str, Any], name: str) -> str:
    spec = owner.get("spec") or {}
    if owner["kind"] == "Gateway":
        return f"{_GATEWAY_LABEL}={owner['metadata']['name']}"
    given = spec.get("selector") or {}
    labels = given if owner["kind"] == "Service" else given.get("matchLabels") or {}
    expressions = [] if owner["kind"] == "Service" else given.get("matchExpressions") or []
    if not labels and not expressions:
        raise click.ClickException(f'"{name}" does not refer to a pod: {owner["kind"]} has no pod selector set')
    return ",".join([*(f"{key}={value}" for key, value in labels.items()), *map(_requirement, expressions)])


def _requirement(expression: dict[str, Any]) -> str:
    key, operator = expression["key"], expression["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return key if operator == "Exists" else f"!{key}"
    return f"{key} {operator.lower()} ({','.join(expression['values'])})"
