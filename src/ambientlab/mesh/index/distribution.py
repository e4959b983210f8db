"""Which endpoints a service prefers: `spec.trafficDistribution`, or an annotation of the object or of its namespace
(pilot/pkg/model/service.go, GetTrafficDistribution)."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.objects import Object, annotations_of
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.ir import Distribution, Key

ANNOTATION = "networking.istio.io/traffic-distribution"

_BY_FIELD = {
    "PreferClose": Distribution.SAME_ZONE,
    "PreferSameZone": Distribution.SAME_ZONE,
    "PreferSameNode": Distribution.SAME_NODE,
}
_BY_ANNOTATION = {name.lower(): value for name, value in _BY_FIELD.items()}


def distribution(ctx: Context, key: Key, obj: Object, namespaces: Collection[Key, Object]) -> Distribution:
    """`internalTrafficPolicy: Local` goes before all preferences (services.go, constructService)."""
    spec = obj["spec"]
    if spec.get("internalTrafficPolicy") == "Local":
        return Distribution.LOCAL
    if (found := _BY_FIELD.get(spec.get("trafficDistribution") or "")) is not None:
        return found
    return next(
        (_BY_ANNOTATION.get(text, Distribution.ANY) for text in _annotations(ctx, key, obj, namespaces)),
        Distribution.ANY,
    )


def _annotations(ctx: Context, key: Key, obj: Object, namespaces: Collection[Key, Object]) -> Iterator[str]:
    yield from filter(None, (annotations_of(obj).get(ANNOTATION, "").lower(),))
    namespace = ctx.fetch(namespaces, Key("", key.namespace))
    if namespace is not None:
        yield from filter(None, (annotations_of(namespace).get(ANNOTATION, "").lower(),))


def findings(ref: ObjectRef, obj: Object) -> Iterator[Diagnostic]:
    """An annotation that says nothing keeps the namespace's from counting."""
    text = annotations_of(obj).get(ANNOTATION, "")
    if text and text.lower() not in _BY_ANNOTATION:
        field = f"metadata.annotations[{ANNOTATION}]"
        message = f"{text!r} is no traffic distribution ({', '.join(_BY_FIELD)}): all endpoints are alike"
        yield Diagnostic(ref, "Ignored", message, field=field)
