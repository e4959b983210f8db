"""Messages with file descriptors over a SOCK_SEQPACKET pair: how the daemon and the zygote talk.

One packet is one message (msgpack). A message too large for a packet travels in a sealed-off memory file whose
descriptor comes first, so that a ConfigMap of a megabyte starts a container as a small one does.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

import msgspec

from ambientlab.node.runtime import ContainerSpec

_PACKET = 64 << 10
_MAX_DESCRIPTORS = 8
_INLINE = b"\0"
_IN_FILE = b"\1"
_DESCRIPTOR_SIZE = array.array("i").itemsize


class NewSandbox(msgspec.Struct, tag=True):
    """Descriptors: the report socket."""

    id: int
    hostname: str
    host_network: bool


class NewContainer(msgspec.Struct, tag=True):
    """Descriptors: the report socket, then stdin, stdout and stderr."""

    id: int
    sandbox: int
    spec: ContainerSpec


class NewExec(msgspec.Struct, tag=True):
    """Descriptors: the report socket, then stdin, stdout and stderr, or only the first for a terminal."""

    id: int
    container: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    terminal: bool
    privileged: bool


class Signal(msgspec.Struct, tag=True):
    """The zygote delivers signals because it reaps: a pid it has not reaped cannot have been reused."""

    pid: int
    signum: int


Request = NewSandbox | NewContainer | NewExec | Signal


class Forked(msgspec.Struct, tag=True):
    id: int
    pid: int


class Refused(msgspec.Struct, tag=True):
    id: int
    errno: int
    message: str


class Exited(msgspec.Struct, tag=True):
    """`code` is the exit code, or minus the signal number."""

    pid: int
    code: int


Reply = Forked | Refused | Exited


class Failed(msgspec.Struct, tag=True):
    errno: int
    message: str


class Terminal(msgspec.Struct, tag=True):
    """Descriptors: the terminal's master end."""


class Ready(msgspec.Struct, tag=True):
    """A sandbox stands. (A container is ready when its report socket closes: execve did it.)"""


Report = Failed | Terminal | Ready

_encode = msgspec.msgpack.encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


def send(channel: socket.socket, message: Request | Reply | Report, descriptors: Sequence[int] = ()) -> None:
    body = _encode(message)
    if len(body) < _PACKET:
        socket.send_fds(channel, [_INLINE, body], descriptors)
        return
    file = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "wb", closefd=False) as stream:
            stream.write(body)
        socket.send_fds(channel, [_IN_FILE], [file, *descriptors])
    finally:
        os.close(file)


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message's bytes and descriptors (the caller's to close); empty bytes at the end of the stream.

    Raises BlockingIOError when the socket is non-blocking and nothing waits.
    """
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _DESCRIPTOR_SIZE)
    packet, ancillary, _, _ = channel.recvmsg(_PACKET + 1, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_SIZE])
    if packet[:1] != _IN_FILE:
        return packet[1:], list(descriptors)
    file, *others = descriptors
    with os.fdopen(file, "rb") as stream:
        stream.seek(0)
        return stream.read(), others
