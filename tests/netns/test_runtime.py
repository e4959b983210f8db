"""Sandboxes and containers: what a program in a pod sees, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import tempfile
import termios
from pathlib import Path
from typing import Any

import pytest

from ambientlab.node.network import in_ipv6
from ambientlab.node.runtime import ContainerSpec, Mount
from support.node_world import PATH, open_descriptors, processes, veths
from support.waiting import until


async def sees_a_machine_of_its_own(world):
    sandbox = await world.sandbox("helloworld-v1-abc")
    code, out = await world.container(
        sandbox,
        "sh",
        "-c",
        "echo $$; hostname; id -u; pwd; echo $GREETING; cat /etc/config/app; ls -d /home/* /root/* 2>/dev/null; "
        "grep -E '^(CapEff|NoNewPrivs|Seccomp|SigIgn):' /proc/self/status; ls /proc | grep -c '^[0-9]'",
        env={"GREETING": "hello"},
        cwd="/made/for/it",
        files={"/etc/config/app": (b"port=5000\n", 0o640)},
    )
    lines = out.split("\n")
    assert code == 0, out
    assert lines[:6] == ["1", "helloworld-v1-abc", "0", "/made/for/it", "hello", "port=5000"]
    assert "CapEff:\t00000000a80425fb" in lines
    assert "NoNewPrivs:\t1" in lines
    assert "SigIgn:\t0000000000000000" in lines
    assert not [line for line in lines if line.startswith(("/home", "/root"))]
    assert int(lines[-2]) <= 5, "processes of others are visible"


async def cannot_change_the_machine(world):
    sandbox = await world.sandbox()
    for command in (
        "touch /usr/x",
        "touch /etc/ssl/certs/x",
        "chmod 666 /dev/null",
        "chmod 666 /proc/kcore",
        "ls -d /etc/ssl/private/*",
        "ls -d /sys/firmware/*",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo h > /proc/sysrq-trigger",
        "mount -t tmpfs none /mnt",
        "umount /usr",
        "ip link add x type bridge",
        "nsenter -t 1 -n true && unshare -n true",
    ):
        code, out = await world.container(sandbox, "sh", "-c", command)
        assert code != 0, f"{command} succeeded: {out}"
    assert await world.container(
        sandbox, "sh", "-c", "touch /x /tmp/x /run/x /var/tmp/x /dev/shm/x; echo > /dev/null"
    ) == (0, "")


async def mounts_are_read_only_unless_asked(world):
    with tempfile.TemporaryDirectory() as directory:
        for name in ("shared", "data"):
            os.mkdir(f"{directory}/{name}")
        mounts = (Mount(f"{directory}/shared", "/opt/shared"), Mount(f"{directory}/data", "/var/data", read_only=False))
        code, out = await world.container(
            await world.sandbox(), "sh", "-c", "touch /var/data/x; touch /opt/shared/x", mounts=mounts
        )
        assert code == 1
        assert "Read-only file system" in out
        assert os.listdir(f"{directory}/data") == ["x"]
        with pytest.raises(FileNotFoundError, match="mount /a: /no/such/place: No such file"):
            await world.container(await world.sandbox(), "true", mounts=(Mount("/no/such/place", "/a"),))


async def a_link_in_a_volume_leads_nowhere_else(world):
    """Whatever it was when the kubelet looked: a container may have changed it since."""
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/volume/inner")
        for name, to in (("out", directory), ("up", "../"), ("in", "inner")):
            os.symlink(to, f"{directory}/volume/{name}")

        async def mounted(name):
            mount = Mount(f"{directory}/volume/{name}", "/mnt/x", within=f"{directory}/volume")
            return await world.container(await world.sandbox(), "ls", "-d", "/mnt/x", mounts=(mount,))

        assert await mounted("in") == (0, "/mnt/x\n")
        for name in ("out", "up"):
            with pytest.raises(OSError, match=f"mount /mnt/x: .*/{name}: .*ross-device link"):
                await mounted(name)


async def a_link_in_a_volume_cannot_reach_out(world):
    """What is mounted or written below it is the container's own, however the container got its root."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("volume", "other", "outside"):
            os.mkdir(f"{directory}/{name}")
        os.symlink(f"/.old{directory}/outside", f"{directory}/volume/old")
        upwards = "../" * directory.count("/") + directory[1:]
        for number in range(3, 20):
            os.symlink(f"/proc/self/fd/{number}/{upwards}/outside", f"{directory}/volume/{number}")
        volume, other = Mount(f"{directory}/volume", "/data", read_only=False), f"{directory}/other"
        for link in os.listdir(volume.source):
            placed: dict[str, Any] = {"mounts": (volume, Mount(other, f"/data/{link}/mounted"))}
            written: dict[str, Any] = {"mounts": (volume,), "files": {f"/data/{link}/written": (b"x", 0o600)}}
            for how in (placed, written):
                with contextlib.suppress(OSError):
                    await world.container(await world.sandbox(), "true", **how)
        assert os.listdir(f"{directory}/outside") == []


