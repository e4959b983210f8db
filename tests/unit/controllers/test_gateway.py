"""Waypoints: a Gateway, what runs it, and how the two stay together."""

import json

import pytest

from ambientlab.api.kinds import CONFIGMAP, DEPLOYMENT, GATEWAY, GATEWAYCLASS, NAMESPACE, SERVICE, SERVICEACCOUNT
from ambientlab.api.objects import annotations_of, labels_of, name
from support.fake_client import FakeClient

CHILDREN = (SERVICEACCOUNT, DEPLOYMENT, SERVICE)


def gateway(called="waypoint", class_="istio-waypoint", *, labels=None, annotations=None, listeners=None, **spec):
    """What `istioctl waypoint apply` sends."""
    mesh = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": "Gateway",
        "metadata": {
            "name": called,
            "namespace": "hello",
            "labels": {"istio.io/waypoint-for": "service"} if labels is None else labels,
            "annotations": annotations or {},
        },
        "spec": {"gatewayClassName": class_, "listeners": [mesh] if listeners is None else listeners, **spec},
    }


def child(cluster, resource, called="waypoint"):
    return cluster.client.get(resource, called, "hello")


async def test_a_waypoints_environment_has_the_meshs_trust_domain_and_what_it_says_of_proxies(cluster):
    place = {"name": "istio", "namespace": "istio-system"}
    mesh = "{trustDomain: mesh.example, defaultConfig: {drainDuration: 7s, concurrency: 3}}"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"mesh": mesh}}
    await cluster.namespace("istio-system")
    await cluster.create(CONFIGMAP, config)
    await cluster.create(GATEWAY, gateway())
    (proxy,) = child(cluster, DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in proxy["env"]}
    assert told["TRUST_DOMAIN"] == told["ISTIO_META_MESH_ID"] == "mesh.example"
    assert json.loads(told["PROXY_CONFIG"]) == {"drainDuration": "7s"}


async def test_a_waypoint_gets_account_deployment_and_service(cluster):
    created = await cluster.create(GATEWAY, gateway())
    for resource in CHILDREN:
        made = child(cluster, resource)
        assert labels_of(made) == {
            "istio.io/waypoint-for": "service",
            "gateway.networking.k8s.io/gateway-name": "waypoint",
            "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
            "gateway.istio.io/managed": "istio.io-mesh-controller",
        }
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Gateway", "waypoint", created["metadata"]["uid"])
    spec = child(cluster, SERVICE)["spec"]
    assert spec["type"] == "ClusterIP"
    assert [(p["name"], p["port"], p["protocol"], p["appProtocol"]) for p in spec["ports"]] == [
        ("status-port", 15021, "TCP", "tcp"),
        ("mesh", 15008, "TCP", "hbone"),
    ]
    assert spec["selector"] == {"gateway.networking.k8s.io/gateway-name": "waypoint"}


