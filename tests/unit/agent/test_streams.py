"""kubectl's exec, attach, logs and port-forward as the node answers them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import LogOptions


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": "busybox", "command": ["sh", "-c", script], **more}


IDLE = shell("exec sleep 1000")


async def logs(world: Any, pod: Any, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in world.kubelet.logs(pod, LogOptions(**options))])


async def test_exec_returns_both_streams_and_the_code(world: Any) -> None:
    await world.create("web", IDLE)
    pod = await world.ready("web")
    assert await world.output(pod, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert await world.output(pod, "sh", "-c", "kill -9 $$") == (137, b"", b"")
    assert await world.output(pod, "sh", "-c", "echo $HOSTNAME") == (0, b"web\n", b"")


async def test_exec_passes_standard_input_and_its_end(world: Any) -> None:
    await world.create("web", IDLE)
    session = await world.kubelet.exec(await world.ready("web"), "main", ["wc", "-c"], stdin=True, tty=False)
    collecting = asyncio.create_task(collect(session.stdout()))
    await session.write_stdin(b"x" * 1_000_000)
    session.close_stdin()
    assert (await collecting).strip() == b"1000000"
    assert await session.wait() == 0
    session.close()


async def collect(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def test_exec_with_a_terminal_has_one_stream_and_a_size(world: Any) -> None:
    await world.create("web", IDLE)
    session = await world.kubelet.exec(
        await world.ready("web"), "main", ["sh", "-c", "read x; stty size; echo $TERM"], stdin=True, tty=True
    )
    session.resize(columns=133, rows=42)
    await session.write_stdin(b"\n")
    output = await collect(session.stdout())
    assert b"42 133" in output
    assert b"xterm" in output
    assert await collect(session.stderr()) == b""
    assert await session.wait() == 0
    session.close()


async def test_a_caller_that_leaves_ends_what_it_started(world: Any) -> None:
    await world.create("web", IDLE)
    session = await world.kubelet.exec(await world.ready("web"), "main", ["sleep", "1000"], stdin=False, tty=False)
    session.close()
    assert await session.wait() == 129


async def test_closing_ends_those_who_read(world: Any) -> None:
    await world.create("web", IDLE)
    script = ["sh", "-c", "echo up; exec sleep 1000"]
    session = await world.kubelet.exec(await world.ready("web"), "main", script, stdin=True, tty=False)
    output = session.stdout()
    assert await anext(output) == b"up\n"
    reading = asyncio.ensure_future(collect(output))
    await asyncio.sleep(0)
    session.close()
    assert await reading == b""
    await session.write_stdin(b"late")
    assert await session.wait() == 129


async def test_exec_refuses_in_words_a_person_understands(world: Any) -> None:
    await world.create("web", IDLE)
    await world.create("istiod", {"name": "discovery", "image": "istio/pilot"})
    await world.create("broken", {"name": "main", "image": "nginx"})
    pod = await world.ready("web")
    for target, container, argv, part in (
        (pod, "other", ["true"], "container other is not valid for pod web"),
        (pod, "main", ["nope"], 'exec: "nope": executable file not found in $PATH'),
        (await world.ready("istiod"), "", ["true"], "has no process to enter"),
        (world.pod("broken"), "", ["true"], 'container not found ("main")'),
    ):
        with pytest.raises(StatusError) as refused:
            await world.kubelet.exec(target, container, argv, stdin=False, tty=False)
        assert part in refused.value.message


async def test_attach_shows_output_from_now_on_and_passes_input(world: Any) -> None:
    script = 'echo before; while read line; do echo "got $line"; done; echo end'
    await world.create("web", shell(script, stdin=True, stdinOnce=True), restartPolicy="Never")
    pod = await world.ready("web")
    await world.said(pod, b"before")
    session = await world.kubelet.attach(pod, "main", stdin=True, tty=False)
    await session.write_stdin(b"hello\n")
    output = session.stdout()
    assert await anext(output) == b"got hello\n"
    session.close_stdin()
    assert await collect(output) == b"end\n"
    assert await session.wait() == 0
    session.close()


async def test_attach_needs_a_container_with_standard_input(world: Any) -> None:
    await world.create("web", IDLE)
    pod = await world.ready("web")
    with pytest.raises(StatusError, match="set stdin: true"):
        await world.kubelet.attach(pod, "main", stdin=True, tty=False)


async def test_a_container_with_a_terminal(world: Any) -> None:
    await world.create("web", shell("tty; exec sleep 1000", stdin=True, tty=True))
    pod = await world.ready("web")
    await world.said(pod, b"/dev/pts/")


async def test_logs_of_both_streams_with_tail_and_limit(world: Any) -> None:
    await world.create("web", shell("for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; exec sleep 1000"))
    pod = await world.ready("web")
    await world.said(pod, b"oops")
    assert sorted((await logs(world, pod)).splitlines()) == [b"line %d" % n for n in range(1, 6)] + [b"oops"]
    assert len((await logs(world, pod, tail_lines=2)).splitlines()) == 2
    assert await logs(world, pod, tail_lines=0) == b""
    assert len(await logs(world, pod, limit_bytes=9)) == 9
    stamped = await logs(world, pod, timestamps=True, tail_lines=1)
    assert stamped.startswith(b"2026-01-01T00:00:00.000000000Z ")
    assert await logs(world, pod, since=world.clock.now().timestamp() + 1) == b""


async def test_following_ends_with_the_container(world: Any) -> None:
    await world.create("web", shell("echo one; read x; echo two", stdin=True), restartPolicy="Never")
    pod = await world.ready("web")
    stream = world.kubelet.logs(pod, LogOptions(follow=True))
    assert await anext(stream) == b"one\n"
    session = await world.kubelet.attach(pod, "main", stdin=True, tty=False)
    await session.write_stdin(b"\n")
    session.close()
    assert await collect(stream) == b"two\n"


async def test_the_previous_run_can_still_be_read(world: Any) -> None:
    marker = world.path / "marker"
    await world.create("web", shell(f"test -e {marker} && exec sleep 1000; touch {marker}; echo first; exit 1"))
    await world.until(lambda: world.container("web").get("restartCount") == 1)
    pod = await world.ready("web")
    assert await logs(world, pod, previous=True) == b"first\n"
    assert await logs(world, pod) == b""


async def test_a_component_is_read_and_followed(world: Any) -> None:
    world.component.write_line("2026-01-01T00:00:00Z\tinfo\tready")
    await world.create("istiod", {"name": "discovery", "image": "istio/pilot"})
    pod = await world.ready("istiod")
    assert await logs(world, pod) == b"2026-01-01T00:00:00Z\tinfo\tready\n"
    stream = world.kubelet.logs(pod, LogOptions(follow=True, tail_lines=0))
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    world.component.write_line("next")
    assert await following == b"next\n"
    await stream.aclose()


async def test_no_log_yet(world: Any) -> None:
    await world.create("broken", {"name": "main", "image": "nginx"})
    await world.until(lambda: world.container("broken")["state"].get("waiting", {}).get("reason") == "ErrImagePull")
    for options, part in (
        ({}, 'container "main" in pod "broken" is waiting to start: trying and failing to pull image'),
        ({"previous": True}, 'previous terminated container "main" in pod "broken" not found'),
        ({"container": "x"}, "container x is not valid for pod broken"),
    ):
        with pytest.raises(StatusError) as refused:
            await logs(world, world.pod("broken"), **options)
        assert part in refused.value.message


async def test_port_forward_connects_to_loopback(world: Any) -> None:
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await world.create("web", IDLE)
    pod = await world.ready("web")
    sock = await world.kubelet.connect(pod, port)
    await served.wait()
    assert not sock.getblocking()
    sock.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(StatusError, match="failed to connect to localhost:"):
        await world.kubelet.connect(pod, port)
