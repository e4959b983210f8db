"""Deployments, replica sets, daemon sets and the scale subresource (pkg/apis/apps/validation)."""

from __future__ import annotations

from ambientlab.api import selectors
from ambientlab.api.errors import StatusError
from ambientlab.api.fielderrors import Errors, child, forbidden, invalid, not_supported, required
from ambientlab.api.objects import Object
from ambientlab.api.validation import meta, pods, scalars

_STRATEGY = "spec.strategy"


def deployment(obj: Object, old: Object | None, errors: Errors) -> None:
    spec = obj.get("spec") or {}
    scalars.not_negative("spec.replicas", spec.get("replicas"), errors)
    _selector_and_template(spec, "deployment", errors)
    _strategy(spec.get("strategy") or {}, errors)
    scalars.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    scalars.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), errors)
    deadline = spec.get("progressDeadlineSeconds")
    scalars.not_negative("spec.progressDeadlineSeconds", deadline, errors)
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    _immutable_selector(spec, old, errors)


def replica_set(obj: Object, old: Object | None, errors: Errors) -> None:
    spec = obj.get("spec") or {}
    scalars.not_negative("spec.replicas", spec.get("replicas"), errors)
    scalars.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    _selector_and_template(spec, "deployment", errors)  # Kubernetes' own text, for a ReplicaSet too
    _immutable_selector(spec, old, errors)


def daemon_set(obj: Object, old: Object | None, errors: Errors) -> None:
    spec = obj.get("spec") or {}
    _selector_and_template(spec, "daemonset", errors)
    scalars.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    strategy = spec.get("updateStrategy") or {}
    kind = strategy.get("type")
    if kind not in ("RollingUpdate", "OnDelete"):
        errors.append(not_supported("spec.updateStrategy", kind or "", ("RollingUpdate", "OnDelete")))
    if rolling := strategy.get("rollingUpdate"):
        for field in ("maxUnavailable", "maxSurge"):
            if field in rolling:
                where = child("spec.updateStrategy.rollingUpdate", field)
                scalars.count_or_percent(where, rolling[field], errors, limit=True)
    _immutable_selector(spec, old, errors)


def scale(obj: Object, old: Object | None, errors: Errors) -> None:
    scalars.not_negative("spec.replicas", (obj.get("spec") or {}).get("replicas"), errors)


def _selector_and_template(spec: Object, kind: str, errors: Errors) -> None:
    selector = spec.get("selector")
    template = spec.get("template") or {}
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        meta.selector(selector, "spec.selector", errors)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
        else:
            _selects(selector, template, errors)
    pods.template(template, "spec.template", errors)
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))


def _selects(selector: Object, template: Object, errors: Errors) -> None:
    labels = (template.get("metadata") or {}).get("labels") or {}
    try:
        parsed = selectors.from_object(selector)
    except StatusError:
        return  # reported where it is wrong
    if parsed is not None and not parsed.matches(labels):
        errors.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))


def _strategy(strategy: Object, errors: Errors) -> None:
    kind = strategy.get("type")
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(forbidden(child(_STRATEGY, "rollingUpdate"), detail))
    elif kind == "RollingUpdate":
        where = child(_STRATEGY, "rollingUpdate")
        values = rolling or {}
        scalars.count_or_percent(child(where, "maxUnavailable"), values.get("maxUnavailable", 0), errors, limit=True)
        scalars.count_or_percent(child(where, "maxSurge"), values.get("maxSurge", 0), errors)
        if scalars.is_zero(values.get("maxUnavailable")) and scalars.is_zero(values.get("maxSurge")):
            detail = "may not be 0 when `maxSurge` is 0"
            errors.append(invalid(child(where, "maxUnavailable"), values["maxUnavailable"], detail))
    else:
        errors.append(not_supported(child(_STRATEGY, "type"), kind or "", ("Recreate", "RollingUpdate")))


def _immutable_selector(spec: Object, old: Object | None, errors: Errors) -> None:
    if old is not None and spec.get("selector") != (old.get("spec") or {}).get("selector"):
        errors.append(invalid("spec.selector", spec.get("selector"), "field is immutable"))
