"""From a v1.Container to what the runtime is to execute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ambientlab.api import kinds, objects
from ambientlab.api.objects import Object
from ambientlab.cluster import DNS_IP, DOMAIN
from ambientlab.node.agent import environment, status
from ambientlab.node.agent.environment import ConfigError
from ambientlab.node.runtime import ContainerSpec, Mount

if TYPE_CHECKING:
    from ambientlab.images.program import Program
    from ambientlab.images.registry import Images
    from ambientlab.node.agent.context import PodContext

_MESSAGE_LIMIT = 4096  # bytes of a termination message
_FALLBACK_LIMIT = 2048  # bytes, and
_FALLBACK_LINES = 80  # lines of the log that stand in for it (kubernetes.io, "Determine the Reason for Pod Failure")
_TERMINATION_LOG = "/dev/termination-log"


class Notice(NamedTuple):
    """An event to record."""

    type: Literal["Normal", "Warning"]
    reason: str
    text: str


@dataclass
class ImageError(Exception):
    """Why there is no program for a container: the reason of its waiting state, and what to record.

    `backs_off`: a kubelet would try to pull again later, and say ImagePullBackOff meanwhile.
    """

    reason: str
    message: str
    events: tuple[Notice, ...]
    backs_off: bool = False


def find_image(images: Images, container: Object) -> Program:
    """The program a container's image selects. Raises ImageError in the words of a kubelet (pkg/kubelet/images)."""
    image: str = container["image"]
    if program := images.resolve(image):
        return program
    if not images.is_reference(image):
        text = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": invalid reference'
        text += " format"
        raise ImageError(
            "InvalidImageName", text, (Notice("Warning", "InspectFailed", text), _error("InvalidImageName"))
        )
    if container.get("imagePullPolicy") == "Never":
        text = f'Container image "{image}" is not present with pull policy of Never'
        notice = Notice("Warning", "ErrImageNeverPull", text)
        raise ImageError("ErrImageNeverPull", text, (notice, _error("ErrImageNeverPull")))
    available = ", ".join(entry.image for entry in images.catalogue())
    text = f'failed to pull and unpack image "{image}": not a built-in image; available: {available}'
    events = (
        Notice("Normal", "Pulling", f'Pulling image "{image}"'),
        Notice("Warning", "Failed", f'Failed to pull image "{image}": {text}'),
        _error("ErrImagePull"),
    )
    raise ImageError("ErrImagePull", text, events, backs_off=True)


def _error(reason: str) -> Notice:
    return Notice("Warning", "Failed", f"Error: {reason}")


def container_spec(context: PodContext, container: Object, program: Program, run: int) -> ContainerSpec:
    """Raises ConfigError for what is missing or cannot be."""
    pod = with_addresses(context.pod, context.ips, context.means.ips)
    host_network = bool(pod["spec"].get("hostNetwork"))
    own = {"HOSTNAME": context.hostname}
    own |= environment.service_variables(_services(context))
    variables = environment.container_variables(pod, container, own, context.lookup)
    command = [environment.expand(word, variables) for word in container.get("command") or ()]
    arguments = [environment.expand(word, variables) for word in container.get("args") or ()]
    try:
        launch = program.launch(pod, container, command, arguments)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    ips = () if host_network else context.ips
    files = {
        "/etc/hosts": (environment.hosts_file(pod, ips, DOMAIN), 0o644),
        "/etc/hostname": (context.hostname.encode() + b"\n", 0o644),
        "/etc/resolv.conf": (environment.resolv_conf(pod, DNS_IP, DOMAIN), 0o644),
        **launch.files,
    }
    message_file = context.volumes.message_file(container["name"], run)
    mounts = (
        *(Mount(*bind) for bind in launch.binds),
        *context.volumes.mounts(pod, container, variables),
        Mount(str(message_file), container.get("terminationMessagePath") or _TERMINATION_LOG, read_only=False),
    )
    return ContainerSpec(
        name=container["name"],
        argv=launch.argv,
        env={
            "PATH": environment.PATH,
            "HOME": "/root",
            "TAR_OPTIONS": environment.TAR_OPTIONS,
            **_terminal(container),
            **launch.env,
            **variables,
        },
        cwd=container.get("workingDir") or launch.cwd,
        files=files,
        mounts=mounts,
        privileged=launch.privileged,
    )


def with_addresses(pod: Object, ips: Sequence[str], host_ips: Sequence[str]) -> Object:
    """The pod as the downward API shows it: its status may not be written yet."""
    return {**pod, "status": {**(pod.get("status") or {}), **status.addresses(ips, host_ips)}}


def _services(context: PodContext) -> list[Object]:
    """Those a container learns of by variables: of its namespace if it wants them, and the API's own always."""
    client, pod = context.means.client, context.pod
    services = list(client.list(kinds.SERVICE, objects.namespace(pod))) if _wants_links(pod) else []
    api = client.get(kinds.SERVICE, "kubernetes", "default")
    if api is not None and not any(objects.uid(s) == objects.uid(api) for s in services):
        services.insert(0, api)
    return services


def _wants_links(pod: Object) -> bool:
    return pod["spec"].get("enableServiceLinks") is not False


def _terminal(container: Object) -> dict[str, str]:
    return {"TERM": "xterm"} if container.get("tty") else {}


def termination_message(context: PodContext, container: Object, run: int, exit_code: int) -> str:
    """What a container left to say about its end. Raises OSError."""
    path = context.volumes.message_file(container["name"], run)
    with path.open("rb") as file:
        text = file.read(_MESSAGE_LIMIT)
    path.unlink()
    if not text and exit_code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        text = context.means.logs.last(context.pod, container["name"], _FALLBACK_LINES)[-_FALLBACK_LIMIT:]
    return text.decode("utf-8", "replace")
