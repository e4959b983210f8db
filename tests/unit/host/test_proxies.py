"""Who may run the images of the proxies."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ambientlab.api.objects import Object
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.host.proxies import ProxyTokens, bootstraps
from ambientlab.images.program import Launch
from support.memory_client import MemoryClient

CONTAINER = {"name": "c", "image": "docker.io/istio/ztunnel"}


def launched(image: str, namespace: str, account: str) -> Launch:
    tokens = ProxyTokens(MemoryClient(), TokenSigner(ec.generate_private_key(ec.SECP256R1())))
    pod: Object = {
        "metadata": {"name": "p", "namespace": namespace, "uid": "u"},
        "spec": {"serviceAccountName": account},
    }
    return bootstraps(tokens, Path("/run/xds/xds.sock"))[image](pod, CONTAINER)


@pytest.mark.parametrize(("namespace", "account"), [("default", "ztunnel"), ("istio-system", "default")])
def test_no_pod_but_the_node_proxys_runs_privileged(namespace: str, account: str) -> None:
    with pytest.raises(ValueError, match="runs only as service account ztunnel of namespace istio-system"):
        launched("ztunnel", namespace, account)
    assert not launched("proxyv2", namespace, account).privileged


def test_the_node_proxy_runs_privileged() -> None:
    assert launched("ztunnel", "istio-system", "ztunnel").privileged
