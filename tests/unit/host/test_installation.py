"""What is said of an Istio that is not all there, or not where it usually is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ambientlab.api.kinds import GATEWAY, TLSROUTE, VIRTUALSERVICE
from ambientlab.api.objects import Object
from ambientlab.host.installation import incomplete, installation, other_clusters, without_kinds
from ambientlab.mesh.ir import Key
from support.istio_pods import istio, istiod

CAPTURED: Object = {
    "metadata": {"name": "curl", "namespace": "test", "annotations": {"ambient.istio.io/redirection": "enabled"}},
    "spec": {"nodeName": "node-2"},
}


def without(app: str) -> list[Object]:
    return [pod for pod in istio() if app not in pod["metadata"]["labels"].values()]


def said(pods: list[Object]) -> Iterator[str]:
    for gap in incomplete(installation(pods), pods):
        assert all(command.startswith(("kubectl ", "istioctl ")) for command in gap.commands)
        assert gap.commands, gap
        yield f"{gap.what}: {gap.why}"


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        (istio(), []),
        (istio("1.24.3", "mesh", "canary"), []),
        (without("istiod"), ["istiod: no pod has the label app=istiod, so nothing tells proxies of changes"]),
        (without("ztunnel"), ["ztunnel: no pod has the label app=ztunnel, so nothing carries what is captured"]),
        (
            without("istio-cni-node"),
            ["istio-cni: no pod has the label k8s-app=istio-cni-node, so no pod is put into the mesh"],
        ),
        (
            istio("1.22.8"),
            ["istiod: it is 1.22; what is said here is true of 1.24 and newer"],
        ),
        (
            [*istio(), istiod("1.31.0", "istio-system", "next", ready=True)],
            [
                "istiod: there are several; revision default in istio-system is taken for ztunnel's, not revision "
                "next in istio-system"
            ],
        ),
        (
            istio(ready=False),
            ["istiod: no pod of revision default in istio-system is Ready, so proxies go on with what they know"],
        ),
        (
            [*istio(), CAPTURED],
            ["ztunnel: not Ready on node-2, where pods are captured: nothing carries what they send"],
        ),
    ],
)
def test_what_is_missing_is_told_with_a_next_step(pods: list[Object], told: list[str]) -> None:
    assert list(said(pods)) == told


def test_the_configuration_is_that_of_the_istiod_that_ztunnel_asks() -> None:
    assert installation([]).config == Key("istio-system", "istio")
    assert installation(istio(namespace="mesh")).config == Key("mesh", "istio")
    assert installation(istio(revision="1-31")).config == Key("istio-system", "istio-1-31")
    both = [*istio(revision="new"), istiod("1.24.0", "istio-system", "default", ready=True)]
    assert installation(both).config == Key("istio-system", "istio-new")
    tagged = [*without("istiod"), istiod("1.31.0", "istio-system", "stable", ready=True)]
    assert installation(tagged).config == Key("istio-system", "istio-stable")


def test_the_domain_is_what_istiod_is_told() -> None:
    assert installation(istio()).domain == "cluster.local"
    for arguments in (["discovery", "--domain", "corp.example"], ["--domain=corp.example"]):
        pods = istio()
        pods[0]["spec"]["containers"][0]["args"] = arguments
        assert installation(pods).domain == "corp.example"


def test_what_stands_beside_istiod_is_not_istiod() -> None:
    pods = istio("1.31.0")
    [own] = pods[0]["spec"]["containers"]
    agent = {"name": "vault-agent", "image": "hashicorp/vault:1.15.2", "args": ["--domain=vault.example"]}
    pods[0]["spec"]["containers"] = [agent, own | {"name": "discovery"}]
    assert (list(said(pods)), installation(pods).domain) == ([], "cluster.local")


def test_clusters_that_a_gateway_leads_to_are_not_known() -> None:
    gateway = {"metadata": {"name": "eastwest", "namespace": "istio-system"}, "spec": {"gatewayClassName": "istio"}}
    assert list(other_clusters([gateway])) == []
    gateway["spec"]["gatewayClassName"] = "istio-east-west"
    [gap] = other_clusters([gateway])
    assert gap.why.startswith("Gateway istio-system/eastwest leads there")


def test_a_kind_that_is_not_there_is_told_where_without_it_there_is_half_an_istio() -> None:
    assert list(without_kinds([TLSROUTE])) == []
    assert [gap.what for gap in without_kinds([GATEWAY, TLSROUTE, VIRTUALSERVICE])] == ["Gateway API", "Istio's kinds"]
