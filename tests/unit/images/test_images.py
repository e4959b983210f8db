"""Which program an image name selects, and how it is launched."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from ambientlab.images import interpreter, reference
from ambientlab.images.program import Launch
from ambientlab.images.reference import Reference
from ambientlab.images.registry import Images


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", Reference("docker.io", "library/nginx", "latest")),
        ("curlimages/curl", Reference("docker.io", "curlimages/curl", "latest")),
        ("docker.io/curlimages/curl:8.16.0", Reference("docker.io", "curlimages/curl", "8.16.0")),
        ("localhost:5000/a/b:1", Reference("localhost:5000", "a/b", "1")),
        ("registry.istio.io/release/pilot:1.30.0", Reference("registry.istio.io", "release/pilot", "1.30.0")),
        ("busybox@sha256:" + "a" * 64, Reference("docker.io", "library/busybox", "")),
        ("", None),
        ("Nginx", None),
        ("a//b", None),
        ("a:", None),
        ("a:b:c", None),
        ("a/../b", None),
        ("nginx; rm -rf /", None),
        ("nginx@sha256:zz", None),
        ("nginx\n", None),
    ],
)
def test_references_are_read_as_a_container_runtime_reads_them(image: str, expected: Reference | None) -> None:
    assert reference.parse(image) == expected


@pytest.mark.parametrize(
    ("image", "program", "version"),
    [
        ("docker.io/istio/examples-helloworld-v1", "helloworld", "v1"),
        ("docker.io/istio/examples-helloworld-v2:1.0", "helloworld", "v2"),
        ("registry.istio.io/release/examples-helloworld-v3:1.0", "helloworld", "v3"),
        ("mirror.example.com:8443/cache/istio/examples-helloworld-v1:1.0", "helloworld", "v1"),
        ("docker.io/mccutchen/go-httpbin:v2.15.0", "httpbin", "v2.15.0"),
        ("docker.io/kennethreitz/httpbin", "httpbin", "latest"),
        ("kong/httpbin", "httpbin", "latest"),
        ("curlimages/curl", "curl", "latest"),
        (
            "gcr.io/k8s-staging-gateway-api/echo-advanced:v20240412-v1.0.0-394-g40c666fd",
            "echo-advanced",
            "v20240412-v1.0.0-394-g40c666fd",
        ),
        ("registry.k8s.io/gateway-api/conformance/echo-advanced:v1.5.1", "echo-advanced", "v1.5.1"),
        ("registry.k8s.io/gateway-api/conformance/echo-basic:v1.5.1", "echo-basic", "v1.5.1"),
        ("echo", "echo-advanced", "latest"),
        ("envoyproxy/envoy:v1.36.2", "envoy", "v1.36.2"),
        ("busybox:1.36", "shell", "1.36"),
        ("debian:12", "bash", "12"),
        ("registry.k8s.io/pause:3.10", "pause", "3.10"),
        ("docker.io/istio/pilot:1.30.0", "istiod", "1.30.0"),
        ("gcr.io/istio-release/install-cni:1.30.0", "istio-cni", "1.30.0"),
    ],
)
def test_the_names_people_use(image: str, program: str, version: str) -> None:
    found = Images().resolve(image)
    assert found is not None
    assert (found.name, found.version) == (program, version)


@pytest.mark.parametrize(
    "image", ["nginx", "examples-helloworld-v1", "evil/curl", "istio/examples-helloworld-vx", "x/"]
)
def test_other_names_select_nothing(image: str) -> None:
    assert Images().resolve(image) is None


def test_a_proxy_exists_once_its_bootstrap_is_given() -> None:
    assert Images().resolve("docker.io/istio/proxyv2:1.30.0") is None
    seen: list[Any] = []

    def bootstrap(pod: Any, container: Any) -> Launch:
        seen.append((pod, container))
        return Launch(("envoy",), privileged=True)

    images = Images({"ztunnel": bootstrap})
    program = images.resolve("docker.io/istio/ztunnel:1.30.0-distroless")
    assert program is not None
    assert program.launch({"p": 1}, {"name": "c"}, (), ("proxy", "ztunnel")) == Launch(("envoy",), privileged=True)
    assert seen == [({"p": 1}, {"name": "c"})]
    assert [entry.name for entry in images.catalogue()][-1] == "ztunnel"
    with pytest.raises(ValueError, match="no image takes a bootstrap named sidecar"):
        Images({"sidecar": bootstrap})


def argv(image: str, command: tuple[str, ...] = (), arguments: tuple[str, ...] = ()) -> tuple[str, ...]:
    program = Images().resolve(image)
    assert program is not None
    return program.launch({}, {"name": "main"}, command, arguments).argv


def test_command_and_args_replace_entrypoint_and_cmd_as_kubernetes_has_it() -> None:
    assert argv("curlimages/curl")[0] == "/bin/sh"
    assert argv("curlimages/curl", arguments=("-s", "x")) == (*argv("curlimages/curl"), "-s", "x")
    assert argv("curlimages/curl", ("sleep",), ("infinity",)) == ("sleep", "infinity")
    assert argv("busybox") == ("sh",)
    assert argv("busybox", arguments=("echo", "hi")) == ("echo", "hi")
    assert argv("busybox", ("true",)) == ("true",)


def test_servers_that_the_httpbin_images_bring_are_this_one() -> None:
    server = argv("kong/httpbin")
    assert argv("kong/httpbin", ("gunicorn", "-b", "[::]:8080", "httpbin:app")) == (
        *server,
        "-b",
        "[::]:8080",
        "httpbin:app",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("-s", "file:///proc/self/comm"), 0, "curl\n"),
        (("file:///proc/self/comm", "-s"), 0, "curl\n"),
        (("curl", "-s", "file:///proc/self/comm"), 0, "curl\n"),
        (("sh", "-c", "cat /proc/$$/comm; exit 3"), 3, "sh\n"),
        ((), 2, ""),
    ],
)
def test_curl_takes_its_arguments_as_its_image_does(arguments: tuple[str, ...], code: int, expected: str) -> None:
    line = argv("curlimages/curl", arguments=arguments)
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (code, expected)


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ((), ("--version",), "version:"),
        ((), ("envoy", "--version"), "version:"),
        ((), ("echo", "something", "else"), "something else\n"),
        (("envoy",), ("--version",), "version:"),
        (("/usr/local/bin/envoy", "--version"), (), "version:"),
        # in a container /dev/shm is its own; here another Envoy of this machine may hold the region for hot restarts
        ((), ("-c", "/etc/envoy/envoy.yaml", "--disable-hot-restart"), "/etc/envoy/envoy.yaml"),
    ],
)
def test_envoy_takes_its_arguments_as_its_image_does(
    command: tuple[str, ...], arguments: tuple[str, ...], expected: str
) -> None:
    program = Images().resolve("envoyproxy/envoy")
    assert program is not None
    launch = program.launch({}, {"name": "main"}, command, arguments)
    (bind,) = launch.binds
    # outside a container, the executable is where it is bound from
    line = [part.replace(bind.target, bind.source) for part in launch.argv]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    assert expected in done.stdout


def test_envoy_without_arguments_reads_its_images_configuration() -> None:
    assert argv("envoyproxy/envoy")[-2:] == ("-c", "/etc/envoy/envoy.yaml")


def test_a_container_sees_no_more_of_the_installation_than_it_needs() -> None:
    program = Images().resolve("istio/examples-helloworld-v1")
    assert program is not None
    launch = program.launch({}, {"name": "main"}, (), ())
    sources = [bind.source for bind in launch.binds]
    assert str(interpreter.programs_directory()) in sources or interpreter.programs_directory().is_relative_to("/usr")
    assert all(bind.read_only and bind.source == bind.target for bind in launch.binds)
    # Everything it executes is visible: under what is bound, or under /usr, which every container has.
    for path in (launch.argv[0], launch.argv[-1]):
        assert os.path.realpath(path).startswith(("/usr/", *(source + "/" for source in sources)))
