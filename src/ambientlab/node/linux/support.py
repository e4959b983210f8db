"""Can this machine run a node? If not: what stands in the way, and the command that removes it.

A forked child does what a node does (namespaces, mounts, a veth, nftables) and says at which step the kernel refused;
the errno and a few files of /proc then tell the reasons apart. Nothing of the machine is changed.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ambientlab.node.linux import capture, links, syscalls
from ambientlab.node.linux.netlink import NETLINK_ROUTE, Socket
from ambientlab.node.linux.nft import Batch, Hook, Nft
from ambientlab.node.linux.nft_expr import destination_nat, jenkins_hash, masquerade, random, reject_tcp

LEAST_KERNEL = (5, 12)  # mount_setattr; overlay in a user namespace is 5.11, setns with a pidfd 5.8

_CONTAINER_FIX = (
    "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined"
)
_MODULES_FIX = "sudo modprobe -a {}"
_KINDS = ("user", "net", "pid", "mnt", "uts", "ipc")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_RESULT = struct.Struct("=16si")
_MAC = bytes((2, 0, 0, 0, 0, 1))


@dataclass(frozen=True, slots=True)
class Problem:
    """`summary` is one sentence; `fix` a command to run, or what to do."""

    summary: str
    fix: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What tells apart the reasons behind one errno. A setting the kernel does not have is None."""

    limits: Mapping[str, int] = field(default_factory=dict)
    """How many namespaces of each kind a user may have (user.max_KIND_namespaces)."""
    unprivileged_userns_clone: int | None = None
    apparmor_restrict: int | None = None
    seccomp_filter: bool = False
    chroot: bool = False


def check(root: Path = Path("/")) -> list[Problem]:
    """Everything wrong, most fundamental first; empty when a node can run. `root` is where proc and dev are read."""
    problems = [*_kernel(platform.release()), *_devices(root / "dev")]
    refused = _probe()
    if refused is not None:
        problems.append(explain(*refused, read_facts(root / "proc")))
    return problems


