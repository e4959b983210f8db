"""What a list or watch asks for: namespace, selectors, revision, page; and the objects it gets.

kubernetes.io/docs/reference/using-api/api-concepts, "resource versions" and "retrieving large results sets in chunks".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from ambientlab.api import selectors
from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.numbers import whole
from ambientlab.api.objects import Object, labels_of
from ambientlab.api.resources import Resource
from ambientlab.apiserver.refusals import bad_request, expired
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Entry
from ambientlab.store.log import Compacted

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Selection:
    namespace: str | None
    labels: selectors.LabelSelector
    fields: selectors.FieldSelector

    @classmethod
    def read(cls, resource: Resource, namespace: str, name: str, query: Mapping[str, str]) -> Selection:
        """`name` is that of a watch on a single object. Raises 400 for a selector that does not parse."""
        text = query.get("fieldSelector", "")
        if name:
            text = ",".join(part for part in (f"metadata.name={name}", text) if part)
        labels = selectors.parse_labels(query.get("labelSelector", ""))
        return cls(namespace or None, labels, selectors.parse_fields(resource, text))

    @property
    def everything(self) -> bool:
        return self.namespace is None and self.unfiltered

    @property
    def unfiltered(self) -> bool:
        return not self.labels.requirements and not self.fields.terms

    def matches(self, obj: Object) -> bool:
        if self.namespace is not None and obj["metadata"].get("namespace") != self.namespace:
            return False
        return self.unfiltered or (self.labels.matches(labels_of(obj)) and self.fields.matches(obj))

    def of(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """`entries` are of the right namespace already."""
        return entries if self.unfiltered else [entry for entry in entries if self.matches(entry.object)]


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `metadata` is that of the list: resourceVersion, and where the next page starts."""

    entries: Sequence[Entry]
    metadata: Object


def page(verbs: Verbs, resource: Resource, selection: Selection, query: Mapping[str, str]) -> Page:
    """Raises 400, 410 for a page of a list whose revision is gone, 504 for a revision that is still to come."""
    store, collection = verbs.store, verbs.collection(resource)
    limit = number(query, "limit")
    token = query.get("continue", "")
    revision, after = _continued(token) if token else (store.revision, "")
    version = number(query, "resourceVersion")
    match = query.get("resourceVersionMatch", "")
    if match and match not in ("Exact", "NotOlderThan"):
        raise bad_request(f"resourceVersionMatch: unsupported value {match!r}, supported: Exact, NotOlderThan")
    if match and "resourceVersion" not in query:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if not token and version:
        check_reached(version, store.revision)
        revision = version if match == "Exact" else store.revision
    try:
        entries = store.list_at(collection, revision, selection.namespace)
    except Compacted as error:
        raise expired(_TOO_OLD if token else str(error)) from error
    except ValueError as error:
        raise bad_request("continue key is not valid") from error
    found = selection.of(entries)
    if after:
        found = [entry for entry in found if entry.key > after]
    metadata: Object = {"resourceVersion": str(revision)}
    if limit and len(found) > limit:
        if selection.unfiltered:
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
        metadata["continue"] = _token(revision, found[-1].key)
    return Page([verbs.represent(resource, entry) for entry in found], metadata)


def number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    if not text:
        return 0
    found = whole(text)
    if found is None:
        raise bad_request(f"{name}: invalid value {text[:40]!r}: must be a number")
    return found


def check_reached(version: int, current: int) -> None:
    """A client that has seen more than we have (it knew a state that was deleted since) must start over."""
    if version > current:
        cause = Cause("ResourceVersionTooLarge", "Too large resource version")
        text = f"Timeout: Too large resource version: {version}, current: {current}"
        raise StatusError(504, "Timeout", text, causes=(cause,), retry_after_seconds=1)


def _token(revision: int, last: str) -> str:
    value = {"v": "meta.k8s.io/v1", "rv": revision, "start": last}
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


def _continued(token: str) -> tuple[int, str]:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        revision, last = value["rv"], value["start"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid") from None
    if not isinstance(revision, int) or not isinstance(last, str) or revision < 0:
        raise bad_request("continue key is not valid")
    return revision, last
