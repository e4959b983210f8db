"""What a policy is for: objects by name, or workloads by their labels."""

from __future__ import annotations

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio.common import Messages

_GATEWAY_API = "gateway.networking.k8s.io"
_ALLOWED = {
    ("", "Service"): "core/v1/Service",
    ("networking.istio.io", "ServiceEntry"): "networking.istio.io/v1/ServiceEntry",
    (_GATEWAY_API, "Gateway"): f"{_GATEWAY_API}/v1/Gateway",
    (_GATEWAY_API, "GatewayClass"): f"{_GATEWAY_API}/v1/GatewayClass",
}
"""Group and kind -> how Istio names them."""


def targets(spec: Object) -> Messages:
    """validateOneOfSelectorType, validateWorkloadSelector and validatePolicyTargetReference."""
    named = [*([spec["targetRef"]] if "targetRef" in spec else []), *(spec.get("targetRefs") or ())]
    ways = ("selector" in spec) + ("targetRef" in spec) + bool(spec.get("targetRefs"))
    problems = ["only one of targetRefs or workloadSelector can be set"] if ways > 1 else []
    problems += selector(spec.get("selector") or {})
    for target in named:
        group = target.get("group", "")
        if ("" if group == "core" else group, target["kind"]) not in _ALLOWED:
            problems.append(
                f"targetRef must be to one of [{' '.join(_ALLOWED.values())}] but was {group}/{target['kind']}"
            )
    return problems


def selector(chosen: Object) -> Messages:
    problems: Messages = []
    for name, value in (chosen.get("matchLabels") or {}).items():
        if not name:
            problems.append(f"empty key is not supported in selector: {quote(f'{name}={value}')}")
        if "*" in name or "*" in value:
            problems.append(f"wildcard is not supported in selector: {quote(f'{name}={value}')}")
    return problems
