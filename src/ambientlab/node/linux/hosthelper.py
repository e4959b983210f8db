"""The process that stays in the host's network and connects to the host's loopback on the node's behalf.

A node's namespaces have no way out, and this is the only one: TCP to a port of 127.0.0.1 as the user who started the
mesh, whatever is asked for. A request is a port, its answer the connection, or the number of the error that came of it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

LOOPBACK = "127.0.0.1"
_SECONDS = 3.0
_NUMBER = struct.Struct("!H")


def serve(channel: socket.socket) -> None:
    """Until the daemon is gone. One request after another: a connection on loopback is there at once, or refused."""
    while request := channel.recv(_NUMBER.size):
        (port,) = _NUMBER.unpack(request)
        try:
            made = socket.create_connection((LOOPBACK, port), _SECONDS)
        except OSError as error:
            channel.send(_NUMBER.pack(error.errno or errno.ETIMEDOUT))
            continue
        with made:
            made.setblocking(True)
            socket.send_fds(channel, [_NUMBER.pack(0)], [made.fileno()])


def connect(channel: socket.socket, port: int) -> socket.socket:
    """What the daemon calls, from one thread at a time. Raises OSError as the host's connect did."""
    channel.send(_NUMBER.pack(port))
    answer, descriptors, _, _ = socket.recv_fds(channel, _NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC)
    if not descriptors:
        code = _NUMBER.unpack(answer)[0] if answer else errno.EPIPE
        raise OSError(code, os.strerror(code))
    return socket.socket(fileno=descriptors[0])
