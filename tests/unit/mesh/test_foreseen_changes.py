"""What controllers make of a change, foreseen."""

from __future__ import annotations

from typing import Any

import yaml

from ambientlab.api.kinds import (
    CUSTOMRESOURCEDEFINITION,
    DEPLOYMENT,
    ENDPOINTSLICE,
    GATEWAY,
    NAMESPACE,
    POD,
    SERVICE,
    SERVICEENTRY,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.mesh.foreseen import Change, foresee
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key, Workload
from support.explanations import cluster

V1 = Key("hello", "helloworld-v1")


def taken_up(*changes: Change) -> MeshIndex:
    """The lab's cluster with what becomes of it."""
    index = cluster().index()
    for resource, key, obj in foresee(index.sources, changes):
        if obj is not None:
            index.put(resource, obj)
        elif key in index.sources[resource]:
            index.remove(resource, index.sources[resource][key])
    index.settle()
    return index


def pods(index: MeshIndex, name: str) -> list[Workload]:
    return [workload for workload in index.mesh.workloads.values() if workload.workload_name == name]


def behind(index: MeshIndex, host: str = "helloworld.hello.svc.cluster.local") -> set[str]:
    return {end.workload.workload_name for end in index.mesh.services[host].endpoints if end.workload is not None}


def deployment(replicas: int = 1, **labels: str) -> Object:
    template: Any = {
        "metadata": {"labels": {"app": "helloworld", "version": "v1", **labels}},
        "spec": {"containers": []},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "helloworld-v1", "namespace": "hello"},
        "spec": {"replicas": replicas, "template": template},
    }


def change(resource: Resource, text: str) -> Change:
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, **yaml.safe_load(text)}
    return Change(resource, Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), None, obj)


def test_more_replicas_are_more_pods_in_the_mesh_and_behind_services() -> None:
    index = taken_up(Change(DEPLOYMENT, V1, deployment(), deployment(3)))
    found = pods(index, "helloworld-v1")
    assert [pod.captured for pod in found] == [True] * 3
    assert len({pod.ip for pod in found}) == 3
    assert len(index.mesh.services["helloworld.hello.svc.cluster.local"].endpoints) == 4


def test_no_replicas_are_no_pods() -> None:
    index = taken_up(Change(DEPLOYMENT, V1, deployment(), deployment(0)))
    assert pods(index, "helloworld-v1") == []
    assert behind(index) == {"helloworld-v2"}


def test_a_template_tells_who_pods_are() -> None:
    index = taken_up(Change(DEPLOYMENT, V1, deployment(), deployment(app="other", version="v9")))
    [pod] = pods(index, "helloworld-v1")
    assert dict(pod.labels)["version"] == "v9"
    assert behind(index) == {"helloworld-v2"}


def test_pods_go_with_their_deployment_and_all_with_their_namespace() -> None:
    gone = taken_up(Change(DEPLOYMENT, V1, deployment(), None))
    assert (pods(gone, "helloworld-v1"), behind(gone)) == ([], {"helloworld-v2"})
    index = taken_up(Change(NAMESPACE, Key("", "hello"), {"metadata": {"name": "hello"}}, None))
    assert {key.namespace for source in (POD, SERVICE, ENDPOINTSLICE, GATEWAY) for key in index.sources[source]} == {
        "test"
    }


def test_what_is_orphaned_stays_without_its_owner() -> None:
    kept = taken_up(Change(DEPLOYMENT, V1, deployment(), None, orphans=True))
    assert (len(pods(kept, "helloworld-v1")), behind(kept)) == (1, {"helloworld-v1", "helloworld-v2"})
    index = cluster().index()
    waypoint = Key("hello", "waypoint")
    [pod] = [obj for key, obj in index.sources[POD].items() if key.name.startswith("waypoint")]
    owner = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "waypoint", "uid": "1"}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "waypoint", "uid": "2"}
    pod["metadata"]["ownerReferences"] = [owner, other]
    change = Change(GATEWAY, waypoint, index.sources[GATEWAY][waypoint], None, orphans=True)
    found = {resource: obj for resource, _, obj in foresee(index.sources, [change])}
    left = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [other]}}
    assert found == {GATEWAY: None, POD: left}


