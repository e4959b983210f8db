"""The forker: a single-threaded process that starts everything that runs in pods.

A daemon with threads cannot fork safely, and a small process forks fast. The zygote only forks and reaps: every mount,
namespace change and execve happens in the child, which reports on a socket of its own, so that one slow child delays
no other request. The channel carries `Forked` before the same child's `Exited`, whatever the scheduling.

It ends with 0 when the channel closes, and with it every process it started (node-init ends the pid namespace).
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
from collections.abc import Callable

from ambientlab.node.linux import channel as messages
from ambientlab.node.linux import child, syscalls
from ambientlab.node.linux.channel import Exited, Forked, NewContainer, NewExec, NewSandbox, Refused


def run(channel: socket.socket) -> int:
    """Serve requests until the channel ends. Runs in a process of its own, with one thread."""
    syscalls.set_process_name("zygote")
    gc.disable()
    gc.freeze()  # a collection in a child would copy every page it visits
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _Zygote(channel).serve()
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the daemon has gone; node-init saw it too


class _Zygote:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._children: set[int] = set()
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def serve(self) -> int:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            if self._channel.fileno() in ready:
                body, descriptors = messages.receive(self._channel)
                if not body:
                    return 0
                try:
                    self._handle(messages.decode_request(body), descriptors)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)

    def _handle(self, request: messages.Request, descriptors: list[int]) -> None:
        if isinstance(request, messages.Signal):
            if request.pid in self._children:
                os.kill(request.pid, request.signum)
            return
        try:
            pid = self._start(request, descriptors)
        except OSError as error:
            messages.send(self._channel, Refused(request.id, error.errno or 0, error.strerror or str(error)))
            return
        self._children.add(pid)
        messages.send(self._channel, Forked(request.id, pid))

    def _start(self, request: NewSandbox | NewContainer | NewExec, descriptors: list[int]) -> int:
        report, *stdio = descriptors
        match request:
            case NewSandbox():
                return self._fork(report, lambda report: child.sandbox(request, report))
            case NewContainer():
                own_pids = not request.spec.privileged
                with self._handle_of(request.sandbox, "sandbox") as pause:
                    if own_pids:
                        syscalls.unshare(syscalls.NEWPID)
                    return self._fork(report, lambda _: child.container(request, pause.number, stdio))
            case NewExec():
                with self._handle_of(request.container, "container") as target:
                    syscalls.setns(target.number, syscalls.NEWPID)
                    return self._fork(report, lambda report: child.execute(request, target.number, stdio, report))

    def _fork(self, report: int, work: Callable[[socket.socket], None]) -> int:
        """Fork into the pid namespace chosen just before, and come back to the node's own."""
        try:
            pid = os.fork()
            if pid == 0:
                self._channel.close()
                child.run(work, report)
        finally:
            syscalls.setns(self._pid_namespace, syscalls.NEWPID)
        return pid

    def _handle_of(self, pid: int, what: str) -> _PidHandle:
        if pid not in self._children:
            raise ProcessLookupError(errno.ESRCH, f"the {what} has ended")
        return _PidHandle(os.pidfd_open(pid))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            messages.send(self._channel, Exited(pid, os.waitstatus_to_exitcode(status)))


class _PidHandle:
    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> _PidHandle:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


def _nothing(_signum: int, _frame: object) -> None:
    """A handler, so that the kernel writes to the wakeup descriptor."""