async def test_its_pods_are_proxies_outside_the_data_plane_they_serve(cluster):
    await cluster.create(GATEWAY, gateway())
    (pod,) = cluster.pods()
    labels = labels_of(pod)
    assert labels["istio.io/dataplane-mode"] == "none"
    assert labels["sidecar.istio.io/inject"] == "false"
    assert labels["service.istio.io/canonical-name"] == "waypoint"
    assert pod["spec"]["serviceAccountName"] == "waypoint"
    (proxy,) = pod["spec"]["containers"]
    assert (proxy["name"], proxy["image"]) == ("istio-proxy", "docker.io/istio/proxyv2:1.31.0")
    assert proxy["args"][:4] == ["proxy", "waypoint", "--domain", "$(POD_NAMESPACE).svc.cluster.local"]
    probe = proxy["readinessProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == ("/healthz/ready", 15021)
    env = {variable["name"]: variable for variable in proxy["env"]}
    assert env["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert env["ISTIO_META_OWNER"]["value"].endswith("/namespaces/hello/deployments/waypoint")
    assert annotations_of(pod)["prometheus.io/port"] == "15020"


async def test_deleting_the_gateway_takes_all_of_it_away(cluster):
    await cluster.create(GATEWAY, gateway())
    await cluster.run_pods()
    await cluster.delete(GATEWAY, "waypoint")
    await cluster.run_pods()
    assert [child(cluster, resource) for resource in CHILDREN] == [None] * 3
    assert cluster.pods() == []


@pytest.mark.parametrize("resource", CHILDREN, ids=lambda one: one.kind)
async def test_what_is_deleted_of_it_comes_back(resource, cluster):
    await cluster.create(GATEWAY, gateway())
    await cluster.run_pods()
    await cluster.delete(resource, "waypoint")
    assert child(cluster, resource) is not None


async def test_what_is_changed_of_it_is_put_right_and_the_rest_is_the_users(cluster):
    await cluster.create(GATEWAY, gateway())
    await cluster.change(SERVICE, "waypoint", {"spec": {"selector": {"gateway.networking.k8s.io/gateway-name": "x"}}})
    assert child(cluster, SERVICE)["spec"]["selector"] == {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    await cluster.change(DEPLOYMENT, "waypoint", {"spec": {"replicas": 3}, "metadata": {"labels": {"team": "a"}}})
    assert child(cluster, DEPLOYMENT)["spec"]["replicas"] == 3
    assert labels_of(child(cluster, DEPLOYMENT))["team"] == "a"


async def test_status_changes_cost_nothing(cluster):
    await cluster.create(GATEWAY, gateway())
    await cluster.run_pods()
    before = [child(cluster, resource)["metadata"]["resourceVersion"] for resource in CHILDREN]
    since = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    programmed = {"conditions": [{"type": "Programmed", "status": "True", "reason": "Up", "message": "", **since}]}
    await cluster.change(GATEWAY, "waypoint", {"status": programmed}, subresource="status")
    assert [child(cluster, resource)["metadata"]["resourceVersion"] for resource in CHILDREN] == before


async def test_labels_taken_off_the_gateway_go_from_what_it_made(cluster):
    await cluster.create(GATEWAY, gateway(labels={"team": "a"}))
    assert labels_of(child(cluster, SERVICE))["team"] == "a"
    await cluster.change(GATEWAY, "waypoint", {"metadata": {"labels": {"team": None}}})
    assert "team" not in labels_of(child(cluster, SERVICE))


async def test_infrastructure_labels_and_annotations_replace_the_gateways_own(cluster):
    infrastructure = {
        "labels": {"team": "b", "gateway.networking.k8s.io/gateway-name": "forged"},
        "annotations": {"note": "x"},
    }
    await cluster.create(GATEWAY, gateway(labels={"team": "a"}, infrastructure=infrastructure))
    (pod,) = cluster.pods()
    for made in (*[child(cluster, resource) for resource in CHILDREN], pod):
        assert labels_of(made)["team"] == "b"
        assert labels_of(made)["gateway.networking.k8s.io/gateway-name"] == "waypoint"
        assert annotations_of(made)["note"] == "x"


async def test_annotations_name_and_type_what_is_made(cluster):
    annotations = {
        "gateway.istio.io/name-override": "proxy",
        "gateway.istio.io/service-account": "runner",
        "networking.istio.io/service-type": "LoadBalancer",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "note": "x",
    }
    await cluster.create(GATEWAY, gateway(annotations=annotations))
    made = child(cluster, SERVICE, "proxy")
    assert made["spec"]["type"] == "LoadBalancer"
    assert annotations_of(made) == {"networking.istio.io/traffic-distribution": "PreferClose", "note": "x"} | {
        "networking.istio.io/service-type": "LoadBalancer"
    }
    assert child(cluster, SERVICEACCOUNT, "runner") is not None
    assert child(cluster, DEPLOYMENT, "proxy")["spec"]["template"]["spec"]["serviceAccountName"] == "runner"


async def test_every_listener_port_is_served_once(cluster):
    listeners = [
        {"name": "mesh", "port": 15008, "protocol": "HBONE"},
        {"name": "a.long.name", "port": 80, "protocol": "HTTP"},
        {"name": "again", "port": 80, "protocol": "HTTP", "hostname": "example.org"},
    ]
    await cluster.create(GATEWAY, gateway(listeners=listeners))
    ports = child(cluster, SERVICE)["spec"]["ports"]
    assert [(port["name"], port["port"]) for port in ports] == [
        ("status-port", 15021),
        ("mesh", 15008),
        ("a-long-name", 80),
    ]


@pytest.mark.parametrize(
    "draft",
    [
        gateway(class_="istio"),
        gateway(class_="somebody-elses"),
        gateway(addresses=[{"type": "Hostname", "value": "waypoint.elsewhere"}]),
    ],
    ids=["another controller", "unknown class", "runs elsewhere"],
)
async def test_gateways_that_are_not_ours_to_deploy(draft, cluster):
    await cluster.create(GATEWAY, draft)
    assert [child(cluster, resource) for resource in CHILDREN] == [None] * 3


async def test_a_class_of_the_users_own_for_our_controller(cluster):
    await cluster.create(GATEWAY, gateway(class_="mine"))
    assert child(cluster, SERVICE) is None
    own = {"apiVersion": GATEWAYCLASS.api_version, "kind": "GatewayClass", "metadata": {"name": "mine"}}
    await cluster.create(GATEWAYCLASS, {**own, "spec": {"controllerName": "istio.io/mesh-controller"}})
    assert labels_of(child(cluster, SERVICE))["gateway.networking.k8s.io/gateway-class-name"] == "mine"


async def test_what_exists_already_is_not_taken_over(cluster):
    mine = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "waypoint", "namespace": "hello"}}
    await cluster.create(SERVICE, {**mine, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}})
    await cluster.create(GATEWAY, gateway())
    assert [port["port"] for port in child(cluster, SERVICE)["spec"]["ports"]] == [80]
    assert child(cluster, DEPLOYMENT) is not None
    ((type_, _, message),) = [event for event in await cluster.events("waypoint") if event[1] == "NotManaged"]
    assert (type_, "Service waypoint exists" in message) == ("Warning", True)


