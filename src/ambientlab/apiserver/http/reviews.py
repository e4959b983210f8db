"""Questions about oneself and about tokens: objects that are answered, never stored."""

from __future__ import annotations

from typing import Any

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver.http.authentication import Authenticator
from ambientlab.apiserver.http.authorization import allowed, is_trusted
from ambientlab.apiserver.http.target import Target
from ambientlab.apiserver.options import User
from ambientlab.apiserver.tokens import API_AUDIENCE, TokenError

REVIEWS: tuple[Resource, ...] = (
    kinds.SELFSUBJECTACCESSREVIEW,
    kinds.SELFSUBJECTRULESREVIEW,
    kinds.SELFSUBJECTREVIEW,
    kinds.TOKENREVIEW,
)


def find(group: str, version: str, plural: str) -> Resource | None:
    return next((r for r in REVIEWS if (r.group, r.version, r.plural) == (group, version, plural)), None)


def answer(resource: Resource, review: Object, user: User, authenticator: Authenticator, now: str) -> Object:
    """`review` with its status."""
    spec = review.get("spec") or {}
    status: dict[str, Any]
    metadata: dict[str, Any] = {}
    if resource == kinds.SELFSUBJECTACCESSREVIEW:
        status = {"allowed": allowed(user, _asked(spec))}
    elif resource == kinds.SELFSUBJECTRULESREVIEW:
        status = _rules(user)
    elif resource == kinds.SELFSUBJECTREVIEW:
        status, metadata = {"userInfo": _info(user)}, {"creationTimestamp": now}
    else:
        status = _token(spec, authenticator)
    return {**review, "kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, "status": status}


def _asked(spec: Object) -> Target:
    if attributes := spec.get("resourceAttributes"):
        return Target(
            "",
            attributes.get("verb", ""),
            attributes.get("group", ""),
            attributes.get("version", ""),
            attributes.get("namespace", ""),
            attributes.get("resource", "") or "*",
            attributes.get("name", ""),
            attributes.get("subresource", ""),
        )
    attributes = spec.get("nonResourceAttributes") or {}
    return Target(attributes.get("path", ""), attributes.get("verb", ""))


def _rules(user: User) -> dict[str, Any]:
    paths = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
    ]
    if is_trusted(user):
        resources = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        return {"resourceRules": resources, "nonResourceRules": [_free("*", ["*"])], "incomplete": False}
    rules = [
        {"verbs": ["create"], "apiGroups": [review.group], "resources": [review.plural]}
        for review in REVIEWS
        if review != kinds.TOKENREVIEW
    ]
    return {"resourceRules": rules, "nonResourceRules": [_free("get", paths)], "incomplete": False}


def _free(verb: str, paths: list[str]) -> dict[str, Any]:
    return {"verbs": [verb], "nonResourceURLs": paths}


def _info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def _token(spec: Object, authenticator: Authenticator) -> dict[str, Any]:
    for audience in spec.get("audiences") or (API_AUDIENCE,):
        try:
            user = authenticator.token_user(spec.get("token") or "", audience)
        except TokenError as error:
            failure = str(error)
        else:
            return {"authenticated": True, "user": _info(user), "audiences": [audience]}
    return {"user": {}, "error": failure}
