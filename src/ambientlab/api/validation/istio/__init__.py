"""What Istio's validating webhook refuses of the kinds of its APIs (istio/istio pkg/config/validation), in its words.

What it only warns of is in `warnings`.
"""

from __future__ import annotations

from ambientlab.api import kinds
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.validation.istio import (
    authentication,
    authorizationpolicy,
    destinationrule,
    serviceentry,
    telemetry,
    virtualservice,
)

_WEBHOOK = 'admission webhook "validation.istio.io" denied the request'


def validate(resource: Resource, obj: Object) -> None:
    """Raises StatusError 400, worded as the API server words a webhook's refusal (it has no reason of its own)."""
    spec = obj.get("spec") or {}
    match resource.kind:
        case kinds.VIRTUALSERVICE.kind:
            errors = virtualservice.validate(spec, obj["metadata"].get("namespace", ""))
        case kinds.DESTINATIONRULE.kind:
            errors = destinationrule.validate(spec, obj["metadata"].get("namespace", ""))
        case kinds.SERVICEENTRY.kind:
            errors = serviceentry.service_entry(obj)
        case kinds.WORKLOADENTRY.kind:
            errors = serviceentry.workload_entry(spec)
        case kinds.AUTHORIZATIONPOLICY.kind:
            errors = authorizationpolicy.validate(spec, obj["metadata"])
        case kinds.REQUESTAUTHENTICATION.kind:
            errors = authentication.request(spec)
        case kinds.PEERAUTHENTICATION.kind:
            errors = authentication.peer(spec)
        case kinds.TELEMETRY.kind:
            errors = telemetry.validate(spec)
        case _:
            return
    if errors:
        raise StatusError(400, "", f"{_WEBHOOK}: configuration is invalid: {_combined(errors)}")


def _combined(errors: list[str]) -> str:
    """hashicorp/go-multierror's text for several errors."""
    if len(errors) == 1:
        return errors[0]
    return f"{len(errors)} errors occurred:\n\t* " + "\n\t* ".join(errors) + "\n\n"