def parameters(called="extra", **spec):
    return gateway(infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": called}}, **spec)


def config_map(called="extra", space="hello", labels=None, **data):
    meta = {"name": called, "namespace": space, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


DEPLOYMENT_PATCH = """
metadata: {labels: {patched: "yes"}}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: istio-proxy
        resources: {requests: {cpu: 222m}}
        env: [{name: EXTRA, value: x}]
"""


async def test_parameters_are_merged_into_what_is_made(cluster):
    """Lists of named things by name, as strategic merge patches do; what they say no more goes again."""
    service = "spec:\n  ports: [{port: 15020, name: metrics}]\n  sessionAffinity: ClientIP\n"
    account = "metadata: {annotations: {note: y}}"
    await cluster.create(CONFIGMAP, config_map(deployment=DEPLOYMENT_PATCH, service=service, serviceAccount=account))
    await cluster.create(GATEWAY, parameters())
    made = child(cluster, DEPLOYMENT)
    assert labels_of(made)["patched"] == "yes"
    assert made["spec"]["replicas"] == 2
    (proxy,) = made["spec"]["template"]["spec"]["containers"]
    assert proxy["resources"]["requests"] == {"cpu": "222m", "memory": "128Mi"}
    assert {"EXTRA", "POD_NAME"} <= {variable["name"] for variable in proxy["env"]}
    spec = child(cluster, SERVICE)["spec"]
    assert spec["sessionAffinity"] == "ClientIP"
    assert {port["port"] for port in spec["ports"]} == {15008, 15020, 15021}
    assert annotations_of(child(cluster, SERVICEACCOUNT))["note"] == "y"

    await cluster.change(CONFIGMAP, "extra", {"data": {"deployment": "spec: {replicas: 3}", "service": None}})
    made = child(cluster, DEPLOYMENT)
    assert made["spec"]["replicas"] == 3
    assert "patched" not in labels_of(made)
    assert len(child(cluster, SERVICE)["spec"]["ports"]) == 2


async def test_a_class_has_defaults_that_parameters_go_over(cluster):
    of_class = {"gateway.istio.io/defaults-for-class": "istio-waypoint"}
    await cluster.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})
    defaults = "metadata: {labels: {patched: default, kept: default}}"
    await cluster.create(CONFIGMAP, config_map("defaults", "istio-system", of_class, deployment=defaults))
    await cluster.create(CONFIGMAP, config_map("elsewhere", "hello", of_class, deployment="spec: {replicas: 9}"))
    await cluster.create(CONFIGMAP, config_map(deployment=DEPLOYMENT_PATCH))
    await cluster.create(GATEWAY, parameters())
    assert child(cluster, DEPLOYMENT)["spec"]["replicas"] == 2
    found = labels_of(child(cluster, DEPLOYMENT))
    assert (found["patched"], found["kept"]) == ("yes", "default")


