"""Explanations of the lab's cluster, as its commands and others make it."""

from __future__ import annotations

from collections.abc import Sequence

from ambientlab import labs
from ambientlab.mesh import explain
from ambientlab.mesh.explain import Cause, Explanation
from ambientlab.mesh.index import MeshIndex
from support.typed_lab import TypedLab

HELLO = "helloworld.hello:5000/hello"
CLIENT = "test/curl"


def cluster(*commands: str, waypoint: bool = True) -> TypedLab:
    """helloworld in the mesh and a client in test: the lab without its rules."""
    made = TypedLab(labs.load("traffic-management"))
    made.command("kubectl apply -n hello -f helloworld.yaml")
    made.command("kubectl label ns hello istio.io/dataplane-mode=ambient")
    if waypoint:
        made.command("kubectl label ns hello istio.io/use-waypoint=waypoint")
        made.command("istioctl waypoint apply -n hello")
    for command in commands:
        made.command(command)
    return made


def explained(
    of: TypedLab, url: str = HELLO, *, source: str | None = CLIENT, method: str = "GET", headers: Sequence[str] = ()
) -> Explanation:
    return explained_in(of.index(), url, source=source, method=method, headers=headers)


def explained_in(
    index: MeshIndex, url: str, *, source: str | None = CLIENT, method: str = "GET", headers: Sequence[str] = ()
) -> Explanation:
    request = explain.request(url, method, headers)
    asker = explain.anybody(index, request) if source is None else explain.named(index, source)
    return explain.explain(index, asker, request)


def causes(found: Explanation) -> set[tuple[str, Cause]]:
    return {(str(finding.object), finding.cause) for finding in (*found.ignored, *found.problems)}
