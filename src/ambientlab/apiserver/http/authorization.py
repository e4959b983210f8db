"""Who may do what. There is no RBAC here, only what its absence leaves safe:

administrators and the service accounts of the system's own namespaces may do everything; any other service account
may look at what the API offers, and ask about itself.
"""

from __future__ import annotations

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.http.target import Target
from ambientlab.apiserver.options import MASTERS, User

_TRUSTED = frozenset({MASTERS, "system:serviceaccounts:kube-system", "system:serviceaccounts:istio-system"})
_DISCOVERY = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")
_SELF = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})
_REVIEW_GROUPS = frozenset({"authorization.k8s.io", "authentication.k8s.io"})


def is_trusted(user: User) -> bool:
    return not _TRUSTED.isdisjoint(user.groups)


def allowed(user: User, target: Target) -> bool:
    if is_trusted(user):
        return True
    if target.plural:
        return target.verb == "create" and target.plural in _SELF and target.group in _REVIEW_GROUPS
    return target.verb == "get" and any(
        target.path == prefix or target.path.startswith(prefix + "/") for prefix in _DISCOVERY
    )


def check(user: User, target: Target) -> None:
    """Raises 403 in the words of a kube-apiserver."""
    if allowed(user, target):
        return
    if not target.plural:
        raise StatusError(403, "Forbidden", f'forbidden: User "{user.name}" cannot {target.verb} path "{target.path}"')
    shown = f"{target.plural}.{target.group}" if target.group else target.plural
    subject = f'{shown} "{target.name}"' if target.name else shown
    resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    scope = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    raise StatusError(
        403,
        "Forbidden",
        f'{subject} is forbidden: User "{user.name}" cannot {target.verb} resource "{resource}" '
        f'in API group "{target.group}" {scope}',
        group=target.group,
        kind=target.plural,
        name=target.name,
    )
