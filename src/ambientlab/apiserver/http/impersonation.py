"""Asking as somebody else: `kubectl --as`, by headers (kubernetes.io, "User impersonation").

Who may do everything may do this too, and nobody else.
"""

from __future__ import annotations

from aiohttp import web

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.http import authorization
from ambientlab.apiserver.http.authentication import ANONYMOUS, AUTHENTICATED
from ambientlab.apiserver.options import User

_USER, _GROUP, _UID, _EXTRA = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"


def asking(request: web.Request, user: User) -> User:
    """Who is to be taken for the one who asks. Raises 403, and 400 for headers that do not say who."""
    headers = request.headers
    name = headers.get(_USER, "")
    extra = _extra(request)
    if not name:
        if _GROUP in headers or _UID in headers or extra:
            raise StatusError(400, "BadRequest", "requested groups, uid or extra without impersonating a user")
        return user
    if not authorization.is_trusted(user):
        what = "serviceaccounts" if name.startswith(_ACCOUNT) else "users"
        words = f'{what} "{name}" is forbidden: User "{user.name}" cannot impersonate resource "{what}"'
        raise StatusError(403, "Forbidden", f'{words} in API group "" at the cluster scope')
    groups = tuple(headers.getall(_GROUP, ()))
    if name.startswith(_ACCOUNT) and not groups:
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    always = ANONYMOUS.groups[0] if name == ANONYMOUS.name else AUTHENTICATED
    return User(name, groups if always in groups else (*groups, always), headers.get(_UID, ""), extra)


def _extra(request: web.Request) -> tuple[tuple[str, tuple[str, ...]], ...]:
    headers = request.headers
    names = dict.fromkeys(name.lower() for name in headers if name.lower().startswith(_EXTRA))
    return tuple((name.removeprefix(_EXTRA), tuple(headers.getall(name))) for name in names)