def test_labels_of_a_namespace_take_its_pods_into_the_mesh_and_out_of_it() -> None:
    index = taken_up(change(NAMESPACE, "metadata: {name: hello}"))
    assert [pod.captured for pod in pods(index, "helloworld-v1")] == [False]
    assert [pod.captured for pod in pods(index, "curl")] == [True]


def test_a_service_selects_what_there_is() -> None:
    text = """
metadata: {name: all, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{name: http, port: 80, targetPort: 5000}]}
"""
    index = taken_up(change(SERVICE, text))
    service = index.mesh.services["all.hello.svc.cluster.local"]
    assert behind(index, service.host) == {"helloworld-v1", "helloworld-v2"}
    assert service.vips != ()
    assert {target for end in service.endpoints for _, target in end.ports} == {5000}


def test_gateways_of_waypoints_get_an_address_and_a_pod_and_others_do_not() -> None:
    text = "{{metadata: {{name: {0}, namespace: hello}}, spec: {{gatewayClassName: {1}, listeners: []}}}}"
    index = taken_up(
        change(GATEWAY, text.format("next", "istio-waypoint")), change(GATEWAY, text.format("edge", "istio"))
    )
    assert len(index.mesh.waypoints[Key("hello", "next")].members) == 1
    assert Key("hello", "edge") not in index.mesh.waypoints


def test_hosts_of_service_entries_get_addresses() -> None:
    text = """
metadata: {name: outside, namespace: hello}
spec: {hosts: [outside.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    assert len(taken_up(change(SERVICEENTRY, text)).mesh.services["outside.example"].vips) == 1


def test_what_a_gateway_owns_goes_with_it() -> None:
    """Its Service with its endpoints, and nothing that has another owner as well."""
    index = cluster().index()
    gateway = index.sources[GATEWAY][Key("hello", "waypoint")]
    owner = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "waypoint", "uid": "1"}
    for name, owners in (("waypoint", [owner]), ("shared", [owner, {**owner, "name": "another", "uid": "2"}])):
        metadata = {"name": name, "namespace": "hello", "ownerReferences": owners}
        slice_ = {"name": f"{name}-x", "namespace": "hello", "labels": {"kubernetes.io/service-name": name}}
        spec = {"clusterIP": "10.96.9.9", "ports": [{"port": 15008}]}
        index.put(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        index.put(ENDPOINTSLICE, {"metadata": slice_, "addressType": "IPv4", "endpoints": [], "ports": []})
    change = Change(GATEWAY, Key("hello", "waypoint"), gateway, None)
    gone = {(r.kind, key.name) for r, key, obj in foresee(index.sources, [change]) if obj is None}
    assert {("Gateway", "waypoint"), ("Service", "waypoint"), ("EndpointSlice", "waypoint-x")} <= gone
    assert not {name for _, name in gone} & {"shared", "shared-x"}


def test_what_its_owner_makes_again_is_there_again_unless_its_owner_goes_too() -> None:
    index = cluster().index()
    pods = {key: obj for key, obj in index.sources[POD].items() if key.name.startswith("helloworld-v1")}
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "waypoint", "uid": "1"}
    service = {"metadata": {"name": "waypoint", "namespace": "hello", "ownerReferences": [gateway]}}
    again = [Change(POD, key, obj, None) for key, obj in pods.items()]
    again.append(Change(SERVICE, Key("hello", "waypoint"), service, None))
    assert (len(again), foresee(index.sources, again)) == (2, [])
    owner = Change(DEPLOYMENT, V1, deployment(), None)
    for changes in ([owner, *again], [*again, owner]):
        gone = {key for resource, key, obj in foresee(index.sources, changes) if obj is None and resource is POD}
        assert gone == set(pods)


def test_with_the_definition_of_a_kind_all_its_objects_go() -> None:
    name = Key("", "gateways.gateway.networking.k8s.io")
    assert Key("hello", "waypoint") in cluster().index().mesh.waypoints
    mesh = taken_up(Change(CUSTOMRESOURCEDEFINITION, name, {"metadata": {"name": name.name}}, None)).mesh
    assert Key("hello", "waypoint") not in mesh.waypoints
    assert "waypoint" not in {workload.workload_name for workload in mesh.workloads.values()}
