"""The system calls Python 3.11 lacks, typed, over libc.

Every function raises OSError with the errno of the call. Constants are the kernel's UAPI names without their prefix.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19

_MNT_DETACH = 2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_SYMLINKS = 0x10
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_NOSUID = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_OPENAT2 = 437
_PIDFD_GETFD = 438
_MOUNT_SETATTR = 442  # numbers from 424 on are the same on every architecture
_OTHERS = {"x86_64": (155, 126, 250), "aarch64": (41, 91, 219)}
_KEYCTL_JOIN_SESSION_KEYRING, _KEYCTL_SETPERM = 1, 5
_KEY_POS_VIEW, _KEY_POS_SEARCH = 0x0100_0000, 0x0800_0000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _numbers() -> tuple[int, int, int]:
    """The numbers of pivot_root, capset and keyctl, which libc does not wrap."""
    machine = platform.machine()
    if machine not in _OTHERS:
        raise OSError(f"unsupported processor architecture {machine}: need x86_64 or aarch64")
    return _OTHERS[machine]


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """`descriptor` is of a namespace file, or a pidfd for several namespaces of one process at once (Linux 5.8)."""
    _check(_libc.setns(descriptor, ctypes.c_int(flags)), "setns")


def pidfd_getfd(process: int, descriptor: int) -> int:
    """A copy of another process's descriptor, closed on exec. `process` is a pidfd (Linux 5.6)."""
    result = _libc.syscall(ctypes.c_long(_PIDFD_GETFD), process, descriptor, ctypes.c_uint(0))
    _check(result, "pidfd_getfd")
    return int(result)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source) or None,
        os.fsencode(target),
        os.fsencode(kind) or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(result, f"mount {kind or source} on {target}")


def read_only(path: str) -> None:
    """Make a mount and all below it read-only and without set-uid programs (mount_setattr, Linux 5.12)."""
    _make_read_only(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW)


def _make_read_only(directory: int, path: str, flags: int) -> None:
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(directory),
        os.fsencode(path),
        ctypes.c_uint(_AT_RECURSIVE | flags),
        ctypes.c_char_p(attributes),
        ctypes.c_size_t(len(attributes)),
    )
    _check(result, f"mount_setattr {path}")


def clone_tree(path: int, *, read_only: bool) -> int:
    """What is at a path descriptor, with the mounts below it, as a tree of mounts that is nowhere yet; nothing that is
    asked of the new descriptor leads out of it (open_tree, Linux 5.2)."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    found: int = _libc.syscall(ctypes.c_long(_OPEN_TREE), ctypes.c_int(path), b"", ctypes.c_uint(flags))
    _check(found, "open_tree")
    if read_only:
        _make_read_only(found, "", _AT_EMPTY_PATH)
    return found


def attach(tree: int, target: str) -> None:
    """Mount a cloned tree (move_mount, Linux 5.2)."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS
    result = _libc.syscall(
        ctypes.c_long(_MOVE_MOUNT),
        ctypes.c_int(tree),
        b"",
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(flags),
    )
    _check(result, f"mount on {target}")


def open_beneath(directory: str, path: str) -> int:
    """A path descriptor of what is at `path`, which no link can lead out of `directory` (openat2, Linux 5.6)."""
    above = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        found: int = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(above),
            os.fsencode(path),
            ctypes.c_char_p(how),
            ctypes.c_size_t(len(how)),
        )
        _check(found, f"open {path}")
    finally:
        os.close(above)
    return found


def detach(path: str) -> None:
    _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"umount {path}")


def pivot_root(new: str, old: str) -> None:
    number, _, _ = _numbers()
    _check(_libc.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old)), "pivot_root")


def leave_session_keyring() -> None:
    """For a new one without keys (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING). Children share it, so that nobody may put
    one into it; one for each of them would count towards how many the user may have. Raises OSError where the kernel
    has no keys, or gives this user no more of them."""
    _, _, number = _numbers()
    keyctl, permitted = ctypes.c_long(number), ctypes.c_uint(_KEY_POS_VIEW | _KEY_POS_SEARCH)
    keyring = _libc.syscall(keyctl, ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None)
    _check(keyring, "keyctl")
    _check(_libc.syscall(keyctl, ctypes.c_int(_KEYCTL_SETPERM), ctypes.c_int(keyring), permitted), "keyctl")


def set_hostname(name: str) -> None:
    encoded = name.encode()
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def set_process_name(name: str) -> None:
    """What ps shows as the command (at most 15 bytes)."""
    _prctl(_PR_SET_NAME, name.encode())


def die_with_parent(signum: int) -> None:
    """The kernel sends `signum` when the parent thread ends; a parent that is gone already goes unnoticed."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def hide_memory() -> None:
    """Until execve, keep others of this user out of the process's memory and descriptors (PR_SET_DUMPABLE)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def no_new_privileges() -> None:
    """No execve from here on can gain privileges (set-uid programs, file capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_capabilities(keep: frozenset[int]) -> None:
    """Drop every other capability from the bounding set, then from the process (capabilities(7))."""
    last = int(_read("/proc/sys/kernel/cap_last_cap"))
    for capability in range(last + 1):
        if capability not in keep:
            _prctl(_PR_CAPBSET_DROP, capability)
    mask = sum(1 << capability for capability in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable, in two halves
    _, number, _ = _numbers()
    _check(_libc.syscall(ctypes.c_long(number), ctypes.c_char_p(header), ctypes.c_char_p(sets)), "capset")


def _prctl(option: int, argument: int | bytes) -> None:
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), value, zero, zero, zero), f"prctl {option}")


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def map_to_root(uid: int, gid: int) -> None:
    """Make the caller's ids outside, the only ones mapped, 0 in the user namespace it is in. No set-uid helper needed.

    setgroups must be denied before an unprivileged process may write its gid_map (user_namespaces(7)).
    """
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1\n"), ("gid_map", f"0 {gid} 1\n")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_user_namespace(flags: int) -> None:
    """Leave for a new user namespace and those of `flags`, as root of it; the process must have one thread."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(NEWUSER | flags)
    map_to_root(uid, gid)
