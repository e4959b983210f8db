"""Variables, command lines and identity files of a container."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.node.agent import environment
from ambientlab.node.agent.environment import ConfigError

POD: dict[str, Any] = {
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "uid": "u-1",
        "labels": {"app": "web", "v": 'a"b'},
        "annotations": {"note/x": "hi"},
    },
    "spec": {
        "nodeName": "ambientlab",
        "serviceAccountName": "web",
        "containers": [{"name": "main", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}],
    },
    "status": {"podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}], "hostIP": "10.244.0.1"},
}
CONTAINER = POD["spec"]["containers"][0]
STORED = {
    ("ConfigMap", "conf"): {
        "kind": "ConfigMap",
        "metadata": {"name": "conf", "namespace": "shop"},
        "data": {"a": "1"},
        "binaryData": {"blob": "AAE="},
    },
    ("Secret", "key"): {"kind": "Secret", "metadata": {"name": "key", "namespace": "shop"}, "data": {"raw": "/w=="}},
    ("Secret", "sec"): {
        "kind": "Secret",
        "metadata": {"name": "sec", "namespace": "shop"},
        "data": {"pass": base64.b64encode(b"geheim").decode()},
    },
}


def lookup(kind: str, name: str) -> Any:
    return STORED.get((kind, name))


def variables(**container: Any) -> dict[str, str]:
    return environment.container_variables(POD, {**CONTAINER, **container}, {"HOSTNAME": "web-1"}, lookup)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A) and $(B)", "1 and $(B)"),
        ("$$(A)", "$(A)"),
        ("$A $ $(", "$A $ $("),
        ("$(A)$(A)", "11"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$()", "$()"),
    ],
)
def test_references_expand_as_kubernetes_documents(text: str, expected: str) -> None:
    assert environment.expand(text, {"A": "1"}) == expected


@given(st.text(alphabet="$()AB \n"))
def test_expansion_takes_any_text(text: str) -> None:
    assert environment.expand(text, {}).count("A") == text.count("A")


def test_variables_from_everywhere() -> None:
    env = variables(
        envFrom=[{"prefix": "C_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "sec"}}],
        env=[
            {"name": "PLAIN", "value": "$(C_a)-$(pass)"},
            {"name": "EMPTY"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "pass"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "x", "optional": True}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "SA", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
    )
    assert env == {
        "HOSTNAME": "web-1",
        "C_a": "1",
        "pass": "geheim",
        "PLAIN": "1-geheim",
        "EMPTY": "",
        "KEY": "1",
        "SECRET": "geheim",
        "IP": "10.244.0.9",
        "APP": "web",
        "SA": "web",
        "CPU": "2",
        "MEM": "64",
    }


@pytest.mark.parametrize("limit", ["9" * 5000, "1e999", "9223372036854775807"])
def test_no_limit_is_more_than_the_largest_quantity(limit: str) -> None:
    source = {"valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}
    env = variables(env=[{"name": "MEM", **source}], resources={"limits": {"memory": limit}})
    assert env["MEM"] == "9223372036854775807"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "a"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "sec", "key": "b"}}, "couldn't find key b in Secret shop/sec"),
        ({"configMapKeyRef": {"name": "conf", "key": "blob"}}, "couldn't find key blob in ConfigMap shop/conf"),
        (
            {"secretKeyRef": {"name": "key", "key": "raw"}},
            "key raw in Secret shop/key is no UTF-8, which a variable has to be: mount it as a file",
        ),
        ({"fieldRef": {"fieldPath": "status.phase"}}, "unsupported fieldPath: status.phase"),
        ({"fileKeyRef": {"path": "x"}}, "env valueFrom fileKeyRef is not supported by ambientlab"),
    ],
)
def test_what_is_missing_is_named(source: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        variables(env=[{"name": "X", "valueFrom": source}])
    assert str(refused.value) == message


def test_no_variable_is_made_of_what_is_no_text() -> None:
    with pytest.raises(ConfigError, match="key raw in Secret shop/key is no UTF-8"):
        variables(envFrom=[{"secretRef": {"name": "key"}}])


def test_labels_as_a_file_are_quoted_and_sorted() -> None:
    assert environment.field_value(POD, "metadata.labels") == 'app="web"\nv="a\\"b"'


def test_service_variables() -> None:
    service = {
        "metadata": {"name": "hello-world"},
        "spec": {"clusterIP": "10.96.3.4", "ports": [{"name": "http-web", "port": 5000, "protocol": "TCP"}]},
    }
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    assert environment.service_variables([service, headless]) == {
        "HELLO_WORLD_SERVICE_HOST": "10.96.3.4",
        "HELLO_WORLD_SERVICE_PORT": "5000",
        "HELLO_WORLD_SERVICE_PORT_HTTP_WEB": "5000",
        "HELLO_WORLD_PORT": "tcp://10.96.3.4:5000",
        "HELLO_WORLD_PORT_5000_TCP": "tcp://10.96.3.4:5000",
        "HELLO_WORLD_PORT_5000_TCP_PROTO": "tcp",
        "HELLO_WORLD_PORT_5000_TCP_PORT": "5000",
        "HELLO_WORLD_PORT_5000_TCP_ADDR": "10.96.3.4",
    }


def with_spec(**spec: Any) -> dict[str, Any]:
    return {**POD, "spec": {**POD["spec"], **spec}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        ),
        ({"hostNetwork": True}, "nameserver 10.96.0.10\n"),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        ),
        ({"dnsPolicy": "Default"}, "nameserver 10.96.0.10\n"),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.2.3.4"], "searches": ["x.y"], "options": [{"name": "edns0"}]},
            },
            "search x.y\nnameserver 1.2.3.4\noptions edns0\n",
        ),
        (
            {"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}},
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:1\n",
        ),
    ],
)
def test_resolv_conf_follows_the_dns_policy(spec: Any, expected: str) -> None:
    assert environment.resolv_conf(with_spec(**spec), "10.96.0.10", "cluster.local").decode() == expected


def test_hosts_name_the_pod_its_subdomain_and_aliases() -> None:
    pod = with_spec(hostname="db-0", subdomain="db", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = environment.hosts_file(pod, ("10.244.0.9",), "cluster.local").decode()
    assert "10.244.0.9\tdb-0.db.shop.svc.cluster.local\tdb-0\n" in text
    assert text.endswith("1.2.3.4\ta\tb\n")


def test_a_host_name_is_cut_to_what_a_kernel_takes() -> None:
    pod = {"metadata": {"name": "a" * 62 + "-" + "b" * 9}, "spec": {}}
    assert environment.hostname(pod) == "a" * 62
