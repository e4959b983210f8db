"""What a container sees as its file system, built in its own mount namespace.

Without an image, a root of its own: an empty tmpfs with the machine's /usr and a few files of /etc bound read-only,
so that every installed program works while home directories and the rest of the machine do not exist. With one, an
overlay whose upper layer is a tmpfs. Either way /proc, /sys, /dev and /tmp are the container's, and files and mounts
of the specification are placed when the machine's root is out of reach, where no symbolic link of an image or of a
volume can lead out of the container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ambientlab.node.linux import syscalls
from ambientlab.node.linux.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE
from ambientlab.node.runtime import ContainerSpec, Mount

_STAGE = "/tmp"  # covered only in the container's own mount namespace
_OLD = "/.old"
_ROOT_SIZE = "mode=755,size=256m"
_SHARED_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "protocols", "services", "crypto-policies",
    "ssl/certs", "ssl/openssl.cnf", "ssl/cert.pem", "ssl/ca-bundle.pem",
    "pki/ca-trust", "pki/tls/certs", "pki/tls/openssl.cnf", "pki/tls/cert.pem",
)  # fmt: skip
"""Beside certificates are private keys, which a node started by the machine's root could read."""
_TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_OWN_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1\tlocalhost\n",
    "resolv.conf": "",
}
# Docker's read-only and masked paths (moby, daemon/pkg/oci/defaults.go): without them a node started by the machine's
# root would let a container write /proc/sysrq-trigger. What follows processors, whose number has no limit, is left out.
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PROC_MASKED = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"
)  # fmt: skip
_SYS_MASKED = ("firmware", "devices/virtual/powercap")


def build(spec: ContainerSpec) -> None:
    """Replace the root of the current (new) mount namespace. Raises OSError naming the mount that failed."""
    syscalls.mount("", "/", flags=MS_REC | MS_SLAVE)
    trees = [_tree(mount) for mount in spec.mounts]  # before the stage hides what is below it
    root = _image_root(spec.rootfs) if spec.rootfs else _synthetic_root()
    _kernel_file_systems(root, own_pids=not spec.privileged)
    os.makedirs(root + _OLD, exist_ok=True)
    os.chdir(root)
    syscalls.pivot_root(".", "." + _OLD)
    os.chdir("/")
    syscalls.detach(_OLD)
    os.rmdir(_OLD)
    for mount, tree in zip(spec.mounts, trees, strict=True):
        _make_target(mount.target, stat.S_ISDIR(os.fstat(tree).st_mode))
        syscalls.attach(tree, mount.target)
        os.close(tree)
    _place_files(spec.files)


def _synthetic_root() -> str:
    syscalls.mount("tmpfs", _STAGE, "tmpfs", MS_NOSUID | MS_NODEV, _ROOT_SIZE)
    for name in ("etc", "opt", "proc", "sys", "dev", "tmp", "run", "var/tmp", "root", "srv", "home", "mnt", "media"):
        os.makedirs(f"{_STAGE}/{name}")
    os.symlink("/run", f"{_STAGE}/var/run")
    _bind("/usr", f"{_STAGE}/usr")
    for name in _TOP_LEVEL:
        path = f"/{name}"
        if os.path.islink(path):
            os.symlink(os.readlink(path), _STAGE + path)
        elif os.path.isdir(path):
            _bind(path, _STAGE + path)
    for name in _SHARED_ETC:
        path = f"/etc/{name}"
        if os.path.exists(path):
            _bind(os.path.realpath(path), _STAGE + path)
    for name, text in _OWN_ETC.items():
        _write(f"{_STAGE}/etc/{name}", text.encode(), 0o644)
    return _STAGE


def _image_root(image: str) -> str:
    """An overlay in a user namespace needs Linux 5.11 and `userxattr`. The image is opened first: the stage may hide
    it, and overlay takes a descriptor only from this mount namespace."""
    lower = os.open(image, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.mount("tmpfs", _STAGE, "tmpfs", MS_NOSUID | MS_NODEV, _ROOT_SIZE)
    root = f"{_STAGE}/root"
    for name in ("upper", "work", "root"):
        os.mkdir(f"{_STAGE}/{name}")
    layers = f"lowerdir=/proc/self/fd/{lower},upperdir={_STAGE}/upper,workdir={_STAGE}/work,userxattr"
    syscalls.mount("overlay", root, "overlay", MS_NOSUID | MS_NODEV, layers)
    os.close(lower)
    for name in ("etc", "proc", "sys", "dev", "tmp"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    return root


def _kernel_file_systems(root: str, *, own_pids: bool) -> None:
    if own_pids:
        syscalls.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        _restrict_proc(f"{root}/proc")
    else:
        syscalls.mount("/proc", f"{root}/proc", flags=MS_BIND | MS_REC)
    syscalls.mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mask(f"{root}/sys", _SYS_MASKED)
    syscalls.mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}")  # what is written to a device is none of its file system's
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
    options = "newinstance,ptmxmode=0666,mode=620"
    syscalls.mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
    syscalls.mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, to in links.items():
        os.symlink(to, f"{root}/dev/{name}")
    for name in ("tmp", "var/tmp"):
        if os.path.isdir(f"{root}/{name}"):
            os.chmod(f"{root}/{name}", 0o1777)


def _restrict_proc(proc: str) -> None:
    for path in _existing(proc, _PROC_READ_ONLY):
        syscalls.mount(path, path, flags=MS_BIND | MS_REC)
        syscalls.read_only(path)
    _mask(proc, _PROC_MASKED)


def _mask(parent: str, names: Iterable[str]) -> None:
    for path in _existing(parent, names):
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=0,mode=555")
        else:
            syscalls.mount("/dev/null", path, flags=MS_BIND)
            syscalls.read_only(path)


def _existing(parent: str, names: Iterable[str]) -> list[str]:
    return [path for name in names if os.path.exists(path := f"{parent}/{name}")]


def _bind(source: str, target: str) -> None:
    """Read-only."""
    _make_target(target, os.path.isdir(source))
    syscalls.mount(source, target, flags=MS_BIND | MS_REC)
    syscalls.read_only(target)


def _tree(mount: Mount) -> int:
    try:
        source = _open_source(mount)
        try:
            return syscalls.clone_tree(source, read_only=mount.read_only)
        finally:
            os.close(source)
    except OSError as error:
        raise OSError(error.errno, f"mount {mount.target}: {mount.source}: {error.strerror}") from error


def _open_source(mount: Mount) -> int:
    if not mount.within:
        return os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    return syscalls.open_beneath(mount.within, os.path.relpath(mount.source, mount.within))


def _place_files(files: Mapping[str, tuple[bytes, int]]) -> None:
    for path, (content, mode) in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)  # an image's /etc/resolv.conf often points at what only its author's machine has
        _write(path, content, mode)


def _write(path: str, content: bytes, mode: int) -> None:
    file = Path(path)
    file.write_bytes(content)
    file.chmod(mode)


def _make_target(path: str, directory: bool) -> None:
    if directory:
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
