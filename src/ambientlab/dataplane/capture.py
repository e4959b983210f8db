"""istio-cni's role: decide which pods' traffic the node proxy carries, and redirect it to the proxy.

    enrol:     proxy listens inside the pod (acknowledged) -> rules in the pod's network namespace -> `enabled`
    un-enrol:  rules away -> annotation away -> proxy lets go of the pod -> what it has open there ends

In this order no packet is redirected to a port where nobody listens. But a pod that has been asked into the mesh never
goes on in the clear: where no proxy takes it, it is redirected all the same, reaches nobody, and is annotated
`pending` until one does (istio, cni/pkg/nodeagent/meshdataplane_linux.go, AddPodToMesh).

A new pod is enrolled before its containers start; one that runs is enrolled or un-enrolled when its labels, or its
namespace's, change. What becomes of connections that are open then is Istio's way, too: the kernel redirects packets of
those that were not, which resets them (istio, issue 48876), and the proxy ends those that were (istio/ztunnel,
src/inpod/statemanager.rs, shutdown_workload).

Work on one pod never overlaps; a step that fails is tried again from the beginning, so every step is idempotent.
Lines of the log are worded as those of istio-cni's agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ambientlab.api.client import Client, Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import NAMESPACE, POD
from ambientlab.api.objects import Object, annotations_of, name, namespace, uid
from ambientlab.api.workload_names import workload_names
from ambientlab.flow.queue import Backoff, WorkQueue
from ambientlab.flow.reconcile import Controller, Stop
from ambientlab.mesh.capture import Captured, CaptureSink
from ambientlab.mesh.enrolment import EXCLUDED_NAMESPACES, is_ambient, should_capture
from ambientlab.mesh.index.values import is_true
from ambientlab.mesh.serve.identity import spiffe_id

if TYPE_CHECKING:
    from ambientlab.node.runtime import Sandbox

log = logging.getLogger("ambientlab.cni-agent")

REDIRECTION = "ambient.istio.io/redirection"
BYPASS = "ambient.istio.io/bypass-inbound-capture"
ENABLED, PENDING = "enabled", "pending"
_UNTIL_A_PROXY = 0.2
"""Seconds: asking whether there is one costs nothing."""


class InPodRules(Protocol):
    """What redirects a pod's traffic to the proxy's listeners inside it. Idempotent; raises OSError."""

    async def install(self, netns: str, *, inbound: bool = True, closed: bool = False) -> None:
        """Without `inbound`, plain connections to the pod are left alone. `closed`, whoever listens at the proxy's
        ports is not reached."""
        ...

    async def remove(self, netns: str) -> None: ...

    async def disconnect(self, netns: str) -> None:
        """End the connections that the proxy has open in there."""
        ...


@dataclass(slots=True)
class _Entry:
    """A pod with a sandbox. `captured` is what the proxy was given, None when it has nothing of the pod, and `refused`
    whether it has turned out not to listen there; `redirected` whether the pod's rules may be there."""

    namespace: str
    name: str
    sandbox: Sandbox
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    captured: Captured | None = None
    refused: bool = False
    redirected: bool = False
    started: bool = False
    gone: bool = False

    def __str__(self) -> str:
        return f"ns={self.namespace} name={self.name}"


