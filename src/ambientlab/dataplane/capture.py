"""istio-cni's role: decide which pods' traffic the node proxy carries, and redirect it to the proxy.

    enrol:     proxy listens inside the pod (acknowledged) -> rules in the pod's network namespace -> annotation
    un-enrol:  rules away -> annotation away -> proxy lets go of the pod

In this order no packet is ever redirected to a port where nobody listens. A new pod is enrolled before its containers
start; one that runs is enrolled or un-enrolled when its labels, or its namespace's, change. Work on one pod never
overlaps; a step that fails is tried again from the beginning, so every step is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ambientlab.api.client import Client, Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import NAMESPACE, POD
from ambientlab.api.objects import Object, annotations_of, labels_of, name, namespace, uid
from ambientlab.api.workload_names import workload_names
from ambientlab.flow.queue import Backoff, WorkQueue
from ambientlab.flow.reconcile import Controller, Stop
from ambientlab.mesh.capture import Captured, CaptureSink
from ambientlab.mesh.serve.identity import spiffe_id

if TYPE_CHECKING:
    from ambientlab.node.runtime import Sandbox

log = logging.getLogger("ambientlab.istio-cni")

MODE_LABEL = "istio.io/dataplane-mode"
REDIRECTION = "ambient.istio.io/redirection"
SIDECAR_STATUS = "sidecar.istio.io/status"


class InPodRules(Protocol):
    """What redirects a pod's traffic to the proxy's listeners inside it. Idempotent; raises OSError."""

    async def install(self, netns: str) -> None: ...

    async def remove(self, netns: str) -> None: ...


def should_capture(pod: Object, pod_namespace: Object | None) -> bool:
    """Istio's rule (cni/pkg/util/podutil.go, PodRedirectionEnabled): a label on the namespace or the pod asks for it;
    the pod's `none`, a sidecar or the node's own network rule it out. Waypoints carry `none`."""
    mode = labels_of(pod).get(MODE_LABEL)
    asked = mode == "ambient" or (
        pod_namespace is not None and labels_of(pod_namespace).get(MODE_LABEL) == "ambient" and mode != "none"
    )
    return asked and not pod["spec"].get("hostNetwork") and SIDECAR_STATUS not in annotations_of(pod)


@dataclass(slots=True)
class _Entry:
    """A pod with a sandbox. `captured` is what the proxy was given, None when it has nothing of the pod."""

    namespace: str
    name: str
    sandbox: Sandbox
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    captured: Captured | None = None
    gone: bool = False


class Capture:
    """A `SandboxHook` for the node agent. `start` begins to follow labels; `stop` leaves everything as it is."""

    name = "istio-cni"

    def __init__(self, client: Client, sink: CaptureSink, rules: InPodRules) -> None:
        self._client = client
        self._sink = sink
        self._rules = rules
        self._entries: dict[str, _Entry] = {}
        self._controller: Controller[str] = Controller(
            self,
            quiet=lambda error: isinstance(error, OSError | StatusError),
            backoff=Backoff(initial=0.05, maximum=5.0),
        )

    def start(self) -> None:
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()

    async def sandbox_ready(self, pod: Object, sandbox: Sandbox) -> None:
        """Raises OSError (ConnectionError, TimeoutError among them) if a pod to be captured cannot be: it must not run
        uncaptured, and is tried again."""
        if sandbox.spec.ip is None:
            return
        entry = self._entries[uid(pod)] = _Entry(namespace(pod), name(pod), sandbox)
        await self._bring(uid(pod), entry, pod)

    async def sandbox_removing(self, pod: Object, sandbox: Sandbox) -> None:
        entry = self._entries.pop(uid(pod), None)
        if entry is None:
            return
        entry.gone = True
        async with entry.lock:
            if entry.captured is not None:
                await self._sink.remove(uid(pod))

    def watch(self, queue: WorkQueue[str]) -> Iterable[Stop]:
        def pod_changed(event: Event) -> None:
            if uid(event.object) in self._entries:
                queue.add(uid(event.object))

        def namespace_changed(event: Event) -> None:
            for key, entry in self._entries.items():
                if entry.namespace == name(event.object):
                    queue.add(key)

        return [self._client.watch(POD, pod_changed), self._client.watch(NAMESPACE, namespace_changed)]

    async def reconcile(self, key: str) -> None:
        entry = self._entries.get(key)
        pod = self._client.get(POD, entry.name, entry.namespace) if entry is not None else None
        if entry is None or pod is None or uid(pod) != key or "deletionTimestamp" in pod["metadata"]:
            return  # a pod on its way out keeps what it has: its last requests must not change their path
        try:
            await self._bring(key, entry, pod)
        except OSError as error:
            log.warning("pod %s/%s: %s; trying again", entry.namespace, entry.name, error)
            raise

    async def _bring(self, key: str, entry: _Entry, pod: Object) -> None:
        """What is to what should be, for one pod."""
        async with entry.lock:
            if entry.gone:
                return
            wanted = should_capture(pod, self._client.get(NAMESPACE, entry.namespace))
            marked = annotations_of(pod).get(REDIRECTION) == "enabled"
            if wanted and (entry.captured is None or not marked):
                await self._enrol(key, entry, pod)
            elif not wanted and (entry.captured is not None or marked):
                await self._unenrol(key, entry)

    async def _enrol(self, key: str, entry: _Entry, pod: Object) -> None:
        if entry.captured is None:
            names = workload_names(pod)
            captured = Captured(
                uid=key,
                namespace=entry.namespace,
                name=entry.name,
                ip=entry.sandbox.spec.ip or "",
                netns=entry.sandbox.netns,
                identity=spiffe_id(entry.namespace, pod["spec"].get("serviceAccountName") or "default"),
                workload_name=names.workload,
                canonical_name=names.service,
                canonical_revision=names.revision,
            )
            try:
                await self._sink.add(captured)
                await self._rules.install(entry.sandbox.netns)
            except BaseException:  # cancelled, too: half a capture is none
                await self._rules.remove(entry.sandbox.netns)
                await self._sink.remove(key)
                raise
            entry.captured = captured
        await self._annotate(entry, "enabled")
        log.info("pod %s/%s: added to the mesh (%s)", entry.namespace, entry.name, entry.captured.identity)

    async def _unenrol(self, key: str, entry: _Entry) -> None:
        await self._rules.remove(entry.sandbox.netns)
        await self._annotate(entry, None)
        await self._sink.remove(key)
        entry.captured = None
        log.info("pod %s/%s: removed from the mesh", entry.namespace, entry.name)

    async def _annotate(self, entry: _Entry, value: str | None) -> None:
        patch: Object = {"metadata": {"annotations": {REDIRECTION: value}}}
        try:
            # pods/status may change annotations too, and needs fewer rights: Istio's choice
            await self._client.patch(POD, entry.name, entry.namespace, patch, subresource="status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise
