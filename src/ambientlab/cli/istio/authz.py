"""`istioctl x authz check`: the AuthorizationPolicies that decide about a pod, and where they are enforced.

Of a waypoint, Envoy itself is asked (istioctl/pkg/authz): its RBAC policies are named for their origin. A pod in
ambient mode has no Envoy; ztunnel is asked instead, and the policies of the waypoints before its services are told.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from ambientlab.cli import pods
from ambientlab.cli.istio.command import Cluster, Group, contents
from ambientlab.cli.tabwriter import columns
from ambientlab.host.kubectl import KubectlError

_NAME = re.compile(r"(istio-ext-authz-)?.*?ns\[(.+)\]-policy\[(.+)\]-rule\[(.+)\]")
_RBAC = ("envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.network.rbac.v3.RBAC")
_ACTIONS = ("DENY", "ALLOW", "LOG", "AUDIT", "CUSTOM")
_NOBODY = "_anonymous_match_nothing_"


class Rule(NamedTuple):
    """One rule of a policy, as an enforcer has it."""

    action: str
    policy: str
    number: str


@click.group(cls=Group)
def authz() -> None:
    """Inspect Istio AuthorizationPolicy"""


@authz.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="The json file with Envoy config dump; - is stdin.")
@click.option("--proxy-admin-port", "port", default=pods.ADMIN_PORT, show_default=True, help="Envoy proxy admin port")
@click.argument("names", nargs=-1)
@click.pass_obj
def check(cluster: Cluster, file: Path | None, port: int, names: tuple[str, ...]) -> None:
    """Check AuthorizationPolicy applied in the pod: [<type>/]<name>[.<namespace>]"""
    if len(names) > 1:
        raise click.ClickException("check requires only <pod-name>[.<pod-namespace>]")
    if file is not None:
        try:
            rules = _in_dump(contents(file))
        except click.ClickException as error:
            raise click.ClickException(f"failed to get config dump from file {file}: {error.message}") from None
        _table(rules)
        return
    if not names:
        raise click.ClickException("expecting pod name or config dump, found: 0")
    pod = pods.find(cluster, names[0], cluster.namespace)
    found = cluster.kubectl.get("pod", pod.name, pod.namespace)
    if found is None:
        raise click.ClickException(f"failed to get config dump from pod {pod.name} in {pod.namespace}")
    if any(one["name"] == "istio-proxy" for one in found["spec"]["containers"]):
        _table(_in_envoy(cluster, pod, port))
    else:
        _ambient(cluster, pod, port)


def _in_envoy(cluster: Cluster, pod: pods.Pod, port: int) -> list[Rule]:
    try:
        return _in_dump(pods.ask(cluster, pod, "config_dump", port=port))
    except KubectlError as error:
        words = f"failed to get config dump from pod {pod.name} in {pod.namespace}"
        raise click.ClickException(f"{words}: {error}") from None


def _in_dump(text: bytes) -> list[Rule]:
    """Wherever filters are: within listeners, or in extensions that come by themselves."""
    try:
        return [rule for rbac in _rbacs(json.loads(text)) for rule in _rules(rbac)]
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"failed to unmarshal proxy config: {error}") from None


def _rbacs(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(_RBAC):
            yield value
        for below in value.values():
            yield from _rbacs(below)
    elif isinstance(value, list):
        for below in value:
            yield from _rbacs(below)


def _rules(rbac: dict[str, Any]) -> Iterator[Rule]:
    if rbac.get("rules") is not None:
        action, policies = _policies(rbac["rules"])
        if not policies:
            yield Rule(action, _NOBODY, "0")
        for name in policies:
            yield from _named(action, name)
    _, shadow = _policies(rbac.get("shadow_rules"))
    for name in shadow:
        if name.startswith("istio-ext-authz-"):
            yield from _named("CUSTOM", name)


def _policies(rules: Any) -> tuple[str, Mapping[str, Any]]:
    """The action, and the policies by their names, of what may be in any file."""
    given = rules if isinstance(rules, dict) else {}
    policies = given.get("policies")
    return str(given.get("action", "ALLOW")), policies if isinstance(policies, dict) else {}


def _named(action: str, name: str) -> Iterator[Rule]:
    if found := _NAME.search(name):
        yield Rule(action, f"{found[3]}.{found[2]}", found[4])


def _table(rules: Iterable[Rule]) -> None:
    counted: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for rule in rules:
        order = _ACTIONS.index(rule.action) if rule.action in _ACTIONS else len(_ACTIONS)
        counted[(order, rule.action, rule.policy)].add(rule.number)
    rows = [[action, policy, str(len(numbers))] for (_, action, policy), numbers in sorted(counted.items())]
    columns([["ACTION", "AuthorizationPolicy", "RULES"], *rows], 3)


def _ambient(cluster: Cluster, pod: pods.Pod, port: int) -> None:
    from ambientlab.cli import reading
    from ambientlab.mesh.ir import Key

    with cluster.api() as api:
        index, _ = reading.read(api)
    key = Key(pod.namespace, pod.name)
    workload = index.mesh.workloads.get(key)
    if workload is None or not workload.captured:
        raise click.ClickException(
            f"failed to get config dump from pod {pod.name} in {pod.namespace}: it is not in the mesh, and no"
            " AuthorizationPolicy is enforced for it"
        )
    click.echo(f"ztunnel, for connections to {pod.name}.{pod.namespace}:")
    _table(_in_ztunnel(cluster, pod, port))
    before: dict[tuple[Key, str], None] = {}
    for service in index.mesh.services.values():
        if any(endpoint.workload is not None and endpoint.workload.key == key for endpoint in service.endpoints):
            before |= dict.fromkeys((waypoint, service.host) for waypoint, _ in service.waypoints)
    if workload.waypoint is not None:
        before[(workload.waypoint, "")] = None
    for waypoint, host in before:
        guard = index.mesh.guards.get((waypoint, host))
        click.echo(f"\nwaypoint {waypoint}, for requests to {host or 'its address'}:")
        _table(
            Rule(policy.action.value, f"{policy.key.name}.{policy.key.namespace}", str(number))
            for policy in (guard.policies if guard is not None else ())
            for number in range(max(len(policy.rules), 1))
        )


def _in_ztunnel(cluster: Cluster, pod: pods.Pod, port: int) -> Iterator[Rule]:
    """Its policies for everybody, for the pod's namespace, and those that it is told for the pod (src/state.rs)."""
    from ambientlab.cli.ztunnel_config.commands import Source

    dump = Source(cluster, f"{pod.name}.{pod.namespace}", "", None, port).dump()
    own = [one for one in dump.workloads if (one["namespace"], one["name"]) == (pod.namespace, pod.name)]
    told = {policy for one in own for policy in one.get("authorizationPolicies") or ()}
    for policy in dump.policies:
        full = f"{policy['namespace']}/{policy['name']}"
        if (
            policy["scope"] == "Global"
            or (policy["scope"] == "Namespace" and policy["namespace"] == pod.namespace)
            or full in told
        ):
            for number in range(max(len(policy["rules"] or ()), 1)):
                yield Rule(policy["action"].upper(), f"{policy['name']}.{policy['namespace']}", str(number))
