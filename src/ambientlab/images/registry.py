"""From the name of an image to the built-in program it selects."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.dataplane import envoy
from ambientlab.images import interpreter, reference
from ambientlab.images.program import Bind, Bootstrap, Drain, MakeOutput, Program

_ISTIO = r"(?:istio|istio-release|istio-testing|release)"


class Entry(NamedTuple):
    """One line of the catalogue: `image` is the name people usually write."""

    name: str
    image: str
    summary: str


@dataclass(frozen=True, slots=True)
class _Built:
    """`pattern` is matched against the path of an image, whatever the registry: mirrors keep paths, not hosts."""

    entry: Entry
    pattern: re.Pattern[str]
    make: Callable[[re.Match[str]], Program]


def _helloworld(match: re.Match[str]) -> Program:
    return Program(
        "helloworld",
        match["version"],
        interpreter.program_argv("helloworld.py"),
        env={"SERVICE_VERSION": match["version"]},
        binds=interpreter.program_binds(),
        ports=(5000,),
    )


def _httpbin(port: int) -> Callable[[re.Match[str]], Program]:
    def make(_match: re.Match[str]) -> Program:
        server = interpreter.program_argv("httpbin_server.py", *interpreter.package_paths("httpbin"), "--")
        return Program(
            "httpbin",
            "latest",
            server,
            env={"PORT": str(port)},
            binds=(*interpreter.program_binds(), *interpreter.package_binds("httpbin")),
            ports=(port,),
            commands={"gunicorn": server, "go-httpbin": server, "/bin/go-httpbin": server},
        )

    return make


_ECHO_BIN = "/opt/echo/bin"


def _echo_advanced(_match: re.Match[str]) -> Program:
    """What `exec` is to find, it finds in PATH."""
    commands = {
        "client": interpreter.program_argv("echo_client.py"),
        "server": interpreter.program_argv("echo_server.py"),
    }
    return Program(
        "echo-advanced",
        "latest",
        commands["server"],
        env={"PATH": f"{_ECHO_BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        binds=interpreter.program_binds(),
        ports=(8080, 7070, 9090),
        files={
            f"{_ECHO_BIN}/{name}": (f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n'.encode(), 0o755)
            for name, argv in commands.items()
        },
    )


def _echo_basic(_match: re.Match[str]) -> Program:
    server = interpreter.program_argv("echo_basic.py")
    return Program("echo-basic", "latest", server, binds=interpreter.program_binds(), ports=(3000, 3001))


_ENVOY = "/opt/envoy/envoy"
# What the image's entrypoint does (envoyproxy/envoy, distribution/docker/docker-entrypoint.sh): options are Envoy's,
# its name may stand before them, anything else is a command of its own; $loglevel is an option of Envoy's.
_ENVOY_ENTRYPOINT = (
    'case "$1" in -*) ;; envoy) shift ;; *) exec "$@" ;; esac; '
    f'exec {_ENVOY} "$@" ${{loglevel:+--log-level "$loglevel"}}'
)


def _envoy(_match: re.Match[str]) -> Program:
    return Program(
        "envoy",
        "latest",
        ("/bin/sh", "-c", _ENVOY_ENTRYPOINT, "docker-entrypoint.sh"),
        ("envoy", "-c", "/etc/envoy/envoy.yaml"),
        binds=(Bind(str(envoy.binary()), _ENVOY),),
        ports=(10000,),
        commands={"envoy": (_ENVOY,), "/usr/local/bin/envoy": (_ENVOY,)},
    )


# As the image has it (curl/curl-container, etc/entrypoint.sh): what is a command is executed, all else are arguments of
# curl's.
_CURL_ENTRYPOINT = 'case "$1" in -*) ;; *) command -v "$1" >/dev/null && exec "$@" ;; esac; exec curl "$@"'


def _tool(name: str, *entrypoint: str, arguments: tuple[str, ...] = ()) -> Callable[[re.Match[str]], Program]:
    return lambda _match: Program(name, "latest", entrypoint, arguments)


def _component(name: str) -> Callable[[re.Match[str]], Program]:
    return lambda _match: Program(name, "latest", component=name)


def _built(name: str, image: str, summary: str, pattern: str, make: Callable[[re.Match[str]], Program]) -> _Built:
    return _Built(Entry(name, image, summary), re.compile(pattern), make)


_BUILT = (
    _built(
        "helloworld",
        "docker.io/istio/examples-helloworld-v1",
        "answers :5000/hello with its version and instance; v1, v2, ...",
        rf"(?:.+/)?{_ISTIO}/examples-helloworld-(?P<version>v[0-9]+)",
        _helloworld,
    ),
    _built(
        "httpbin",
        "docker.io/mccutchen/go-httpbin",
        "httpbin on :8080",
        r"(?:.+/)?mccutchen/go-httpbin",
        _httpbin(8080),
    ),
    _built(
        "httpbin",
        "docker.io/kennethreitz/httpbin",
        "httpbin on :80",
        r"(?:.+/)?(?:kennethreitz|kong)/httpbin",
        _httpbin(80),
    ),
    _built(
        "echo-advanced",
        "gcr.io/k8s-staging-gateway-api/echo-advanced",
        "Istio's echo server (HTTP :8080, gRPC :7070, TCP :9090) with the command `client`",
        r"(?:.+/)?(?:echo-advanced|echo|(?:istio|istio-testing)/app)",
        _echo_advanced,
    ),
    _built(
        "echo-basic",
        "gcr.io/k8s-staging-gateway-api/echo-basic",
        "answers :3000 and, for h2c, :3001 with what it saw, as JSON",
        r"(?:.+/)?echo-basic",
        _echo_basic,
    ),
    _built(
        "envoy",
        "docker.io/envoyproxy/envoy",
        "Envoy with the configuration its arguments name",
        r"(?:.+/)?envoyproxy/envoy",
        _envoy,
    ),
    _built(
        "curl",
        "docker.io/curlimages/curl",
        "curl and a shell",
        r"(?:.+/)?curlimages/curl",
        _tool("curl", "/bin/sh", "-c", _CURL_ENTRYPOINT, "/entrypoint.sh"),
    ),
    _built(
        "shell",
        "busybox",
        "a shell over this machine's own tools",
        r"(?:.+/)?(?:library/)?(?:busybox|alpine)",
        _tool("shell", arguments=("sh",)),
    ),
    _built(
        "bash",
        "debian",
        "bash over this machine's own tools",
        r"(?:.+/)?(?:library/)?(?:debian|ubuntu)",
        _tool("bash", arguments=("bash",)),
    ),
    _built(
        "pause",
        "registry.k8s.io/pause",
        "does nothing until it is told to end",
        r"(?:.+/)?pause",
        lambda _match: Program(
            "pause", "latest", interpreter.program_argv("pause.py"), binds=interpreter.program_binds()
        ),
    ),
    _built("istiod", "docker.io/istio/pilot", "the control plane", rf"(?:.+/)?{_ISTIO}/pilot", _component("istiod")),
    _built(
        "istio-cni",
        "docker.io/istio/install-cni",
        "the capture rules of the node",
        rf"(?:.+/)?{_ISTIO}/install-cni",
        _component("istio-cni"),
    ),
)

_PROXIES = (
    ("proxyv2", Entry("proxyv2", "docker.io/istio/proxyv2", "Envoy as a waypoint")),
    ("ztunnel", Entry("ztunnel", "docker.io/istio/ztunnel", "Envoy as the node proxy")),
)


class Images:
    """The images this node has. `bootstraps` makes the launches of proxies: keys `proxyv2` and `ztunnel`. `drains` are
    for those that should finish what they have begun before they end, `outputs` for those whose log is not just what
    they write.

    An image whose bootstrap is not given does not exist here.
    """

    def __init__(
        self,
        bootstraps: Mapping[str, Bootstrap] | None = None,
        drains: Mapping[str, Drain] | None = None,
        outputs: Mapping[str, MakeOutput] | None = None,
    ) -> None:
        given, draining, writing = bootstraps or {}, drains or {}, outputs or {}
        if unknown := given.keys() - {name for name, _ in _PROXIES}:
            raise ValueError(f"no image takes a bootstrap named {', '.join(sorted(unknown))}")
        proxies = tuple(
            _built(
                name,
                entry.image,
                entry.summary,
                rf"(?:.+/)?{_ISTIO}/{name}",
                _proxy(name, given[name], draining.get(name), writing.get(name)),
            )
            for name, entry in _PROXIES
            if name in given
        )
        self._built = _BUILT + proxies

    def resolve(self, image: str) -> Program | None:
        """The program an image selects, None when no built-in one has that name."""
        ref = reference.parse(image)
        if ref is None:
            return None
        for built in self._built:
            if match := built.pattern.fullmatch(ref.path):
                program = built.make(match)
                return program if program.version != "latest" else program.named(ref.tag or "latest")
        return None

    def is_reference(self, image: str) -> bool:
        """Whether the name is well-formed, known or not."""
        return reference.parse(image) is not None

    def catalogue(self) -> tuple[Entry, ...]:
        """What exists, for help and for the event of an image that does not."""
        return tuple(built.entry for built in self._built)


def _proxy(
    name: str, bootstrap: Bootstrap, drain: Drain | None, output: MakeOutput | None
) -> Callable[[re.Match[str]], Program]:
    return lambda _match: Program(name, "latest", bootstrap=bootstrap, drain=drain, output=output)
