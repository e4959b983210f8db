"""What an API makes of manifests and deletions, asked without doing any of it.

Every object is judged by itself (`dryRun=All`), as `kubectl apply` would send it: what is wrong with one is told beside
the others. What the server cannot or may not judge is judged by the rules of this program's own API: an object whose
namespace is only to come, objects of somebody who may read and not write, and those that a webhook stands before which
takes part in no dry run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote

import orjson

from ambientlab.api import admit, objects
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import NAMESPACE
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.api.strategic import StrategicError
from ambientlab.apiserver.patch.apply import LAST_APPLIED
from ambientlab.host import manifests
from ambientlab.host.kubeapi import KubeApi, Reply, Write, collection, decoded, message, path, unnameable
from ambientlab.host.manifests import Problem, Written
from ambientlab.host.merging import as_kubectl, made_over, node_of, three_way
from ambientlab.host.served import OWN, Served, UnknownKindError
from ambientlab.mesh.foreseen import Change
from ambientlab.mesh.ir import Key

_MANAGER = "fieldManager=kubectl-client-side-apply&fieldValidation=Strict"
_CONFLICT = 409
_NOT_PERMITTED = re.compile(r'is forbidden: User ".*" cannot ')
"""Of a refusal that authorization is the reason (k8s.io/apiserver, pkg/endpoints/handlers/responsewriters): admission
refuses with 403 as well, and means the object."""
_NO_DRY_RUN = re.compile(r"admission webhook .* does not support dry run")
"""k8s.io/apiserver, pkg/admission/plugin/webhook/errors/statuserror.go: what the webhook would have said is unknown."""
_WRITTEN_BY_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class ServerSide:
    """`kubectl apply --server-side`: by which manager, and whether it takes over fields that others own."""

    manager: str = "kubectl"
    force: bool = False

    @property
    def query(self) -> str:
        return f"fieldManager={quote(self.manager, safe='')}&force={str(self.force).lower()}&fieldValidation=Strict"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A change, in the word that kubectl has for it, and why the server was not asked about it, if it was not.
    `warnings` are the server's, which let it pass all the same."""

    change: Change
    verb: str
    unasked: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """An object of the API, and how it is written down, if it is."""

    resource: Resource
    key: Key
    written: Written | None = None

    @property
    def place(self) -> str:
        return path(self.resource, self.key)

    def refused(self, message: str) -> Problem:
        problem = self.written.problem(message) if self.written is not None else Problem("", 0, 0, message)
        return replace(problem, named=f"{self.resource.kind} {_shown(self.key)}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    target: Target
    obj: Object

    @property
    def wanted(self) -> Object:
        """What of it is applied."""
        return {name: value for name, value in self.obj.items() if name != "status"}


def _shown(key: Key) -> str:
    return str(key) if key.namespace else key.name


class Rehearser:
    """Asks one API, about manifests that are applied `server_side` or by patches that kubectl computes."""

    def __init__(self, api: KubeApi, namespace: str | None = None, server_side: ServerSide | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._server_side = server_side
        self.served = Served(api)

    @cached_property
    def _registry(self) -> Registry:
        return manifests.shipped()

    def apply(self, manifests: Iterable[Written]) -> Rehearsal:
        """Raises ApiError where the API does not answer at all."""
        problems: list[Problem] = []
        wanted: dict[str, _Wanted] = {}
        for written in manifests:
            one = self._read(written, "applied")
            if isinstance(one, Problem):
                problems.append(one)
            else:
                wanted[one.target.place] = one  # of two with one name the later counts
        outcomes: list[Outcome] = []
        for found in self._judged(list(wanted.values())):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                outcomes.append(found)
        return Rehearsal(tuple(outcomes), tuple(problems))

    def _read(self, written: Written, verb: str) -> _Wanted | Problem:
        value = written.value
        if not isinstance(value, dict):
            return written.problem("it is no object")
        api_version, kind = str(value.get("apiVersion")), str(value.get("kind"))
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str) or not name:
            return written.problem(f"it has no metadata.name, without which nothing can be {verb}")
        home = value["metadata"].get("namespace") or ""
        if not isinstance(home, str):
            return written.problem(f"its metadata.namespace {home} is no text")
        try:
            orjson.dumps(value)
        except TypeError as error:  # it is nested too deeply, or has a number of more than 64 bits
            return written.problem(f"it cannot be sent to the API: {error}")
        for what, text in (("namespace", home), ("resource name", name)):
            if why := unnameable(text):
                return written.problem(f'invalid {what} "{text}": [{why}]')
        try:
            resource = self.served.kind(api_version, kind)
        except UnknownKindError as error:
            return written.problem(str(error))
        return self._placed(written, resource, {**value, "metadata": {**value["metadata"]}})

    def _placed(self, written: Written, resource: Resource, obj: Object) -> _Wanted | Problem:
        given = obj["metadata"].get("namespace")
        if not resource.namespaced:
            obj["metadata"].pop("namespace", None)
        elif given and self._namespace and given != self._namespace:
            return written.problem(
                f'the namespace from the provided object "{given}" does not match the namespace "{self._namespace}": '
                f"pass --namespace={given}"
            )
        else:
            obj["metadata"]["namespace"] = given or self.home(resource)
        key = Key(objects.namespace(obj), objects.name(obj))
        return _Wanted(Target(resource, key, written), obj)

    def _judged(self, wanted: Sequence[_Wanted]) -> Iterator[Outcome | Problem]:
        present = self._api.get([one.target.place for one in wanted])
        lives = [decoded(reply) if reply.status == 200 else None for reply in present]
        writes = [self._write(one, live) for one, live in zip(wanted, lives, strict=True)]
        asked = [write for write in writes if write is not None]
        replies = iter(self._api.rehearse(asked))
        coming = {one.obj["metadata"]["name"] for one in wanted if one.target.resource is NAMESPACE}
        for one, live, seen, write in zip(wanted, lives, present, writes, strict=True):
            if write is None:
                yield _outcome(one, live, live)
                continue
            reply = next(replies)
            if reply.status in (200, 201):
                yield replace(_outcome(one, live, self._made(one, live, decoded(reply))), warnings=reply.warnings)
            elif one.target.key.namespace in coming and _without_namespace(one, reply):
                yield self._by_own_rules(one, live, f"namespace {one.target.key.namespace} is only to come")
            elif seen.status in (200, 404) and (why := _untried(reply)):
                yield self._by_own_rules(one, live, why)
            elif reply.status == _CONFLICT and self._server_side is not None:
                yield one.target.refused(f"{message(reply)} (--force-conflicts takes them over)")
            else:
                yield one.target.refused(message(reply))

    def _made(self, one: _Wanted, live: Object | None, answered: Object) -> Object:
        """Of what the API answers."""
        node = self._registry.schema(one.target.resource) if one.target.resource in OWN.values() else None
        if self._server_side is None or live is None or node is None:
            return answered
        return made_over(live, answered, one.wanted, node)

    def _write(self, one: _Wanted, live: Object | None) -> Write | None:
        """None where there is nothing to change."""
        if self._server_side is not None:
            place = f"{one.target.place}?{self._server_side.query}"
            return Write("PATCH", place, orjson.dumps(one.obj), "application/apply-patch+yaml")
        if live is None:
            place = f"{collection(one.target.resource, one.target.key.namespace)}?{_MANAGER}"
            return Write("POST", place, orjson.dumps(one.obj))
        patch = three_way(live, one.wanted, node_of(one.target.resource))
        if not patch:
            return None
        kind = "merge-patch" if node_of(one.target.resource) is None else "strategic-merge-patch"
        return Write("PATCH", f"{one.target.place}?{_MANAGER}", orjson.dumps(patch), f"application/{kind}+json")

    def _by_own_rules(self, one: _Wanted, live: Object | None, why: str) -> Outcome | Problem:
        registry = self._registry
        resource = registry.find_kind(one.target.resource.api_version, one.target.resource.kind)
        if resource is None:
            return one.target.refused(f"{why}, and nothing here knows its kind")
        try:
            obj = one.obj if live is None else as_kubectl(one.target.resource, live, one.wanted)
            new, _ = admit.conform(registry, resource, obj)
            admit.default(registry, resource, new)
            if live is None:
                admit.validate_create(registry, resource, new)
            else:
                admit.validate_update(registry, resource, new, live)
        except (StatusError, StrategicError) as error:
            return one.target.refused(str(error))
        return replace(_outcome(one, live, new), unasked=why)

    def home(self, resource: Resource) -> str:
        """The namespace of objects that name none."""
        return (self._namespace or self._api.namespace) if resource.namespaced else ""

    def target(self, resource: Resource, name: str) -> Target:
        return Target(resource, Key(self.home(resource), name))

    def targets(self, manifests: Iterable[Written]) -> tuple[list[Target], list[Problem]]:
        """Of manifests, whatever else they say of their objects."""
        read = [self._read(written, "deleted") for written in manifests]
        return (
            [one.target for one in read if not isinstance(one, Problem)],
            [one for one in read if isinstance(one, Problem)],
        )

    def delete(
        self,
        targets: Iterable[Target],
        verb: str = "deleted",
        *,
        ignore_not_found: bool = False,
        propagation: str = "Background",
    ) -> Rehearsal:
        """Each once. `verb` is what kubectl calls it, `propagation` DeleteOptions'. Raises ApiError where the API does
        not answer at all."""
        wanted = list({target.place: target for target in targets}.values())
        present = self._api.get([target.place for target in wanted])
        options = orjson.dumps({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation})
        replies = self._api.rehearse([Write("DELETE", target.place, options) for target in wanted])
        outcomes: list[Outcome] = []
        problems: list[Problem] = []
        for target, live, reply in zip(wanted, present, replies, strict=True):
            why = _untried(reply)
            if live.status == 200 and (why or reply.status in (200, 202)):
                change = Change(_stored(target.resource), target.key, decoded(live), None, propagation == "Orphan")
                outcomes.append(Outcome(change, verb, why, reply.warnings if not why else ()))
            elif not (ignore_not_found and _is_missing(target, live)):
                problems.append(target.refused(message(live if live.status != 200 else reply)))
        return Rehearsal(tuple(outcomes), tuple(problems))


def _is_missing(target: Target, reply: Reply) -> bool:
    """Whether it is the object that is not there, and not its kind."""
    return reply.status == 404 and message(reply) == f'{target.resource.group_resource} "{target.key.name}" not found'


def _untried(reply: Reply) -> str:
    """Why the API was not asked what it thinks of an object, "" if it was."""
    told = message(reply)
    if reply.status == 403 and _NOT_PERMITTED.search(told):
        return "the API does not let you try it"
    return told if reply.status == 400 and _NO_DRY_RUN.search(told) else ""


def _without_namespace(one: _Wanted, reply: Reply) -> bool:
    """Whether nothing but the namespace is missing, and not the kind (k8s.io/apiserver,
    pkg/admission/plugin/namespace/lifecycle)."""
    return reply.status == 404 and message(reply) == f'namespaces "{one.target.key.namespace}" not found'


def _outcome(one: _Wanted, live: Object | None, new: Object | None) -> Outcome:
    change = Change(_stored(one.target.resource), one.target.key, live, new)
    if live is None:
        return Outcome(change, "created")
    return Outcome(change, "unchanged" if _written(live) == _written(new or live) else "configured")


def _stored(resource: Resource) -> Resource:
    """What the mesh is made of is one, in whichever version it is served."""
    same = (r for r in OWN.values() if (r.group, r.kind) == (resource.group, resource.kind))
    return next(same, resource)


def _written(obj: Object) -> Object:
    """What of an object people write."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _WRITTEN_BY_SERVER}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {name: value for name, value in annotations.items() if name != LAST_APPLIED}
    return {**obj, "metadata": metadata}
