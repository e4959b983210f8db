"""What stands in the way of a node, told apart and explained."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from ambientlab.node.linux.support import Facts, _devices, _kernel, explain, read_facts


def test_this_machine_can_run_a_node():
    """Asked in a process of its own, as `ambientlab doctor` is: gRPC, which other tests use, starts its threads again
    in what is forked, and a process with threads gets no user namespace."""
    asked = "from ambientlab.node.linux.support import check; print(check())"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("step", "number", "facts", "summary", "fix"),
    [
        ("unshare", errno.ENOSPC, Facts({"user": 0}), "user_namespaces is 0", "max_user_namespaces=15000"),
        ("unshare", errno.ENOSPC, Facts({"net": 0}), "max_net_namespaces is 0", "max_net_namespaces=15000"),
        ("unshare", errno.ENOSPC, Facts({"user": 9999}), "nested too deeply", "outside other containers"),
        ("unshare", errno.EPERM, Facts(unprivileged_userns_clone=0), "clone is 0", "unprivileged_userns_clone=1"),
        ("unshare", errno.EPERM, Facts(seccomp_filter=True), "seccomp", "seccomp=unconfined"),
        ("unshare", errno.EPERM, Facts(chroot=True, seccomp_filter=True), "inside a chroot", "outside the chroot"),
        ("unshare", errno.EPERM, Facts(apparmor_restrict=1), "AppArmor", "apparmor_restrict_unprivileged_userns=0"),
        ("unshare", errno.EINVAL, Facts(), "has threads", "CONFIG_USER_NS"),
        ("unshare", errno.EPERM, Facts(), "refused to make namespaces: Operation not permitted", "report"),
        ("map", errno.EPERM, Facts(apparmor_restrict=1), "AppArmor", "apparmor_restrict_unprivileged_userns=0"),
        ("map", errno.EPERM, Facts(seccomp_filter=True), "container runtime", "seccomp=unconfined"),
        ("proc", errno.EPERM, Facts(), "refused to mount proc", "systempaths=unconfined"),
        ("veth", errno.EOPNOTSUPP, Facts(), "veth", "sudo modprobe -a veth"),
        ("nftables", errno.EPROTONOSUPPORT, Facts(), "nftables is not available", "sudo modprobe -a nf_tables"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_reason_and_its_command(step, number, facts, summary, fix):
    problem = explain(step, number, facts)
    assert summary in problem.summary
    assert fix in problem.fix


def test_facts_come_from_proc(tmp_path):
    assert read_facts(tmp_path) == Facts()
    settings = {
        "sys/user/max_user_namespaces": "0",
        "sys/user/max_net_namespaces": "96364",
        "sys/kernel/unprivileged_userns_clone": "1",
        "sys/kernel/apparmor_restrict_unprivileged_userns": "1",
        "self/status": "Name:\tpython\nSeccomp:\t2\nSeccomp_filters:\t1",
        "self/mountinfo": "22 1 0:5 / /proc rw - proc proc rw",
    }
    for name, text in settings.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert read_facts(tmp_path) == Facts({"user": 0, "net": 96364}, 1, 1, seccomp_filter=True, chroot=True)
    (tmp_path / "self/mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert not read_facts(tmp_path).chroot


def test_broken_devices_and_old_kernels(tmp_path):
    (tmp_path / "null").write_text("a plain file, as a careless cleanup leaves it")
    assert f"{tmp_path}/null is not a device" in _devices(tmp_path)[0].summary
    assert _kernel("6.18.44-generic") == []
    assert _kernel("5.12.0") == []
    assert "needs 5.12" in _kernel("5.10.0-28-amd64")[0].summary


LIMITED = """
import os, sys
from ambientlab.node.linux import syscalls
from ambientlab.node.linux.support import check
syscalls.enter_user_namespace(0)
with open("/proc/sys/user/max_" + sys.argv[1] + "_namespaces", "w") as file:
    file.write("0")
for problem in check():
    print(problem.summary, "->", problem.fix)
"""


@pytest.mark.parametrize("kind", ["user", "net"])
def test_a_real_limit_is_found(kind):
    """A user namespace has limits of its own below it, which its root may lower: the kernel's own refusal, for real."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, kind], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == (
        f"user.max_{kind}_namespaces is 0: new namespaces are not allowed "
        f"-> sudo sysctl -w user.max_{kind}_namespaces=15000\n"
    ), done.stderr
