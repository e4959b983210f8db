"""The defaults a kube-apiserver fills in."""

from __future__ import annotations

import pytest

from ambientlab.api import kinds
from ambientlab.api.defaults.pods import pull_policy
from support.api_samples import DEPLOYMENT, GATEWAY, HTTPROUTE, POD, SERVICE, spoiled


def test_a_pod_gets_kubernetes_defaults(admitted) -> None:
    spec = admitted(kinds.POD, POD)["spec"]
    tolerations = spec.pop("tolerations")
    assert {(one["key"], one["effect"], one["tolerationSeconds"]) for one in tolerations} == {
        ("node.kubernetes.io/not-ready", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "NoExecute", 300),
    }
    assert spec == {
        "containers": [
            {
                "name": "curl",
                "image": "curlimages/curl",
                "command": ["sleep", "infinity"],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "enableServiceLinks": True,
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("curl", "Always"),
        ("curl:latest", "Always"),
        ("curl:1", "IfNotPresent"),
        ("localhost:5000/curl", "Always"),
        ("localhost:5000/curl:1", "IfNotPresent"),
        ("curl@sha256:00", "IfNotPresent"),
        ("curl:latest@sha256:00", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image, policy) -> None:
    assert pull_policy(image) == policy


def test_probes_ports_and_volumes(admitted) -> None:
    pod = spoiled(POD, "spec.containers.0.readinessProbe", {"httpGet": {"port": 80}})
    pod = spoiled(pod, "spec.containers.0.ports", [{"containerPort": 80}])
    pod = spoiled(pod, "spec.hostNetwork", True)
    pod = spoiled(pod, "spec.volumes", [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}])
    spec = admitted(kinds.POD, pod)["spec"]
    assert spec["containers"][0]["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert spec["volumes"][0] == {"name": "a", "emptyDir": {}}
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o644


def test_a_deployment_rolls_by_quarters(admitted) -> None:
    spec = admitted(kinds.DEPLOYMENT, DEPLOYMENT)["spec"]
    del spec["template"], spec["selector"]
    assert spec == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    }


def test_a_service_targets_its_own_port(admitted) -> None:
    spec = admitted(kinds.SERVICE, SERVICE)["spec"]
    assert spec["ports"] == [{"name": "http", "port": 5000, "protocol": "TCP", "targetPort": 5000}]
    assert spec["type"] == "ClusterIP"
    assert spec["sessionAffinity"] == "None"
    assert spec["internalTrafficPolicy"] == "Cluster"
    assert "ipFamilies" not in spec, "that depends on the cluster"


def test_a_secret_keeps_text_as_data(admitted) -> None:
    secret = {"metadata": {"name": "s", "namespace": "n"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}}
    obj = admitted(kinds.SECRET, secret)
    assert obj["data"] == {"a": "Yg==", "c": "ZA=="}
    assert "stringData" not in obj
    assert obj["type"] == "Opaque"


def test_custom_resources_get_the_defaults_of_their_schema(admitted) -> None:
    rule = admitted(kinds.HTTPROUTE, HTTPROUTE)["spec"]["rules"][0]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"][0]["kind"] == "Service"
    gateway = admitted(kinds.GATEWAY, GATEWAY)
    assert gateway["spec"]["listeners"][0]["allowedRoutes"] == {"namespaces": {"from": "Same"}}
    assert [one["type"] for one in gateway["status"]["conditions"]] == ["Accepted", "Programmed"]


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        (kinds.POD, POD),
        (kinds.DEPLOYMENT, DEPLOYMENT),
        (kinds.SERVICE, SERVICE),
        (kinds.HTTPROUTE, HTTPROUTE),
        (kinds.GATEWAY, GATEWAY),
    ],
)
def test_admission_is_idempotent(admitted, resource, obj) -> None:
    """Else `kubectl apply` of what `kubectl get` printed would not be `unchanged`."""
    once = admitted(resource, obj)
    assert admitted(resource, once, old=once) == once
