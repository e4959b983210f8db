"""Who may run the images of the proxies, and whom a waypoint's end asks."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ambientlab.api.objects import Object
from ambientlab.apiserver.tokens import TokenSigner
from ambientlab.host import proxies
from ambientlab.host.proxies import ProxyTokens, bootstraps, waypoint_drain
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


@pytest.mark.parametrize(("place", "questions"), [("socket", 2), ("inside", 2), ("outside", 0), ("nothing", 0)])
async def test_no_link_of_a_pods_makes_another_answer_for_its_envoy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, questions: int
) -> None:
    """The root of this process is all of the machine, which a link with a whole path begins anew."""
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"stats":[]}')
        writer.close()

    async def turned_away() -> None:
        pass

    (tmp_path / "inside").symlink_to("socket")
    (tmp_path / "outside").symlink_to(tmp_path / "socket")
    monkeypatch.setattr(proxies, "ADMIN_SOCKET", str(tmp_path / place))
    async with await asyncio.start_unix_server(answer, tmp_path / "socket"):
        await waypoint_drain(turned_away)(os.getpid())
    assert len(asked) == questions
