"""Who asks: a client certificate of our CA, or a service account's token."""

from __future__ import annotations

import asyncio
from typing import Any

from ambientlab.api import kinds
from ambientlab.api.errors import StatusError
from ambientlab.apiserver.options import User
from ambientlab.apiserver.tokens import Claims, TokenError, TokenSigner
from ambientlab.apiserver.verbs import Verbs

AUTHENTICATED = "system:authenticated"
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
# What a load balancer's probe or `kubectl version` may see without saying who it is.
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


class Authenticator:
    def __init__(self, verbs: Verbs, signer: TokenSigner) -> None:
        self._verbs = verbs
        self._signer = signer

    def authenticate(self, transport: asyncio.BaseTransport | None, authorization: str) -> User | None:
        """None for somebody who does not say; raises 401 for credentials that are not good."""
        if certificate := transport.get_extra_info("peercert") if transport is not None else None:
            return _named_by(certificate)
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized()
        try:
            return self.token_user(token.strip())
        except TokenError as error:
            raise unauthorized() from error

    def token_user(self, token: str, audience: str = "") -> User:
        """Raises `TokenError`, for a token of a service account or pod that is gone too."""
        claims = self._signer.verify(token, audience=audience, now=self._verbs.clock().timestamp())
        self._check_alive(claims)
        extra: list[tuple[str, tuple[str, ...]]] = []
        if claims.pod:
            extra.append(("authentication.kubernetes.io/pod-name", (claims.pod,)))
            extra.append(("authentication.kubernetes.io/pod-uid", (claims.pod_uid,)))
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{claims.namespace}", AUTHENTICATED)
        return User(claims.username, groups, claims.service_account_uid, tuple(extra))

    def _check_alive(self, claims: Claims) -> None:
        account = self._verbs.find(kinds.SERVICEACCOUNT, claims.namespace, claims.service_account)
        if account is None or account.object["metadata"]["uid"] != claims.service_account_uid:
            raise TokenError("the service account is gone")
        if claims.pod:
            pod = self._verbs.find(kinds.POD, claims.namespace, claims.pod)
            if pod is None or pod.object["metadata"]["uid"] != claims.pod_uid:
                raise TokenError("the pod is gone")


def _named_by(certificate: Any) -> User:
    """Common name and organizations, as Kubernetes reads them; TLS has checked the chain."""
    names = [pair for relative in certificate.get("subject", ()) for pair in relative]
    common = next((value for kind, value in names if kind == "commonName"), "")
    if not common:
        raise unauthorized()
    groups = tuple(value for kind, value in names if kind == "organizationName")
    return User(common, (*groups, AUTHENTICATED))