class Capture:
    """A `SandboxHook` for the node agent. `start` begins to follow labels; `stop` leaves everything as it is."""

    name = "istio-cni"

    def __init__(self, client: Client, sink: CaptureSink, rules: InPodRules) -> None:
        self._client = client
        self._sink = sink
        self._rules = rules
        self._entries: dict[str, _Entry] = {}
        self._proxies = 0
        self._controller: Controller[str] = Controller(
            self,
            quiet=lambda error: isinstance(error, OSError | StatusError),
            backoff=Backoff(initial=0.05, maximum=5.0),
        )

    def start(self) -> None:
        log.info("CNI ambient server starting")
        self._controller.start()
        log.info("CNI ambient server marking ready")

    async def stop(self) -> None:
        await self._controller.stop()

    def _proxies_changed(self, number: int) -> None:
        """cni/pkg/nodeagent/ztunnelserver.go."""
        if number > self._proxies:
            log.info("new ztunnel connected, total connected: %s", number)
        else:
            log.info("ztunnel disconnected, total connected %s", number)
        self._proxies = number

    async def sandbox_ready(self, pod: Object, sandbox: Sandbox) -> None:
        """Raises OSError (ConnectionError, TimeoutError among them) if a pod to be captured cannot be: it must not run
        uncaptured, and is tried again."""
        if sandbox.spec.ip is None:
            return
        entry = self._entries[uid(pod)] = _Entry(namespace(pod), name(pod), sandbox)
        if should_capture(pod, self._client.get(NAMESPACE, entry.namespace)):
            with suppress(ConnectionError):
                await self._sink.present()
        await self._bring(uid(pod), entry, pod)
        entry.started = True

    async def sandbox_removing(self, pod: Object, sandbox: Sandbox) -> None:
        """Rules go with the network namespace; so does the annotation of a pod that has done its work (informers.go,
        reconcilePod), while one that could not start and is tried again keeps it."""
        entry = self._entries.pop(uid(pod), None)
        if entry is None:
            return
        entry.gone = True
        async with entry.lock:
            if entry.captured is not None:
                log.info("removing pod from mesh\t%s deleted=true", entry)
                await self._sink.remove(uid(pod))
                await self._rules.disconnect(sandbox.netns)
            last = self._client.get(POD, entry.name, entry.namespace)
            stays = last is not None and uid(last) == uid(pod) and "deletionTimestamp" not in last["metadata"]
            if last is not None and stays and entry.started:
                await self._annotate(entry, last, None)

    def watch(self, queue: WorkQueue[str]) -> Iterable[Stop]:
        def pod_changed(event: Event) -> None:
            if uid(event.object) in self._entries:
                queue.add(uid(event.object))

        def namespace_changed(event: Event) -> None:
            _tell(event)
            for key, entry in self._entries.items():
                if entry.namespace == name(event.object):
                    queue.add(key)

        def refused(key: str) -> None:
            entry = self._entries.get(key)
            if entry is not None and entry.captured is not None:  # else whoever adds it is told
                entry.refused = True
                queue.add(key)

        self._sink.follow(self._proxies_changed, refused)
        return [self._client.watch(POD, pod_changed), self._client.watch(NAMESPACE, namespace_changed)]

    async def reconcile(self, key: str) -> float | None:
        entry = self._entries.get(key)
        pod = self._client.get(POD, entry.name, entry.namespace) if entry is not None else None
        if entry is None or pod is None or uid(pod) != key or "deletionTimestamp" in pod["metadata"]:
            return None  # a pod on its way out keeps what it has: its last requests must not change their path
        try:
            await self._bring(key, entry, pod)
        except ConnectionError:
            return _UNTIL_A_PROXY
        return None

    async def _bring(self, key: str, entry: _Entry, pod: Object) -> None:
        """What is to what should be, for one pod."""
        async with entry.lock:
            if entry.gone:
                return
            wanted = should_capture(pod, self._client.get(NAMESPACE, entry.namespace))
            marked = annotations_of(pod).get(REDIRECTION)
            if wanted and (entry.captured is None or entry.refused or marked != ENABLED):
                await self._enrol(key, entry, pod)
            elif not wanted and (entry.captured is not None or entry.redirected or marked is not None):
                await self._unenrol(key, entry, pod)

    async def _enrol(self, key: str, entry: _Entry, pod: Object) -> None:
        if entry.captured is None or entry.refused:
            if not entry.redirected:  # else it has been said
                log.info("adding pod to the mesh\t%s", entry)
            captured = _captured(key, entry, pod)
            try:
                try:
                    await self._sink.add(captured)
                except OSError as error:
                    await self._leave_pending(entry, pod, error)
                    raise
                entry.captured, entry.refused = captured, False  # from here on, who refuses says so by itself
                await self._redirect(entry, pod)
            except BaseException:  # cancelled, too: the next attempt gives the proxy the pod anew
                entry.captured, entry.refused = None, False
                await self._sink.remove(key)
                raise
        await self._annotate(entry, pod, ENABLED)

    async def _leave_pending(self, entry: _Entry, pod: Object, error: OSError) -> None:
        """Cut off, even if a program in the pod listens where the proxy would: that may be why."""
        if not entry.redirected or entry.refused:
            log.warning("Unable to send pod to ztunnel. Will retry. AddPodToMesh returned: %s\t%s", error, entry)
        await self._redirect(entry, pod, closed=True)
        if annotations_of(pod).get(REDIRECTION) != PENDING:
            log.error("failed to add pod to ztunnel: pod partially added, annotating with pending status\t%s", entry)
            await self._annotate(entry, pod, PENDING)

    async def _redirect(self, entry: _Entry, pod: Object, *, closed: bool = False) -> None:
        entry.redirected = True
        bypass = is_true(annotations_of(pod).get(BYPASS, ""))
        await self._rules.install(entry.sandbox.netns, inbound=not bypass, closed=closed)

    async def _unenrol(self, key: str, entry: _Entry, pod: Object) -> None:
        log.info("removing pod from mesh\t%s deleted=false", entry)
        await self._rules.remove(entry.sandbox.netns)
        entry.redirected = False
        await self._annotate(entry, pod, None)
        await self._sink.remove(key)
        await self._rules.disconnect(entry.sandbox.netns)
        entry.captured = None

    async def _annotate(self, entry: _Entry, pod: Object, value: str | None) -> None:
        if annotations_of(pod).get(REDIRECTION) == value:
            return
        patch: Object = {"metadata": {"annotations": {REDIRECTION: value}}}
        try:
            # pods/status may change annotations too, and needs fewer rights: Istio's choice
            await self._client.patch(POD, entry.name, entry.namespace, patch, subresource="status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise


def _captured(key: str, entry: _Entry, pod: Object) -> Captured:
    names = workload_names(pod)
    return Captured(
        uid=key,
        namespace=entry.namespace,
        name=entry.name,
        ip=entry.sandbox.spec.ip or "",
        netns=entry.sandbox.netns,
        identity=spiffe_id(entry.namespace, pod["spec"].get("serviceAccountName") or "default"),
        workload_name=names.workload,
        canonical_name=names.service,
        canonical_revision=names.revision,
        ip6=entry.sandbox.spec.ip6,
    )


def _tell(event: Event) -> None:
    """What a namespace's label means, for each namespace and when it changes (informers.go, enqueueNamespace)."""
    asked = is_ambient(event.object)
    if event.type == "DELETED" or (event.old is not None and is_ambient(event.old) == asked):
        return
    if asked and name(event.object) in EXCLUDED_NAMESPACES:
        log.warning(
            "Namespace %s is labeled for ambient mesh but is excluded by excludeNamespaces configuration; "
            "pods will not be enrolled",
            name(event.object),
        )
    else:
        log.info("Namespace %s is %s ambient mesh", name(event.object), "enabled in" if asked else "disabled from")
