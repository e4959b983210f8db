"""The handlers against the real kubectl, over both transports and on both event loops."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_and_both_outputs(kubectl: Any, code: int) -> None:
    result = kubectl("exec", "pod", "--", "sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert result.returncode == code
    assert result.stdout == b"out\n"
    assert result.stderr.startswith(b"err\n")
    assert (b"command terminated with exit code" in result.stderr) == (code != 0)


def test_process_ended_by_a_signal(kubectl: Any) -> None:
    assert kubectl("exec", "pod", "--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_ten_megabytes_each_way(kubectl: Any) -> None:
    data = os.urandom(10 * MEGABYTE)
    result = kubectl("exec", "-i", "pod", "--", "cat", stdin=data)
    assert result.returncode == 0, result.stderr
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_end_of_input_reaches_the_process(kubectl: Any) -> None:
    result = kubectl("exec", "-i", "pod", "--", "sh", "-c", "wc -c; echo done", stdin=b"12345")
    assert result.stdout.split() == [b"5", b"done"]


def test_input_nobody_reads_does_not_hold_up_the_end(kubectl: Any) -> None:
    result = kubectl("exec", "-i", "pod", "--", "sh", "-c", "echo bye; exit 3", stdin=bytes(4 * MEGABYTE))
    assert (result.returncode, result.stdout) == (3, b"bye\n")


def test_terminal(kubectl: Any) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 117, 0, 0))
    script = f'{_until_size("31 117")}; test -t 1 && echo sized; read -r x; echo "<$x>"; exit 7'
    process = kubectl.start("exec", "-it", "pod", "--", "sh", "-c", script, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    output = b""
    typed = False
    while b"exit code 7" not in output:
        output += os.read(master, 4096)
        if b"sized" in output and not typed:
            typed = True
            os.write(master, b"word\r")
    assert b"<word>" in output
    assert process.wait(20) == 7
    os.close(master)


def test_resize_while_running(kubectl: Any) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 80, 0, 0))
    script = f"{_until_size('20 80')}; echo first; {_until_size('50 90')}; echo second"
    process = kubectl.start("exec", "-it", "pod", "--", "sh", "-c", script, stdin=slave, stdout=slave, stderr=slave)
    output = b""
    while b"first" not in output:
        output += os.read(master, 4096)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 90, 0, 0))
    process.send_signal(signal.SIGWINCH)
    while b"second" not in output:
        output += os.read(master, 4096)
    assert process.wait(20) == 0
    os.close(slave)
    os.close(master)


def test_copy_both_ways(kubectl: Any, tmp_path: Path) -> None:
    source, remote, back = tmp_path / "source", tmp_path / "remote", tmp_path / "back"
    source.mkdir()
    remote.mkdir()
    (source / "big").write_bytes(os.urandom(3 * MEGABYTE))
    (source / "small").write_text("text")
    up = kubectl("cp", str(source), f"pod:{remote}/copy")
    assert up.returncode == 0, up.stderr
    down = kubectl("cp", f"pod:{remote}/copy", str(back))
    assert down.returncode == 0, down.stderr
    assert (back / "big").read_bytes() == (source / "big").read_bytes()
    assert (back / "small").read_text() == "text"


def test_a_client_that_vanishes_ends_the_process(kubectl: Any, eventually: Any) -> None:
    sessions = kubectl.server.kubelet.sessions
    before = len(sessions)
    process = kubectl.start(
        "exec", "-i", "pod", "--", "sh", "-c", "echo up; exec sleep 600", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert sessions[before].closed.wait(20)
    assert sessions[before].exited.wait(20)


def test_a_slow_reader_holds_the_process_back(kubectl: Any, tmp_path: Path, eventually: Any) -> None:
    """40 MB leave the process only as the reader takes them: nothing in between holds them all."""
    progress = tmp_path / "progress"
    script = f"i=0; while [ $i -lt 40 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i > {progress}; done"
    process = kubectl.start("exec", "pod", "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout.read(1) == b"\0"
    eventually(progress.exists)
    assert not process.poll()
    rest = 1
    while chunk := process.stdout.read(MEGABYTE):
        if rest == 1:
            assert int(progress.read_text() or 0) < 30
        rest += len(chunk)
    process.stdout.close()
    assert rest == 40 * MEGABYTE
    assert process.wait(20) == 0


def test_attach(kubectl: Any) -> None:
    kubectl.server.kubelet.attach_to = ("sh", "-c", 'read -r x; echo "got $x"; exit 9')
    kubectl.server.pods["attached"] = {
        **kubectl.server.pods["pod"],
        "spec": {"nodeName": "node", "containers": [{"name": "app", "stdin": True}]},
    }
    result = kubectl("attach", "-i", "attached", stdin=b"hello\n")
    assert b"got hello" in result.stdout
    assert result.returncode == 0


def test_refusal_before_the_upgrade(kubectl: Any) -> None:
    result = kubectl("exec", "pod", "--", "refused")
    assert result.returncode == 1
    assert b"container is not running" in result.stderr


def test_unknown_container(kubectl: Any) -> None:
    result = kubectl("exec", "pod", "-c", "nope", "--", "true")
    assert result.returncode == 1
    assert b"nope" in result.stderr


def test_port_forward(kubectl: Any) -> None:
    with _echo_server() as (port, _), _forwarded(kubectl, port) as local:
        data = os.urandom(10 * MEGABYTE)
        for size in (5, len(data)):
            with socket.create_connection(("127.0.0.1", local), timeout=20) as client:
                sender = threading.Thread(target=_send_and_shut, args=(client, data[:size]))
                sender.start()
                received = b"".join(iter(lambda: client.recv(MEGABYTE), b""))
                sender.join()
            assert received == data[:size]


def test_many_forwarded_connections_at_once(kubectl: Any) -> None:
    with _echo_server() as (port, _), _forwarded(kubectl, port) as local:
        clients = [socket.create_connection(("127.0.0.1", local), timeout=20) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d\n" % number
            client.close()


def test_port_forward_to_a_closed_port(kubectl: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    process, local = _start_forwarding(kubectl, port)
    with socket.create_connection(("127.0.0.1", local), timeout=20) as client:
        assert client.recv(1) == b""
    _, errors = process.communicate(timeout=20)
    assert f"error forwarding port {port} to pod pod, uid 1-2-3".encode() in errors
    assert b"refused" in errors


def test_a_forwarder_that_vanishes_closes_its_connections(kubectl: Any) -> None:
    with _echo_server() as (port, ended):
        process, local = _start_forwarding(kubectl, port)
        with socket.create_connection(("127.0.0.1", local), timeout=20) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            process.kill()
            process.communicate()
            assert ended.wait(20)


def test_log_tail_and_follow(kubectl: Any, eventually: Any) -> None:
    server = kubectl.server
    server.kubelet.log[:] = [b"one\n", b"two\n", b"three\n"]
    assert kubectl("logs", "pod").stdout == b"one\ntwo\nthree\n"
    assert kubectl("logs", "pod", "--tail=1").stdout == b"three\n"
    process = kubectl.start("logs", "-f", "--tail=1", "pod", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"three\n"
    server.append_log(b"four\n")
    assert process.stdout.readline() == b"four\n"
    server.append_log(b"last\n")
    assert process.communicate(timeout=20)[0] == b"last\n"
    assert process.returncode == 0


def test_a_follower_that_vanishes_is_forgotten(kubectl: Any, eventually: Any) -> None:
    server = kubectl.server
    server.kubelet.log.clear()
    process = kubectl.start("logs", "-f", "pod", stdout=subprocess.DEVNULL)
    eventually(lambda: server.kubelet.followers == 1)
    process.kill()
    process.wait()
    eventually(lambda: server.kubelet.followers == 0)


def test_log_refused_by_the_node(kubectl: Any) -> None:
    result = kubectl("logs", "-p", "pod")
    assert result.returncode == 1
    assert b'previous terminated container "app" in pod "pod" not found' in result.stderr


def _until_size(size: str) -> str:
    return f'until [ "$(stty size)" = "{size}" ]; do sleep 0.01; done'


def _send_and_shut(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


class _echo_server:
    """A TCP echo; its event is set when a connection to it has ended."""

    def __enter__(self) -> tuple[int, threading.Event]:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        return self._listener.getsockname()[1], self._ended

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except ConnectionError:
                pass
        self._ended.set()

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _start_forwarding(kubectl: Any, port: int) -> tuple[subprocess.Popen[bytes], int]:
    process = kubectl.start(
        "port-forward", "--address=127.0.0.1", "pod", f":{port}", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    line = process.stdout.readline()
    return process, int(line.split(b"->")[0].rsplit(b":", 1)[1])


class _forwarded:
    def __init__(self, kubectl: Any, port: int) -> None:
        self._process, self._local = _start_forwarding(kubectl, port)

    def __enter__(self) -> int:
        return self._local

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