def read_facts(proc: Path) -> Facts:
    return Facts(
        limits={
            kind: limit for kind in _KINDS if (limit := _setting(proc / f"sys/user/max_{kind}_namespaces")) is not None
        },
        unprivileged_userns_clone=_setting(proc / "sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict=_setting(proc / "sys/kernel/apparmor_restrict_unprivileged_userns"),
        seccomp_filter=bool(re.search(r"^Seccomp:\s*2$", _text(proc / "self/status"), re.MULTILINE)),
        chroot=_in_chroot(_text(proc / "self/mountinfo")),
    )


def explain(step: str, number: int, facts: Facts) -> Problem:
    """The reason and the fix for a step of the probe that failed with errno `number`."""
    reason = os.strerror(number)
    if step == "unshare":
        return _explain_unshare(number, facts)
    if step == "map":
        if facts.apparmor_restrict:
            return _apparmor()
        if facts.seccomp_filter:
            return Problem("the container runtime does not let user namespaces be set up", _CONTAINER_FIX)
        return Problem(f"the kernel refused to map your user into a user namespace: {reason}", _report("map"))
    if step in ("mount", "proc", "sysfs"):
        if facts.apparmor_restrict:
            return _apparmor()
        return Problem(f"the kernel refused to mount {step if step != 'mount' else 'inside a namespace'}: {reason}. "
                       "In a container, /proc and /sys are masked", _CONTAINER_FIX)  # fmt: skip
    if step == "veth":
        return Problem(f"virtual network devices (veth) are not available: {reason}", _MODULES_FIX.format("veth"))
    if step == "nftables":
        modules = "nf_tables nft_chain_nat nft_nat nft_redir nft_masq nft_numgen nft_hash nft_reject_ipv4 nft_ct"
        return Problem(f"nftables is not available: {reason}", _MODULES_FIX.format(modules))
    return Problem(f"the kernel refused {step}: {reason}", _report(step))


def _explain_unshare(number: int, facts: Facts) -> Problem:
    for kind, limit in facts.limits.items():
        if limit == 0:
            setting = f"user.max_{kind}_namespaces"
            return Problem(f"{setting} is 0: new namespaces are not allowed", f"sudo sysctl -w {setting}=15000")
    if facts.unprivileged_userns_clone == 0:
        setting = "kernel.unprivileged_userns_clone"
        return Problem(f"{setting} is 0: ordinary users may not make user namespaces", f"sudo sysctl -w {setting}=1")
    if number == errno.EPERM:
        if facts.chroot:
            return Problem("namespaces cannot be made inside a chroot", "run ambientlab outside the chroot")
        if facts.seccomp_filter:
            return Problem("a seccomp filter forbids namespaces (Docker's default profile does)", _CONTAINER_FIX)
        if facts.apparmor_restrict:
            return _apparmor()
    if number == errno.EINVAL:
        return Problem(
            "the process has threads, or the kernel was built without user namespaces",
            "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS",
        )
    if number in (errno.ENOSPC, errno.EUSERS):
        return Problem("namespaces are nested too deeply, or too many exist", "run ambientlab outside other containers")
    return Problem(f"the kernel refused to make namespaces: {os.strerror(number)}", _report("unshare"))


def _apparmor() -> Problem:
    setting = "kernel.apparmor_restrict_unprivileged_userns"
    return Problem(
        f"{setting} is 1: AppArmor lets user namespaces be made but not used (Ubuntu 23.10 and later)",
        f"sudo sysctl -w {setting}=0",
    )


def _report(step: str) -> str:
    return f"report this with the output of: unshare --user --map-root-user --net --mount --pid --fork true ({step})"


def _kernel(release: str) -> list[Problem]:
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or (int(found[1]), int(found[2])) >= LEAST_KERNEL:
        return []
    needed = ".".join(map(str, LEAST_KERNEL))
    return [Problem(f"the kernel is {release}; ambientlab needs {needed}", f"upgrade to Linux {needed} or newer")]


def _devices(dev: Path) -> list[Problem]:
    """Containers get the machine's devices; a broken /dev/null (a plain file, or not writable) breaks every program."""
    return [
        Problem(f"{path} is not a device that everybody can use", f"ls -l {path}   # mode crw-rw-rw- is expected")
        for path in (dev / name for name in _DEVICES)
        if not path.is_char_device() or not os.access(path, os.R_OK | os.W_OK)
    ]


def _setting(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _in_chroot(mountinfo: str) -> bool:
    """A process in a chroot sees no mount whose point is "/" (proc(5), mountinfo, field 5)."""
    lines = [line.split() for line in mountinfo.splitlines()]
    return bool(lines) and not any(fields[4] == "/" for fields in lines if len(fields) > 4)


def _probe() -> tuple[str, int] | None:
    """The step that failed and its errno, from a child that tried."""
    readable, writable = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        try:
            _attempt(writable)
        finally:
            os._exit(1)
    os.close(writable)
    with os.fdopen(readable, "rb") as answers:
        answer = answers.read(_RESULT.size)
    os.waitpid(pid, 0)
    if len(answer) != _RESULT.size:
        return "the probe", errno.EIO
    step, number = _RESULT.unpack(answer)
    return (step.rstrip(b"\0").decode(), number) if number else None


def _attempt(answer: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    namespaces = syscalls.NEWNS | syscalls.NEWNET | syscalls.NEWUTS | syscalls.NEWIPC | syscalls.NEWPID
    _step(answer, "unshare", lambda: syscalls.unshare(syscalls.NEWUSER | namespaces))
    _step(answer, "map", lambda: syscalls.map_to_root(uid, gid))
    pid = os.fork()
    if pid == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        _step(answer, "mount", _try_mounts)
        _step(answer, "proc", lambda: syscalls.mount("proc", "/proc", "proc"))
        _step(answer, "sysfs", lambda: syscalls.mount("sysfs", "/tmp", "sysfs"))
        _step(answer, "veth", _try_veth)
        _step(answer, "nftables", _try_nftables)
        os.write(answer, _RESULT.pack(b"", 0))
    else:
        os.waitpid(pid, 0)


def _step(answer: int, name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except OSError as error:
        os.write(answer, _RESULT.pack(name.encode(), error.errno or errno.EIO))
        os._exit(1)


def _try_mounts() -> None:
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
    syscalls.mount("tmpfs", "/tmp", "tmpfs")
    syscalls.mount("/usr", "/tmp", flags=syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.read_only("/tmp")


def _try_veth() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    route = Socket(NETLINK_ROUTE)
    pair = links.End(10, "veth10", _MAC), links.End(11, "veth11", _MAC)
    route.request([links.set_up(links.LOOPBACK), links.add_veth(*pair, here)])


def _try_nftables() -> None:
    """The mesh's rules, and the other kinds of expression the service proxy uses."""
    probe = Batch("probe")
    probe.add_table()
    probe.add_chain("nat", Hook("nat", "prerouting", 0))
    probe.add_rule("nat", random(2), jenkins_hash(0, 4, 2, 1), destination_nat(0, 1))
    probe.add_chain("post", Hook("nat", "postrouting", 0))
    probe.add_rule("post", masquerade())
    probe.add_chain("filter", Hook("filter", "forward", 0))
    probe.add_rule("filter", reject_tcp())
    Nft().commit(*capture.inpod_rules(), probe)
