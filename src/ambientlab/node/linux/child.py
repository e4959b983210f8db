"""What a child of the zygote does between fork and execve: become a sandbox, a container or a process of one.

A failure is reported on the child's own socket as an errno and a sentence. Success is the end of that socket, which
execve closes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ambientlab.node.linux import channel as messages
from ambientlab.node.linux import rootfs, syscalls
from ambientlab.node.linux.channel import Failed, NewContainer, NewExec, NewSandbox, Ready, Terminal

_POD_NAMESPACES = syscalls.NEWNET | syscalls.NEWUTS | syscalls.NEWIPC
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430

# Docker's default set: moby, daemon/pkg/oci/caps/defaults.go. Numbers of capability.h.
CONTAINER_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})


def run(work: Callable[[socket.socket], None], report: int) -> NoReturn:
    """Do the child's work, which gets the report socket; it returns only by ending the process."""
    channel = socket.socket(fileno=report)
    try:
        signal.set_wakeup_fd(-1)
        # whatever was ignored outside, as SIGHUP is by nohup, a program would ignore as well
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signum, signal.SIG_DFL)
        work(channel)
    except OSError as error:
        messages.send(channel, Failed(error.errno or errno.EIO, error.strerror or str(error)))
    except ValueError as error:  # a NUL byte where the kernel takes none
        messages.send(channel, Failed(errno.EINVAL, f"exec: {error}"))
    finally:
        os._exit(127)


def sandbox(request: NewSandbox, report: socket.socket) -> None:
    """Own a pod's network, host name and IPC until killed, as Kubernetes' pause does: as a program that only sleeps,
    since an interpreter would keep a megabyte of memory for each pod."""
    program = os.path.realpath(_look_up("sleep", _DEFAULT_PATH))
    syscalls.set_process_name("pause")
    syscalls.unshare(syscalls.NEWIPC if request.host_network else _POD_NAMESPACES)
    if not request.host_network:
        syscalls.set_hostname(request.hostname)
        _settle_network()
    _quiet()
    messages.send(report, Ready())
    # one binary for many commands (busybox, uutils) is told by its name which it is to be
    name = "pause" if os.path.basename(program) == "sleep" else "sleep"
    os.execve(program, [name, "infinity"], {})


def container(request: NewContainer, pause: int, stdio: Sequence[int]) -> None:
    spec = request.spec
    syscalls.setns(pause, _POD_NAMESPACES)
    syscalls.unshare(syscalls.NEWNS)
    os.umask(0o022)
    rootfs.build(spec)
    with contextlib.suppress(OSError):
        os.makedirs(spec.cwd, exist_ok=True)  # as runc does for a container, not for an exec
    os.setsid()
    _enter_directory(spec.cwd)
    _take_stdio(stdio)
    _execute(spec.argv, spec.env, spec.privileged)


def execute(request: NewExec, target: int, stdio: Sequence[int], report: socket.socket) -> None:
    syscalls.setns(target, _POD_NAMESPACES | syscalls.NEWNS)
    os.umask(0o022)
    os.setsid()
    if request.terminal:
        _open_terminal(report)
    else:
        _take_stdio(stdio)
    _enter_directory(request.cwd)
    _execute(request.argv, request.env, request.privileged)


def _settle_network() -> None:
    """Undo what a new namespace inherits from the host: a strict reverse-path filter would drop what the mesh proxy
    sends to an application from a client's address, over loopback."""
    for name in ("all", "default", "lo"):
        Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")


def _quiet() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    _take_stdio((null, null, null))
    os.close(null)


def _take_stdio(descriptors: Sequence[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)


def _open_terminal(report: socket.socket) -> None:
    """Make the container's own terminal the controlling one and hand its master end out."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    messages.send(report, Terminal(), [master])
    _take_stdio((slave, slave, slave))
    os.close(slave)


def _enter_directory(cwd: str) -> None:
    try:
        os.chdir(cwd or "/")
    except OSError as error:
        reason = _reason(error)
        raise OSError(error.errno, f'chdir to cwd ("{cwd}") set in config.json failed: {reason}') from error


def _execute(argv: Sequence[str], env: Mapping[str, str], privileged: bool) -> None:
    program = _look_up(argv[0], env.get("PATH", _DEFAULT_PATH))
    if not privileged:
        syscalls.hide_memory()  # of the zygote's, with whatever it has started: what runs here may look into its equals
        syscalls.limit_capabilities(CONTAINER_CAPABILITIES)
    syscalls.no_new_privileges()
    try:
        os.execve(program, list(argv), dict(env))
    except OSError as error:
        raise OSError(error.errno, f"exec {program}: {_reason(error)}") from error


def _look_up(name: str, path: str) -> str:
    """Go's exec.LookPath, whose words people know from runc."""
    if "/" in name:
        try:
            os.stat(name)
        except OSError as error:
            raise OSError(error.errno, f'exec: "{name}": stat {name}: {_reason(error)}') from error
        if os.path.isdir(name):
            raise OSError(errno.EISDIR, f'exec: "{name}": is a directory')
        if not os.access(name, os.X_OK):
            raise OSError(errno.EACCES, f'exec: "{name}": permission denied')
        return name
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if name and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise OSError(errno.ENOENT, f'exec: "{name}": executable file not found in $PATH')


def _reason(error: OSError) -> str:
    """Go spells errno texts in lower case."""
    return os.strerror(error.errno or 0).lower()
