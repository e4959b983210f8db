"""The query of exec, attach and log requests: defaults, and refusals as the Kubernetes API server words them.

Sources: k8s.io/kubernetes/pkg/registry/core/pod (strategy.go, rest/log.go), pkg/apis/core/validation
(ValidatePodLogOptions) and k8s.io/apimachinery/pkg/runtime/converter.go (query values).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ambientlab.api import objects
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.kubelet import LogOptions
from ambientlab.api.objects import Object

_INT64 = range(-(2**63), 2**63)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams the client of an exec or attach wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> StreamOptions:
        """A terminal has no stderr of its own, as in k8s.io/kubelet/pkg/cri/streaming/remotecommand NewOptions."""
        tty = flag(query, "tty")
        options = cls(flag(query, "stdin"), flag(query, "stdout"), flag(query, "stderr") and not tty, tty)
        if not (options.stdin or options.stdout or options.stderr):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        return options


def flag(query: Mapping[str, str], name: str) -> bool:
    """False if absent, "false" or "0"; anything else, the empty value too, is true."""
    return query.get(name, "0").lower() not in ("false", "0")


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    value = int(text) if len(text) <= 20 else _INT64.stop
    if value not in _INT64:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def log_options(query: Mapping[str, str], pod: Object, *, now: float) -> LogOptions:
    """`now` is POSIX time: the kubelet contract knows only absolute times, the query relative ones too."""
    tail_lines = _integer(query, "tailLines")
    limit_bytes = _integer(query, "limitBytes")
    since_seconds = _integer(query, "sinceSeconds")
    since_time = _time(query.get("sinceTime", ""))
    causes: list[Cause] = []

    def invalid(field: str, value: int, detail: str) -> None:
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {value}: {detail}", field))

    if tail_lines is not None and tail_lines < 0:
        invalid("tailLines", tail_lines, "must be greater than or equal to 0")
    if limit_bytes is not None and limit_bytes < 1:
        invalid("limitBytes", limit_bytes, "must be greater than 0")
    if since_seconds is not None and since_time is not None:
        detail = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("FieldValueForbidden", detail))
    elif since_seconds is not None and since_seconds < 1:
        invalid("sinceSeconds", since_seconds, "must be greater than 0")
    if query.get("stream", "All") != "All":
        causes.append(Cause("FieldValueForbidden", "Forbidden: may not be specified", "stream"))
    if causes:
        raise _invalid_log_options(objects.name(pod), causes)
    since = now - since_seconds if since_seconds is not None else since_time or 0.0
    return LogOptions(
        container=choose_container(pod, query.get("container", "")),
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        since=since,
        tail_lines=tail_lines,
        limit_bytes=limit_bytes,
        timestamps=flag(query, "timestamps"),
    )


def _time(text: str) -> float | None:
    if not text or text == "null":
        return None
    try:
        if _RFC3339.fullmatch(text):
            return objects.parse_timestamp(text).timestamp()
    except (ValueError, OverflowError):
        pass
    raise bad_request(f'parsing time "{text}": not a time as RFC 3339 writes it, such as 2006-01-02T15:04:05Z')


def _invalid_log_options(name: str, causes: list[Cause]) -> StatusError:
    parts = [f"{cause.field}: {cause.message}" if cause.field else f": {cause.message}" for cause in causes]
    detail = parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"
    message = f'PodLogOptions "{name}" is invalid: {detail}'
    return StatusError(422, "Invalid", message, kind="PodLogOptions", name=name, causes=tuple(causes))


def choose_container(pod: Object, container: str) -> str:
    """The container a request means. Without a name only a pod with one container will do: the annotation
    kubectl.kubernetes.io/default-container is the client's to read (k8s.io/kubectl/pkg/cmd/util/podcmd)."""
    name = objects.name(pod)
    if container:
        if container in (c["name"] for key in _CONTAINER_LISTS for c in pod["spec"].get(key) or ()):
            return container
        raise bad_request(f"container {container} is not valid for pod {name}")
    names = [c["name"] for c in pod["spec"].get("containers") or ()]
    if len(names) == 1:
        only: str = names[0]
        return only
    message = f"a container name must be specified for pod {name}"
    if names:
        message += f", choose one of: [{' '.join(names)}]"
        if init := [c["name"] for c in pod["spec"].get("initContainers") or ()]:
            message += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(message)


_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def require_host(pod: Object) -> None:
    if not pod["spec"].get("nodeName"):
        raise bad_request(f"pod {objects.name(pod)} does not have a host assigned")
