"""The process tree of a node, and its end.

    launcher  host pid namespace, one thread; its pid is the mesh's. Holds sockets bound before the namespaces
      helper      optional, stays in the host's network: connects and listens on the node's behalf
      node-init   PID 1 of the node's pid namespace: reaps, owns /proc
        zygote      forks what runs in pods (`zygote`)
        daemon      everything else; may have threads

Who dies takes the rest along, with no process asked to co-operate: node-init gets SIGKILL when the launcher ends
(PDEATHSIG), and the kernel kills a pid namespace, and with it every mount and network namespace only it held, when
PID 1 ends. PID 1 ends when the daemon or the zygote does.

A clean stop is SIGTERM (or SIGINT) to the launcher: it reaches the daemon alone, which has GRACE_SECONDS to end.

Only small modules are imported here: the zygote and node-init live in what the launcher had loaded before the fork.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from ambientlab.node.linux import syscalls, zygote

GRACE_SECONDS = 20.0
HOSTNAME = "ambientlab"
NAMESPACES = syscalls.NEWNS | syscalls.NEWNET | syscalls.NEWUTS | syscalls.NEWIPC | syscalls.NEWPID

_STOPS = (signal.SIGTERM, signal.SIGINT)
_WATCHED = frozenset({*_STOPS, signal.SIGCHLD})


@dataclass(frozen=True, slots=True)
class Node:
    """What the daemon gets besides what its own closure holds: its ends of the pairs to zygote and helper."""

    zygote: socket.socket
    helper: socket.socket | None = None


def launch(
    main: Callable[[Node], int],
    *,
    helper: Callable[[socket.socket], None] | None = None,
    keep: Collection[int] = (),
) -> int:
    """Run `main` as the daemon of a new node and return its exit code, 128 + n when signal n ended it.

    Call it with one thread and with every host-side socket bound; sockets that `main` refers to work in the daemon.
    `main` gets SIGTERM for a clean stop and imports what is heavy itself. `helper` runs in the host's network
    namespace until its socket ends. Every process of the node except those of containers holds the descriptors `keep`
    (a lock, say) as long as it lives. Raises OSError when the namespaces are refused (`support.explain` knows why).
    """
    for descriptor in keep:
        os.set_inheritable(descriptor, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    near, helper_pid = _fork_helper(helper, frozenset(keep))
    try:
        syscalls.enter_user_namespace(NAMESPACES)
    except OSError:
        if helper_pid:
            _end(helper_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        raise
    alive, held = os.pipe2(os.O_CLOEXEC)
    init = os.fork()
    if init == 0:
        os.close(held)
        _run(lambda: _init(main, near, alive, frozenset(keep)))
    os.close(alive)
    if near is not None:
        near.close()
    syscalls.set_process_name("launcher")
    names = {init: "node-init"} | ({helper_pid: "the host helper"} if helper_pid else {})
    code = _supervise(names, init, grace=None)
    for pid in names:
        _end(pid)
    return code


def _fork_helper(
    helper: Callable[[socket.socket], None] | None, keep: frozenset[int]
) -> tuple[socket.socket | None, int]:
    if helper is None:
        return None, 0
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        _close_all_but({far.fileno(), *keep})
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)
        syscalls.set_process_name("host-helper")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _run(lambda: helper(far))
    far.close()
    return near, pid


def _init(main: Callable[[Node], int], helper: socket.socket | None, launcher_alive: int, keep: frozenset[int]) -> int:
    syscalls.die_with_parent(signal.SIGKILL)
    if select.select([launcher_alive], [], [], 0)[0]:
        return 1  # the launcher ended before the kernel would have told us
    syscalls.set_process_name("node-init")
    with suppress(OSError):
        syscalls.leave_session_keyring()  # the user's keys, of Kerberos for example, are none of a pod's
    try:
        syscalls.set_hostname(HOSTNAME)
        syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    except OSError as error:
        _complain(error.strerror or str(error))
        return 1
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forker = os.fork()
    if forker == 0:
        _close_all_but({far.fileno(), *keep})
        _run(lambda: zygote.run(far))
    far.close()
    daemon = os.fork()
    if daemon == 0:
        os.close(launcher_alive)
        syscalls.set_process_name("ambientlab")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        _run(lambda: main(Node(near, helper)))
    _close_all_but({launcher_alive, *keep})
    return _supervise({daemon: "the daemon", forker: "the zygote"}, daemon, GRACE_SECONDS)


def _supervise(children: Mapping[int, str], chief: int, grace: float | None) -> int:
    """Pass stop signals to `chief` and reap until it ends; its exit code.

    Another child may end with 0 (the zygote does when the daemon has closed their channel); anything else is the end
    of the node. With `grace`, a chief that was asked to stop has that many seconds.
    """
    deadline: float | None = None
    stopping = False
    while True:
        signum = _next_signal(deadline)
        if signum is None:
            _complain(f"{children[chief]} did not stop within {grace:g} s and was killed")
            return 128 + signal.SIGKILL
        if signum in _STOPS:
            if not stopping and grace is not None:
                deadline = time.monotonic() + grace
            stopping = True
            os.kill(chief, signal.SIGTERM)
            continue
        for pid, code in _reap():
            if pid == chief:
                if stopping and code == -signal.SIGTERM:
                    return 0  # asked to stop before it had a handler
                return code if code >= 0 else 128 - code
            if pid in children and code != 0:
                _complain(f"{children[pid]} ended unexpectedly")
                return 1


def _next_signal(deadline: float | None) -> int | None:
    if deadline is None:
        return signal.sigwaitinfo(_WATCHED).si_signo
    got = signal.sigtimedwait(_WATCHED, max(0.0, deadline - time.monotonic()))
    return got.si_signo if got else None


def _end(pid: int) -> None:
    """Kill a child, unless it was reaped already."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def _run(work: Callable[[], int | None]) -> NoReturn:
    """Run a forked child's work and end the process: nothing of the parent's stack may run twice."""
    code = 1
    try:
        code = work() or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        kind, value, trace = sys.exc_info()
        if kind is not None and value is not None:
            sys.excepthook(kind, value, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _complain(sentence: str) -> None:
    sys.stderr.write(f"ambientlab: {sentence}\n")
    sys.stderr.flush()


def _close_all_but(kept: set[int]) -> None:
    """A listening socket that a forker or a reaper still held would keep accepting for nobody."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in kept:
            try:
                os.close(number)
            except OSError:
                continue  # the descriptor that listed the directory