SPY = """
import os
seen = set()
print("looking", flush=True)
while not os.path.exists("/tmp/enough"):
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == str(os.getpid()): continue
        try:
            with open(f"/proc/{name}/maps") as memory: seen.update(line.split()[-1] for line in memory)
        except OSError: pass
print(len(seen), any("python" in one for one in seen), flush=True)
"""


async def nobody_looks_into_the_zygote(world):
    """A process that is to be executed in a container is the zygote's until it is."""
    readable, writable = os.pipe()
    spec = ContainerSpec("spy", ["python3", "-c", SPY], {"PATH": PATH})
    sandbox = await world.sandbox()
    spy = await world.runtime.start_container(sandbox, spec, (world.null, writable, 2))
    os.close(writable)
    with os.fdopen(readable) as told:
        assert await asyncio.to_thread(told.readline) == "looking\n"
        await world.runtime.exec(spy, ["sleep", "1000"], {"PATH": PATH}, "/", (world.null,) * 3)
        for _ in range(100):
            executed, _ = await world.runtime.exec(spy, ["true"], {"PATH": PATH}, "/", (world.null,) * 3)
            await world.runtime.wait(executed)
        done, _ = await world.runtime.exec(spy, ["touch", "/tmp/enough"], {"PATH": PATH}, "/", (world.null,) * 3)
        await world.runtime.wait(done)
        seen, of_zygote = (await asyncio.to_thread(told.readline)).split()
        assert int(seen) > 0
        assert of_zygote == "False"


KEYS = """
import ctypes, platform, sys
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
kernel = ctypes.CDLL(None).syscall
session = ctypes.c_int(-3)
if sys.argv[1] == "add":
    kernel(add_key, b"user", b"of a pod", b"secret", ctypes.c_size_t(6), session)
sys.exit(kernel(keyctl, 10, session, b"user", b"of a pod", 0) < 0)
"""


async def nobody_leaves_keys_for_others_in_the_kernel(world):
    for what in ("add", "find"):
        assert await world.container(await world.sandbox(), "/usr/bin/python3", "-c", KEYS, what) == (1, "")


async def an_image_cannot_reach_out(world):
    with tempfile.TemporaryDirectory() as image:
        _make_image(Path(image))
        code, out = await world.container(
            await world.sandbox(),
            "sh",
            "-c",
            "cat /etc/app /etc/resolv.conf /var/run/token; ls /tmp; echo changed > /etc/app; cat /etc/app",
            rootfs=image,
            mounts=(Mount("/usr", "/usr"),),
            files={"/etc/resolv.conf": (b"nameserver 10.96.0.10\n", 0o644), "/var/run/token": (b"secret\n", 0o600)},
        )
        assert code == 0, out
        assert out.split("\n")[:3] == ["from the image", "nameserver 10.96.0.10", "secret"]
        assert out.endswith("token\nchanged\n")
        assert "token" not in os.listdir("/tmp")
        assert _read(f"{image}/etc/app") == "from the image\n"


