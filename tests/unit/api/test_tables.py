"""What `kubectl get` prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ambientlab.api import kinds, objects, tables
from ambientlab.api.jsonpath import PathError, compile_path, find
from support.api_samples import (
    BACKENDTLSPOLICY,
    DESTINATIONRULE,
    HTTPROUTE,
    SERVICEENTRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _ago(seconds: int) -> str:
    return objects.timestamp(NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (8, "8s"),
        (119, "119s"),
        (141, "2m21s"),
        (180, "3m"),
        (720, "12m"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (50 * 3600, "2d2h"),
        (10 * 86400, "10d"),
        (800 * 86400, "2y70d"),
        (-1, "0s"),
        (-5, "<invalid>"),
    ],
)
def test_ages(seconds, text) -> None:
    assert tables.duration(seconds) == text


def _container(**state: object) -> dict[str, object]:
    return {"name": "c", "ready": False, "restartCount": 0, **state}


def _pod(status: dict[str, object], **metadata: object) -> dict[str, object]:
    return {
        "metadata": {"name": "p", "creationTimestamp": _ago(8), **metadata},
        "spec": {"containers": [{"name": "c"}], "nodeName": "ambientlab"},
        "status": status,
    }


RUNNING = _container(ready=True, state={"running": {}})
PODS = [
    (_pod({"phase": "Running", "containerStatuses": [RUNNING]}), ["1/1", "Running", "0"]),
    (_pod({"phase": "Pending"}), ["0/1", "Pending", "0"]),
    (
        _pod(
            {
                "phase": "Pending",
                "containerStatuses": [_container(state={"waiting": {"reason": "ErrImagePull"}})],
            }
        ),
        ["0/1", "ErrImagePull", "0"],
    ),
    (
        _pod(
            {
                "phase": "Running",
                "containerStatuses": [
                    _container(
                        restartCount=3,
                        state={"waiting": {"reason": "CrashLoopBackOff"}},
                        lastState={"terminated": {"finishedAt": _ago(5)}},
                    )
                ],
            }
        ),
        ["0/1", "CrashLoopBackOff", "3 (5s ago)"],
    ),
    (
        _pod(
            {
                "phase": "Succeeded",
                "containerStatuses": [_container(state={"terminated": {"exitCode": 0, "reason": "Completed"}})],
            }
        ),
        ["0/1", "Completed", "0"],
    ),
    (
        _pod({"phase": "Failed", "containerStatuses": [_container(state={"terminated": {"exitCode": 7}})]}),
        ["0/1", "ExitCode:7", "0"],
    ),
    (
        _pod({"phase": "Running", "containerStatuses": [RUNNING]}, deletionTimestamp=_ago(0)),
        ["1/1", "Terminating", "0"],
    ),
    (
        _pod(
            {"phase": "Pending", "initContainerStatuses": [_container(state={"waiting": {"reason": "ErrImagePull"}})]}
        ),
        ["0/1", "Init:ErrImagePull", "0"],
    ),
]


@pytest.mark.parametrize(("pod", "cells"), PODS, ids=[case[1][1] for case in PODS])
def test_the_status_of_a_pod(registry, pod, cells) -> None:
    (row,) = tables.table(registry, kinds.POD, [pod], NOW)["rows"]
    assert row["cells"] == ["p", *cells, "8s", "<none>", "ambientlab", "<none>", "<none>"]


def _meta(name: str, seconds: int) -> dict[str, object]:
    return {"name": name, "namespace": "hello", "creationTimestamp": _ago(seconds)}


ROWS = [
    (
        kinds.SERVICE,
        {
            "metadata": _meta("waypoint", 141),
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "10.100.95.103",
                "ports": [{"port": 15021, "protocol": "TCP"}, {"port": 15008, "protocol": "TCP"}],
            },
        },
        ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
        ["waypoint", "ClusterIP", "10.100.95.103", "<none>", "15021/TCP,15008/TCP", "2m21s"],
    ),
    (
        kinds.DEPLOYMENT,
        {
            "metadata": _meta("waypoint", 9),
            "spec": {"replicas": 1},
            "status": {"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        },
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
        ["waypoint", "1/1", 1, 1, "9s"],
    ),
    (
        kinds.NAMESPACE,
        {"metadata": _meta("hello", 780), "status": {"phase": "Active"}},
        ["NAME", "STATUS", "AGE"],
        ["hello", "Active", "13m"],
    ),
    (
        kinds.DAEMONSET,
        {"metadata": _meta("ztunnel", 9), "spec": {"template": {}}, "status": {"desiredNumberScheduled": 1}},
        ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", "AGE"],
        ["ztunnel", 1, 0, 0, 0, 0, "<none>", "9s"],
    ),
    (
        kinds.NODE,
        {
            "metadata": _meta("ambientlab", 9),
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.37.1"},
            },
        },
        ["NAME", "STATUS", "ROLES", "AGE", "VERSION"],
        ["ambientlab", "Ready", "<none>", "9s", "v1.37.1"],
    ),
    (
        kinds.EVENT,
        {
            "metadata": _meta("e", 60),
            "type": "Warning",
            "reason": "Failed",
            "message": "no such image\n",
            "count": 3,
            "firstTimestamp": _ago(60),
            "lastTimestamp": _ago(5),
            "involvedObject": {"kind": "Pod", "name": "p"},
        },
        ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"],
        ["5s (x3 over 60s)", "Warning", "Failed", "pod/p", "no such image"],
    ),
    (
        kinds.ENDPOINTSLICE,
        {
            "metadata": _meta("h", 9),
            "addressType": "IPv4",
            "ports": [{"port": 5000}],
            "endpoints": [{"addresses": [f"10.244.0.{i}"]} for i in range(5)],
        },
        ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
        ["h", "IPv4", "5000", "10.244.0.0,10.244.0.1,10.244.0.2 + 2 more...", "9s"],
    ),
    (
        kinds.VIRTUALSERVICE,
        VIRTUALSERVICE | {"metadata": _meta("hello-world-vs", 10)},
        ["NAME", "GATEWAYS", "HOSTS", "AGE"],
        ["hello-world-vs", None, '["helloworld"]', "10s"],
    ),
    (
        kinds.DESTINATIONRULE,
        DESTINATIONRULE | {"metadata": _meta("hello-world-dr", 16)},
        ["NAME", "HOST", "AGE"],
        ["hello-world-dr", "helloworld", "16s"],
    ),
    (
        kinds.BACKENDTLSPOLICY,
        BACKENDTLSPOLICY | {"metadata": _meta("shop", 7)},
        ["NAME", "AGE"],
        ["shop", "7s"],
    ),
    (
        kinds.SERVICEENTRY,
        SERVICEENTRY | {"metadata": _meta("api", 5)},
        ["NAME", "HOSTS", "LOCATION", "RESOLUTION", "AGE"],
        ["api", '["api.example.com"]', "MESH_EXTERNAL", "STATIC", "5s"],
    ),
    (
        kinds.WORKLOADENTRY,
        WORKLOADENTRY | {"metadata": _meta("vm", 6)},
        ["NAME", "AGE", "ADDRESS"],
        ["vm", "6s", "192.0.2.7"],
    ),
    (
        kinds.HTTPROUTE,
        HTTPROUTE | {"metadata": _meta("split", 0)},
        ["NAME", "HOSTNAMES", "AGE"],
        ["split", None, "0s"],
    ),
    (
        kinds.GATEWAY,
        {
            "metadata": _meta("waypoint", 9),
            "spec": {"gatewayClassName": "istio-waypoint"},
            "status": {
                "addresses": [{"value": "10.96.0.3"}],
                "conditions": [{"type": "Accepted", "status": "True"}, {"type": "Programmed", "status": "True"}],
            },
        },
        ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"],
        ["waypoint", "istio-waypoint", "10.96.0.3", "True", "9s"],
    ),
    (
        kinds.GATEWAYCLASS,
        {"metadata": _meta("istio", 9), "spec": {"controllerName": "istio.io/gateway-controller"}},
        ["NAME", "CONTROLLER", "ACCEPTED", "AGE"],
        ["istio", "istio.io/gateway-controller", None, "9s"],
    ),
    (kinds.REFERENCEGRANT, {"metadata": _meta("r", 9)}, ["NAME", "AGE"], ["r", "9s"]),
    (kinds.CUSTOMRESOURCEDEFINITION, {"metadata": _meta("c", 0)}, ["NAME", "CREATED AT"], ["c", _ago(0)]),
    (kinds.CONFIGMAP, {"metadata": _meta("c", 9), "data": {"a": ""}}, ["NAME", "DATA", "AGE"], ["c", 1, "9s"]),
    (
        kinds.SECRET,
        {"metadata": _meta("s", 9), "type": "Opaque"},
        ["NAME", "TYPE", "DATA", "AGE"],
        ["s", "Opaque", 0, "9s"],
    ),
    (
        kinds.LEASE,
        {"metadata": _meta("l", 9), "spec": {"holderIdentity": "h"}},
        ["NAME", "HOLDER", "AGE"],
        ["l", "h", "9s"],
    ),
]


@pytest.mark.parametrize(("resource", "obj", "head", "cells"), ROWS, ids=[case[0].kind for case in ROWS])
def test_columns_and_cells(registry, resource, obj, head, cells) -> None:
    table = tables.table(registry, resource, [obj], NOW)
    narrow = [index for index, column in enumerate(table["columnDefinitions"]) if not column["priority"]]
    assert [table["columnDefinitions"][index]["name"].upper() for index in narrow] == head
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert [row["cells"][index] for index in narrow] == cells
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_watches_do_not_repeat_the_head(registry) -> None:
    table = tables.table(registry, kinds.POD, [], NOW, columns=False, list_metadata={"resourceVersion": "7"})
    assert (table["columnDefinitions"], table["metadata"]) == ([], {"resourceVersion": "7"})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("a.b", [1]),
        (".list[*].n", [1, 2]),
        (".list[1].n", [2]),
        (".list[-1].n", [2]),
        ('.list[?(@.t=="y")].n', [2]),
        (".list[?(@.t!='y')].n", [1]),
        (r".dotted\.key", [3]),
        ("['dotted.key']", [3]),
        (".missing.x", []),
    ],
)
def test_json_paths_of_columns(path, found) -> None:
    value = {"a": {"b": 1}, "list": [{"n": 1, "t": "x"}, {"n": 2, "t": "y"}], "dotted.key": 3}
    assert find(compile_path(path), value) == found


def test_a_path_with_more_than_columns_may_use() -> None:
    with pytest.raises(PathError):
        compile_path("..a")
