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


class DeniedError(StatusError):
    """As the API server words a webhook's refusal, which has no reason of its own; `errors` are the webhook's."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(400, "", f"{_WEBHOOK}: configuration is invalid: {_combined(errors)}")
        self.errors = tuple(errors)


def validate(resource: Resource, obj: Object) -> None:
    """Raises DeniedError."""
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
        raise DeniedError(errors)


def _combined(errors: list[str]) -> str:
    """hashicorp/go-multierror's text for several errors."""
    if len(errors) == 1:
        return errors[0]
    return f"{len(errors)} errors occurred:\n\t* " + "\n\t* ".join(errors) + "\n\n"