async def test_parameters_are_waited_for(cluster):
    await cluster.create(GATEWAY, parameters())
    assert [child(cluster, resource) for resource in CHILDREN] == [None] * 3
    ((type_, reason, message),) = await cluster.events("waypoint")
    assert (type_, reason) == ("Warning", "InvalidParameters")
    assert message == 'parametersRef targeting configmap "hello/extra", but configmap does not exist'
    await cluster.create(CONFIGMAP, config_map(deployment="spec: {replicas: 2}"))
    assert child(cluster, DEPLOYMENT)["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"daemonset": "{}"}, 'unsupported overlay "daemonset" (supported: [deployment horizontalPodAutoscaler'),
        ({"deployment": "metadata: {name: other}"}, "deployment: illegal metadata change"),
        ({"service": "metadata: {finalizers: [x]}"}, "service: illegal metadata change"),
        ({"deployment": "spec: {template: {spec: {containers: [{image: x}]}}}"}, "does not contain declared merge key"),
        ({"deployment": "a: b: c"}, "mapping values are not allowed"),
        ({"deployment": "[]"}, "a patch is a map of fields"),
        ({"deployment": "$patch: delete"}, "deployment: illegal metadata change"),
    ],
)
async def test_parameters_that_make_no_sense_change_nothing(data, complaint, cluster):
    await cluster.create(CONFIGMAP, config_map(**data))
    await cluster.create(GATEWAY, parameters())
    assert [child(cluster, resource) for resource in CHILDREN] == [None] * 3
    ((type_, _, message),) = await cluster.events("waypoint")
    assert type_ == "Warning"
    assert complaint in message


@pytest.mark.parametrize(
    ("pod", "complaint"),
    [
        ("hostPID: true", "spec.template.spec.hostPID: Forbidden: disallowed by cluster policy"),
        (
            "containers: [{name: istio-proxy, securityContext: {privileged: true}}]",
            "securityContext.privileged: Forbidden: disallowed by cluster policy",
        ),
        ("containers: [{name: istio-proxy, image: ''}]", "spec.template.spec.containers[0].image: Required value"),
    ],
)
async def test_parameters_ask_for_no_more_than_a_pod_may(pod, complaint, cluster, caplog):
    await cluster.create(CONFIGMAP, config_map(deployment=f"spec: {{template: {{spec: {{{pod}}}}}}}"))
    await cluster.create(GATEWAY, parameters())
    if isinstance(cluster.client, FakeClient):
        return  # which takes every object
    assert child(cluster, DEPLOYMENT) is None
    ((type_, reason, message),) = await cluster.events("waypoint")
    assert (type_, reason) == ("Warning", "InvalidParameters")
    assert complaint in message
    assert not any(record.exc_info for record in caplog.records)
    await cluster.change(CONFIGMAP, "extra", {"data": {"deployment": "spec: {replicas: 2}"}})
    assert child(cluster, DEPLOYMENT)["spec"]["replicas"] == 2


async def test_kinds_that_are_not_built_are_said_to_be_missing(cluster):
    await cluster.create(CONFIGMAP, config_map(horizontalPodAutoscaler="spec: {maxReplicas: 3}"))
    await cluster.create(GATEWAY, parameters())
    assert child(cluster, DEPLOYMENT) is not None
    ((type_, _, message),) = [event for event in await cluster.events("waypoint") if event[1] == "Unsupported"]
    assert type_ == "Warning"
    assert message == "horizontalPodAutoscaler is not supported by ambientlab: nothing is made of it"


async def test_the_classes_are_there_and_accepted(cluster):
    found = {name(one): one for one in cluster.client.list(GATEWAYCLASS)}
    assert {called: one["spec"]["controllerName"] for called, one in found.items()} == {
        "istio": "istio.io/gateway-controller",
        "istio-waypoint": "istio.io/mesh-controller",
    }
    for one in found.values():
        accepted = cluster.condition(one, "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("True", "Accepted")
        assert accepted["observedGeneration"] == one["metadata"]["generation"] == 1


async def test_a_deleted_class_comes_back_and_a_changed_one_is_accepted_anew(cluster):
    await cluster.delete(GATEWAYCLASS, "istio-waypoint", home="")
    assert cluster.client.get(GATEWAYCLASS, "istio-waypoint") is not None
    await cluster.change(GATEWAYCLASS, "istio-waypoint", {"spec": {"description": "ours"}}, home="")
    changed = cluster.client.get(GATEWAYCLASS, "istio-waypoint")
    assert changed["spec"]["description"] == "ours"
    assert cluster.condition(changed, "Accepted")["observedGeneration"] == changed["metadata"]["generation"] == 2


async def test_events_say_nothing_of_a_waypoint_that_is_fine(cluster):
    await cluster.create(GATEWAY, gateway())
    await cluster.run_pods()
    assert {type_ for type_, _, _ in await cluster.events("waypoint")} == {"Normal"}
