"""What istiod knows of objects and nobody else: what of their configuration proxies refuse, whose keys cannot be
fetched, which Secrets are missing.

It writes that into their statuses (`mesh.status.findings`), where whoever lists objects finds it again. Left out are
what the index makes of the same objects, and what was said of another generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ambientlab.api.objects import Object, conditions_of
from ambientlab.mesh.index import coverage
from ambientlab.mesh.index.diagnostics import FINDING, REFUSED, SEVERAL, Diagnostic, ObjectRef
from ambientlab.mesh.index.graph import RESOURCES, MeshIndex

UNSEEN = "CredentialNotFound"
"""What the index says of Secrets that it was not given."""
_ALONE = frozenset({"KeysMissing", REFUSED, UNSEEN, SEVERAL})


def told(index: MeshIndex) -> Iterator[Diagnostic]:
    conditions = [
        (ObjectRef(coverage.name_of(resource.group, resource.kind), *key), condition)
        for resource in RESOURCES
        for key, obj in sorted(index.sources[resource].items())
        for condition in _conditions(obj)
    ]
    if not conditions:
        return
    known: dict[ObjectRef, dict[str, None]] = {}
    for diagnostic in index.diagnostics():
        if not diagnostic.condition and diagnostic.reason != UNSEEN:
            known.setdefault(diagnostic.object, {})[diagnostic.text] = None
    for ref, condition in dict.fromkeys(conditions):
        reason, message = condition
        if text := _without(message, known.get(ref, ())):
            field, colon, rest = text.partition(": ")
            named = bool(colon) and field.startswith("spec.") and " " not in field
            yield Diagnostic(ref, reason, rest if named else text, field=field if named else "")


def _conditions(obj: Object) -> Iterator[tuple[str, str]]:
    """The reason and the message of each that is of the object as it is."""
    generation = obj["metadata"].get("generation")
    for condition in conditions_of(obj):
        ours = condition.get("type") == FINDING and condition.get("reason") in _ALONE
        if ours and condition.get("observedGeneration", generation) == generation:
            yield condition["reason"], condition.get("message") or ""


def _without(message: str, known: Iterable[str]) -> str:
    """Statements are joined by semicolons, and may have some of their own."""
    for text in sorted(known, key=len, reverse=True):
        message = message.replace(text, "")
    return "; ".join(filter(None, message.split("; "))).strip("; ")