def _make_image(image):
    """A root whose links lead to places that must mean the container's, not the machine's."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.islink(f"/{name}"):
            (image / name).symlink_to(os.readlink(f"/{name}"))
    for name in ("usr", "etc", "var"):
        (image / name).mkdir()
    (image / "etc/resolv.conf").symlink_to("/nowhere/resolv.conf")
    (image / "var/run").symlink_to("/tmp")
    (image / "etc/app").write_text("from the image\n")


def _read(path):
    return Path(path).read_text()


async def errors_are_worded_as_runc_does(world):
    pod = await world.pod()
    for argv, cwd, kind, words in (
        (["foo"], "/", FileNotFoundError, 'exec: "foo": executable file not found in $PATH'),
        (["/foo"], "/", FileNotFoundError, 'exec: "/foo": stat /foo: no such file or directory'),
        (["/etc/passwd"], "/", PermissionError, 'exec: "/etc/passwd": permission denied'),
        (["/etc"], "/", IsADirectoryError, 'exec: "/etc": is a directory'),
        (["true"], "/gone", FileNotFoundError, 'chdir to cwd ("/gone") set in config.json failed: no such file'),
    ):
        with pytest.raises(kind) as caught:
            await world.run(pod, *argv, cwd=cwd)
        assert words in str(caught.value)
    with pytest.raises(FileNotFoundError, match="executable file not found"):
        await world.container(pod.sandbox, "foo")
    with pytest.raises(OSError, match="exec: embedded null"):
        await world.run(pod, "true", env={"A": "b\0c"})
    await world.run(pod, "sh", "-c", "printf 'not a program' > /tmp/x; chmod 755 /tmp/x")
    with pytest.raises(OSError, match="exec /tmp/x: exec format error"):
        await world.run(pod, "/tmp/x")


async def exit_codes_and_signals(world):
    pod = await world.pod()
    assert (await world.run(pod, "sh", "-c", "exit 7"))[0] == 7
    assert (await world.run(pod, "sh", "-c", "kill -9 $$"))[0] == -signal.SIGKILL
    runtime = world.runtime
    runtime.signal(pod.main, signal.SIGTERM)  # PID 1 without a handler does not notice
    assert (await world.run(pod, "true"))[0] == 0
    runtime.signal(pod.main, signal.SIGKILL)
    assert await runtime.wait(pod.main) == -signal.SIGKILL
    assert await runtime.wait(pod.main) == -signal.SIGKILL
    runtime.signal(pod.main, signal.SIGKILL)
    with pytest.raises(ProcessLookupError, match="cannot exec in a stopped container"):
        await world.run(pod, "true")
    again, out = await world.container(pod.sandbox, "hostname", "-I")
    assert (again, out.split()) == (0, addresses(pod)), "a new container of the pod has its addresses"
    await runtime.remove_sandbox(pod.sandbox)
    await runtime.remove_sandbox(pod.sandbox)
    with pytest.raises(ProcessLookupError, match="the sandbox has ended"):
        await world.container(pod.sandbox, "true")


async def a_terminal(world):
    pod = await world.pod()
    script = "tty; read line; stty size; echo got:$line"
    process, master = await world.runtime.exec(pod.main, ["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, "/", None)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    os.write(master, b"ping\n")
    assert await world.runtime.wait(process) == 0
    out = b""
    try:
        while chunk := os.read(master, 4096):
            out += chunk
    except OSError:
        pass  # EIO: the other end has closed
    os.close(master)
    assert b"/dev/pts/0\r\n" in out
    assert b"33 101\r\ngot:ping" in out


async def a_large_config_map(world):
    content = os.urandom(1 << 20)
    code, out = await world.container(
        await world.sandbox(), "wc", "-c", "/etc/big", files={"/etc/big": (content, 0o644)}
    )
    assert (code, out.split()[0]) == (0, str(1 << 20))


def addresses(pod):
    return [pod.ip, in_ipv6(pod.ip)]


async def the_nodes_own_proxy(world):
    """hostNetwork and privileged: the node's network and processes, every capability."""
    pod = await world.pod("victim")
    sandbox = await world.sandbox("proxy", ip=None)
    code, out = await world.container(
        sandbox, "sh", "-c", f"hostname; nsenter --net={pod.netns} hostname -I", privileged=True
    )
    assert code == 0, out
    assert out.split() == ["ambientlab", *addresses(pod)]
    await world.runtime.remove_sandbox(sandbox)
    assert (await world.run(pod, "true"))[0] == 0


