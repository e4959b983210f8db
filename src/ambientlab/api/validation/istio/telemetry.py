"""Telemetries (ValidateTelemetry)."""

from __future__ import annotations

from ambientlab.api import attributes
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.targets import targets


def validate(spec: Object) -> Messages:
    problems = targets(spec)
    for rule in spec.get("metrics") or ():
        for override in rule.get("overrides") or ():
            for tag in (override.get("tagOverrides") or {}).values():
                problems += _tag(tag)
    for rule in spec.get("accessLogging") or ():
        if "filter" in rule:
            found = attributes.trouble(rule["filter"].get("expression", ""))
            if attributes.is_syntax_error(found):
                problems.append(f"must be a valid CEL expression, {found}")
    return problems


def _tag(tag: Object) -> Messages:
    if tag.get("operation", "UPSERT") == "UPSERT":
        return [] if tag.get("value") else ["tagOverrides.value must be set when operation is UPSERT"]
    return ["tagOverrides.value may only be set when operation is UPSERT"] if tag.get("value") else []
