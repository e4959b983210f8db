"""The life of the process tree: a clean stop, and the sudden death of each of its members."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ambientlab.node.runtime import ContainerSpec

KINDS = ("net", "mnt", "pid")
STUBBORN = "trap '' TERM HUP INT; (setsid sleep 86400 &) ; nohup setsid sleep 86400 & sleep 86400"


async def three_pods_until_stopped(world):
    """Processes that resist, and a pipe that all of them hold: its end of file is their end."""
    held = world.held
    for index in range(3):
        sandbox = await world.sandbox(f"pod{index}")
        await world.rules.install(sandbox.netns)
        spec = ContainerSpec("main", ("sh", "-c", STUBBORN), {"PATH": "/usr/bin:/bin"})
        await world.runtime.start_container(sandbox, spec, (held, held, held))
    print("READY", flush=True)
    await world.stopped.wait()


def _start(node_command):
    readable, writable = os.pipe()
    os.set_inheritable(writable, True)
    command = node_command(three_pods_until_stopped, writable)
    process = subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[writable])
    os.close(writable)
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    return process, readable


def _tree(launcher: int) -> dict[str, int]:
    """The members by role, as the host numbers them."""
    (init,) = _children(launcher)
    members = {"launcher": launcher, "node-init": init}
    for child in _children(init):
        zygote = Path(f"/proc/{child}/comm").read_text() == "zygote\n"
        members["zygote" if zygote else "daemon"] = child
    return members


def _children(pid: int) -> list[int]:
    """Of a process that is there: a shell's child may have just ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _descendants(pid: int) -> list[int]:
    return [pid, *(found for child in _children(pid) for found in _descendants(child))]


class _Remains:
    """What was there before the end, to be gone after it."""

    def __init__(self, launcher: int) -> None:
        pids = _descendants(launcher)
        self._handles = []
        self._namespaces = set()
        own = {os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a shell's child that has just ended
                self._handles.append(os.pidfd_open(pid))
                self._namespaces |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS} - own
        self._now = _start_time(launcher)
        assert len(self._handles) >= 4 + 3 * 4
        assert len(self._namespaces) >= 3 + 3 * 3, "each pod has namespaces of its own"

    def assert_gone(self, readable: int) -> None:
        with os.fdopen(readable, "rb") as held:
            assert held.read() == b""
        for handle in self._handles:
            assert select.select([handle], [], [], 20)[0], "a process lives on"
            os.close(handle)
        assert not [pid for pid in _others() if self._namespaces & _held(pid) and _start_time(pid) <= self._now]


def _others() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _start_time(pid: int) -> float:
    """In clock ticks since boot; a process that is gone started too late to matter."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return math.inf


def _held(pid: int) -> set[str]:
    """Namespaces a process is in or has open. Their numbers are used again: only older processes count."""
    found = set()
    for directory in (f"/proc/{pid}/ns", f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                with contextlib.suppress(OSError):
                    found.add(os.readlink(f"{directory}/{name}"))
    return found


@pytest.mark.parametrize("victim", ["launcher", "node-init", "daemon", "zygote"])
def test_sudden_death_leaves_nothing(node_command, victim):
    process, readable = _start(node_command)
    remains = _Remains(process.pid)
    os.kill(_tree(process.pid)[victim], signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "Traceback" not in errors
    remains.assert_gone(readable)


def test_a_clean_stop(node_command):
    process, readable = _start(node_command)
    remains = _Remains(process.pid)
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    remains.assert_gone(readable)


def test_small_processes_stay_small(node_command):
    """What the forker imports, every pod's processes carry: nothing of the daemon's may slip in."""
    code = "import sys, ambientlab.node.linux.launch; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "aiohttp", "grpc", "uvloop", "orjson", "logging", "pyroute2", "cryptography", "ssl"}
    assert not heavy & set(done.stdout.split())


LAUNCH = """
import os, socket, sys
from ambientlab.node.linux.launch import launch
listener = socket.create_server(("127.0.0.1", 0))
def helper(channel):
    while request := channel.recv(100):
        made = socket.create_server(("127.0.0.1", 0))
        socket.send_fds(channel, [b"made"], [made.fileno()])
        made.close()
def main(node):
    import socket
    print(listener.getsockname()[1], flush=True)
    node.helper.send(b"listen")
    _, descriptors, _, _ = socket.recv_fds(node.helper, 10, 1)
    late = socket.socket(fileno=descriptors[0])
    print(late.getsockname()[1], flush=True)
    for each in (listener, late):
        peer, _ = each.accept()
        peer.sendall(socket.gethostname().encode())
        peer.close()
    return 42
sys.exit(launch(main, helper=helper))
"""


def test_sockets_of_the_host_and_the_exit_code():
    import socket

    process = subprocess.Popen([sys.executable, "-c", LAUNCH], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(2):
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            assert client.recv(100) == b"ambientlab"
    assert process.wait(20) == 42
    process.stdout.close()


@pytest.mark.parametrize(("body", "code"), [("raise SystemExit(3)", 3), ("1 / 0", 1), ("import os; os.abort()", 134)])
def test_exit_codes(body, code):
    program = (
        f"import sys\nfrom ambientlab.node.linux.launch import launch\ndef main(node): {body}\nsys.exit(launch(main))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == code
    assert ("ZeroDivisionError" in done.stderr) == ("1 / 0" in body)


KEYS = """
import ctypes, platform, sys
from ambientlab.node.linux.launch import launch
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
kernel = ctypes.CDLL(None).syscall
session = ctypes.c_int(-3)
def found(): return kernel(keyctl, 10, session, b"user", b"of the user", 0) > 0
kernel(keyctl, 1, None)
kernel(add_key, b"user", b"of the user", b"secret", ctypes.c_size_t(6), session)
print(found(), flush=True)
def main(node):
    print(found(), flush=True)
    return 0
sys.exit(launch(main))
"""


def test_keys_of_the_user_are_not_of_the_node():
    done = subprocess.run([sys.executable, "-c", KEYS], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_daemon_that_does_not_stop_is_killed():
    program = """
import os, signal, sys
from ambientlab.node.linux import launch
launch.GRACE_SECONDS = 0.1
def main(node):
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("READY", flush=True)
    while True:
        signal.pause()
sys.exit(launch.launch(main))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n"
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL
    assert errors == "ambientlab: the daemon did not stop within 0.1 s and was killed\n"


def test_the_death_of_the_helper_ends_the_node():
    program = """
import os, sys
from ambientlab.node.linux.launch import launch
def main(node):
    node.helper.send(b"x")
    import signal
    signal.pause()
sys.exit(launch(main, helper=lambda channel: (channel.recv(1), os.kill(os.getpid(), 9))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (1, "ambientlab: the host helper ended unexpectedly\n")


async def nothing(world):
    await asyncio.sleep(0)


def test_an_idle_node_ends_with_its_daemon(run_scenario):
    run_scenario(nothing)