async def giving_up_leaves_no_process(world):
    before = processes()
    tasks = [asyncio.create_task(world.sandbox(f"p{index}")) for index in range(20)]
    for turns, task in enumerate(tasks):
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            await world.runtime.remove_sandbox(result)
    # The zygote works in order: once it has made and reaped one more, those that were given up are gone.
    last = await world.sandbox("last")
    await world.runtime.remove_sandbox(last)
    await until(lambda: "pause" not in processes().values(), "the end of what was killed")
    assert set(before) <= set(processes())


async def what_still_starts_in_a_removed_pod_is_ended(world):
    for turns in range(8):
        pod = await world.pod()
        late = asyncio.create_task(world.container(pod.sandbox, "sleep", "1000"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.runtime.remove_sandbox(pod.sandbox)
        outcomes = await asyncio.gather(late, return_exceptions=True)
        assert isinstance(outcomes[0], OSError) or outcomes[0] == (-signal.SIGKILL, "")
    assert "sleep" not in processes().values()


async def a_sandbox_that_ends_by_itself_takes_what_is_in_it_along(world):
    pod = await world.pod()
    os.kill(pod.sandbox.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        await world.runtime.sandbox_ended(pod.sandbox)
        await world.runtime.remove_sandbox(pod.sandbox)
        assert await world.runtime.wait(pod.main) == -signal.SIGKILL
    await until(lambda: not veths(), "its device has gone")
    again = await world.sandbox(ip=pod.ip)
    assert (await world.container(again, "hostname", "-I"))[1].split() == addresses(pod)


async def churn_leaves_nothing(world):
    async def one(index):
        pod = await world.pod(f"pod{index}")
        assert (await world.run(pod, "true"))[0] == 0
        await world.rules.install(pod.netns)
        await world.runtime.remove_sandbox(pod.sandbox)

    await asyncio.gather(*(one(index) for index in range(12)))
    (zygote,) = (pid for pid, name in processes().items() if name == "zygote")

    def state():
        return open_descriptors(), open_descriptors(zygote), sorted(processes()), veths()

    before = state()
    assert not before[-1]
    for start in range(0, 60, 12):
        await asyncio.gather(*(one(start + offset) for offset in range(12)))
    assert state() == before


SCENARIOS = [
    sees_a_machine_of_its_own,
    cannot_change_the_machine,
    mounts_are_read_only_unless_asked,
    a_link_in_a_volume_leads_nowhere_else,
    a_link_in_a_volume_cannot_reach_out,
    nobody_looks_into_the_zygote,
    nobody_leaves_keys_for_others_in_the_kernel,
    an_image_cannot_reach_out,
    errors_are_worded_as_runc_does,
    exit_codes_and_signals,
    a_terminal,
    a_large_config_map,
    the_nodes_own_proxy,
    giving_up_leaves_no_process,
    what_still_starts_in_a_removed_pod_is_ended,
    a_sandbox_that_ends_by_itself_takes_what_is_in_it_along,
    churn_leaves_nothing,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_runtime(run_scenario, scenario):
    run_scenario(scenario)
