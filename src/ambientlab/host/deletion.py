"""What `kubectl delete` would delete, from its arguments and options, with its words for what makes no sense
(k8s.io/kubectl, pkg/cmd/delete, and k8s.io/cli-runtime, pkg/resource/builder.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ambientlab.api import objects, selectors
from ambientlab.api.errors import StatusError
from ambientlab.api.resources import Resource
from ambientlab.host.kubeapi import KubeApi, collection, decoded, message, unnameable
from ambientlab.host.manifests import Written
from ambientlab.host.rehearsal import Rehearser, Target
from ambientlab.mesh.ir import Key


class DeletionError(Exception):
    """What to delete cannot be told from arguments and options."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """`arguments` are `KIND NAME...`, `KIND,KIND NAME...` or `KIND/NAME...`, or kinds alone of which all objects are
    meant that a `selector` selects, or `everything`, and that `everywhere`."""

    arguments: Sequence[str] = ()
    selector: str = ""
    everything: bool = False
    everywhere: bool = False
    fields: str = ""
    """A field selector. Of manifests kubectl selects none by it."""

    @property
    def selects(self) -> bool:
        return self.everything or bool(self.selector or self.fields)

    def check(self, *, manifests: bool) -> None:
        """Whether these are arguments, beside manifests or without them. Raises DeletionError."""
        kinds, named = self._read()
        with_files = "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well"
        for wrong, what in (
            (self.everything and self.selector, "cannot set --all and --selector at the same time"),
            (self.everything and self.fields, "cannot set --all and --field-selector at the same time"),
            (manifests and self.arguments, with_files),
            (not (manifests or self.arguments or self.selects), "name objects to delete, or manifests with -f or -k"),
            (self.everywhere and named, "a resource cannot be retrieved by name across all namespaces"),
            (self.selects and named, "name cannot be provided when a selector is specified"),
            (self.selects and not (manifests or kinds), "at least one resource must be specified to use a selector"),
            (kinds and not self.selects, "resource(s) were provided, but no name was specified"),
        ):
            if wrong:
                raise DeletionError(what)

    def targets(self, api: KubeApi, rehearser: Rehearser) -> list[Target]:
        """Of the arguments. Raises DeletionError, UnknownKindError and ApiError."""
        kinds, named = self._read()
        found = {kind: rehearser.served.named(kind) for kind in (*kinds, *(kind for kind, _ in named))}
        for _, name in named:
            if why := unnameable(name):
                raise DeletionError(f'invalid resource name "{name}": [{why}]')
        several = dict.fromkeys(resource for kind in kinds for resource in found[kind])
        return [
            *(rehearser.target(resource, name) for kind, name in named for resource in found[kind]),
            *self._selected(api, rehearser, list(several)),
        ]

    def chosen(self, manifests: Iterable[Written]) -> Iterator[Written]:
        """A selector selects among manifests by what is written in them. Raises DeletionError."""
        try:
            wanted = selectors.parse_labels(self.selector)
        except StatusError as error:
            raise DeletionError(error.message) from error
        for one in manifests:
            metadata = one.value.get("metadata") if isinstance(one.value, dict) else None
            labels = metadata.get("labels") if isinstance(metadata, dict) else None
            if not self.selector or wanted.matches(labels if isinstance(labels, dict) else {}):
                yield one

    def _read(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Kinds of which all is meant, and kinds with names. Raises DeletionError."""
        slashes = sum("/" in argument for argument in self.arguments)
        if not slashes:
            kinds = [kind for kind in "".join(self.arguments[:1]).split(",") if kind]
            names = self.arguments[1:]
            return ([], [(kind, name) for kind in kinds for name in names]) if names else (kinds, [])
        if slashes < len(self.arguments):
            raise DeletionError(
                "there is no need to specify a resource type as a separate argument when passing arguments in "
                "resource/name form"
            )
        named = []
        for argument in self.arguments:
            kind, _, name = argument.partition("/")
            if "/" in name:
                raise DeletionError("arguments in resource/name form may not have more than one slash")
            if not kind or not name or "," in kind:
                raise DeletionError("arguments in resource/name form must have a single resource and name")
            named.append((kind, name))
        return [], named

    def _selected(self, api: KubeApi, rehearser: Rehearser, kinds: Sequence[Resource]) -> Iterator[Target]:
        given = {"labelSelector": self.selector, "fieldSelector": self.fields}
        query = "&".join(f"{name}={quote(text)}" for name, text in given.items() if text)
        places = [
            f"{collection(resource, '' if self.everywhere else rehearser.home(resource))}{f'?{query}' if query else ''}"
            for resource in kinds
        ]
        for resource, reply in zip(kinds, api.get(places), strict=True):
            if reply.status != 200:
                raise DeletionError(message(reply))
            for obj in decoded(reply).get("items") or ():
                yield Target(resource, Key(objects.namespace(obj), objects.name(obj)))


def check_grace(*, force: bool, at_once: bool, grace: int) -> None:
    """Options about how long it takes, which -1 leaves to each object. Raises DeletionError."""
    if at_once and grace != -1:
        raise DeletionError("--now and --grace-period cannot be specified together")
    if force and (at_once or grace > 0):
        raise DeletionError("--force and --grace-period greater than 0 cannot be specified together")
