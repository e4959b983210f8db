"""Why a request is refused, in Kubernetes' words (k8s.io/apimachinery/pkg/api/errors)."""

from __future__ import annotations

from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.resources import Resource
from ambientlab.apiserver.patch import fields
from ambientlab.apiserver.patch.apply import Conflicts


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(
        404,
        "NotFound",
        f'{resource.group_resource} "{name}" not found',
        group=resource.group,
        kind=resource.plural,
        name=name,
    )


def already_exists(resource: Resource, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource.group_resource} "{name}" already exists',
        group=resource.group,
        kind=resource.plural,
        name=name,
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}',
        group=resource.group,
        kind=resource.plural,
        name=name,
    )


def forbidden(resource: Resource, name: str, why: str, causes: tuple[Cause, ...] = ()) -> StatusError:
    return StatusError(
        403,
        "Forbidden",
        f'{resource.group_resource} "{name}" is forbidden: {why}',
        group=resource.group,
        kind=resource.plural,
        name=name,
        causes=causes,
    )


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def wrong_name(given: str, requested: str) -> StatusError:
    return bad_request(f"the name of the object ({given}) does not match the name on the URL ({requested})")


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def none_of(resource: Resource) -> StatusError:
    """Of a kind that is only there to be looked for."""
    message = f"ambientlab has no {resource.group_resource}, and takes none"
    if "all" in resource.categories:
        message += "; what makes pods here are Deployments, ReplicaSets and DaemonSets"
    return StatusError(405, "MethodNotAllowed", message)


def expired(message: str) -> StatusError:
    """A resourceVersion whose history is gone: the client lists anew."""
    return StatusError(410, "Expired", message)


def invalid(resource: Resource, name: str, *causes: Cause) -> StatusError:
    """422 with field errors; a cause's message starts with the field error's kind (`Invalid value: ...`)."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return StatusError(
        422,
        "Invalid",
        f'{kind} "{name}" is invalid: {text}',
        group=resource.group,
        kind=resource.kind,
        name=name,
        causes=causes,
    )


def version_required(resource: Resource, name: str) -> StatusError:
    return invalid(
        resource,
        name,
        Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"),
    )


def apply_conflict(conflicts: Conflicts) -> StatusError:
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {one.manager}", fields.text(one.path)) for one in conflicts.found
    )
    return StatusError(409, "Conflict", str(conflicts), causes=causes)
