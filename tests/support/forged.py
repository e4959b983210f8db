"""The two ends of a tunnel in the hands of a pod that means harm."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ambientlab.cluster import HBONE_PORT
from ambientlab.mesh.serve.ca import Svid
from ambientlab.node.linux import links
from ambientlab.node.linux.netlink import socket_in
from support import hbone

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld


async def tunnel(
    world: MeshWorld, pod: str, ip: str, authority: str, shows: Svid | None, method: str = "CONNECT"
) -> int:
    """The status of a request that a program in `pod` sends to the tunnels' port of `ip`; 0 if there is no answer."""
    try:
        async with asyncio.timeout(10):
            sock = await socket_in(world.sandboxes[pod].netns, links.family_of(ip), socket.SOCK_STREAM)
            await asyncio.get_running_loop().sock_connect(sock, (ip, HBONE_PORT))
            with _context(ssl.PROTOCOL_TLS_CLIENT, shows) as context:
                reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="anybody")
            opened = await hbone.opened(reader, writer, authority, method=method)
            opened.close()
            return opened.status
    except OSError:
        return 0


async def tunnels_end(world: MeshWorld, pod: str, shows: Svid) -> list[bytes]:
    """Take tunnels in `pod`, and answer nothing; the beginnings of what comes through those that were opened."""
    received: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(24))
        writer.close()

    with _context(ssl.PROTOCOL_TLS_SERVER, shows) as context:
        await world.listen(pod, HBONE_PORT, take, context)
    return received


@contextmanager
def _context(protocol: int, shows: Svid | None) -> Iterator[ssl.SSLContext]:
    """Trusts everybody."""
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with TemporaryDirectory() as directory:
        if shows is not None:
            path = Path(directory, "pair.pem")
            path.write_bytes(shows.chain_pem + shows.key_pem)
            context.load_cert_chain(path)
        yield context
