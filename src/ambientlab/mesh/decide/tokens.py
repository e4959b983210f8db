"""What a waypoint makes of the tokens that requests carry (Envoy, source/extensions/filters/http/jwt_authn).

A token is taken to be what it says: neither its signature nor its times are judged here, which need the clock. Whether
it is one at all, who issued it and for whom is.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ambientlab.mesh.decide import cors, matching, paths
from ambientlab.mesh.decide.answers import local_answer
from ambientlab.mesh.decide.decision import Answered, Reason
from ambientlab.mesh.decide.request import Headers, Request
from ambientlab.mesh.ir import JwtRule

MALFORMED = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
UNKNOWN_ISSUER = "Jwt issuer is not configured"
FORBIDDEN = "Audiences in Jwt are not allowed"

_BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class Seen:
    """`request` is what routes and policies see of it, `claims` those of its token, if it has one. `stripped` are
    headers that are taken away all the same before it is passed on: they would pass for a token's claims."""

    request: Request
    claims: Mapping[str, Any] | None = None
    refusal: Answered | None = None
    stripped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A token, and the request without it."""

    text: str
    without: Request


def seen(rules: Sequence[JwtRule], request: Request) -> Seen:
    """Preflights carry no tokens, and none is asked for."""
    claimed = tuple(
        name.lower()
        for rule in rules
        for name in (*(header for header, _ in rule.claim_headers), rule.payload_header)
        if name
    )
    found = [] if cors.is_preflight(request) else [(rule, t) for rule in rules if (t := _found(rule, request))]
    if not found:
        return Seen(request, stripped=claimed)
    try:
        claims = [(rule, token, _claims(token.text)) for rule, token in found]
    except _MalformedError as error:
        return Seen(request, refusal=_refused(request, 401, str(error)), stripped=claimed)
    meant = next((each for each in claims if each[2].get("iss") == each[0].issuer), None)
    if meant is None:
        return Seen(request, refusal=_refused(request, 401, UNKNOWN_ISSUER), stripped=claimed)
    rule, token, payload = meant
    if rule.audiences and not {*_listed(payload.get("aud"))} & {*rule.audiences}:
        return Seen(request, refusal=_refused(request, 403, FORBIDDEN), stripped=claimed)
    told = request if rule.forward else token.without
    kept = tuple((name, value) for name, value in told.headers if name not in claimed)
    return Seen(replace(told, headers=kept + _told(rule, token, payload)), _normalised(rule, payload))


def _found(rule: JwtRule, request: Request) -> _Found | None:
    """In the places that a rule names, or else the header `Authorization` and the parameter `access_token`."""
    usual = not (rule.from_headers or rule.from_params or rule.from_cookies)
    headers = (("authorization", _BEARER),) if usual else rule.from_headers
    for name, prefix in headers:
        for value in request.values(name.lower()):
            if value.startswith(prefix) and (text := value[len(prefix) :].strip().partition(" ")[0]):
                kept = tuple((n, v) for n, v in request.headers if n != name.lower())
                return _Found(text, replace(request, headers=kept))
    parameters = matching.query_parameters(request.path)
    for name in ("access_token",) if usual else rule.from_params:
        if text := parameters.get(name, ""):
            return _Found(text, replace(request, path=_without(request.path, name)))
    cookies = (part.strip().partition("=") for line in request.values("cookie") for part in line.split(";"))
    return next((_Found(value, request) for name, _, value in cookies if name in rule.from_cookies and value), None)


def _without(path: str, parameter: str) -> str:
    """Envoy writes what is left of a query anew: by name, each with an equals sign (source/common/http/utility.cc,
    QueryParamsMulti)."""
    proper, query = paths.split(path)
    parts = [part.partition("=") for part in query[1:].split("&")]
    left = sorted((part for part in parts if part[0] not in ("", parameter)), key=lambda part: part[0])
    return proper + ("?" + "&".join(f"{name}={value}" for name, _, value in left) if left else "")


class _MalformedError(Exception):
    """Of what is no token, in the words of Envoy (google/jwt_verify_lib, status.cc)."""


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        raise _MalformedError(MALFORMED)
    _decoded("header", parts[0])
    return _decoded("payload", parts[1])


def _decoded(what: str, part: str) -> dict[str, Any]:
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise _MalformedError(f"Jwt {what} is an invalid Base64url encoded") from None
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _MalformedError(f"Jwt {what} is an invalid JSON")
    return value


def _told(rule: JwtRule, token: _Found, payload: Mapping[str, Any]) -> Headers:
    """What the destination is told of a valid token."""
    result = []
    for header, claim in rule.claim_headers:
        value: Any = payload
        for name in claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, bool | int | str):
            result.append((header.lower(), str(value).lower() if isinstance(value, bool) else str(value)))
    if rule.payload_header:
        result.append((rule.payload_header.lower(), token.text.split(".")[1]))
    return tuple(result)


def _normalised(rule: JwtRule, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Some claims are lists written as one text."""
    return {n: v.split(" ") if n in rule.lists and isinstance(v, str) else v for n, v in payload.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _refused(request: Request, status: int, body: str) -> Answered:
    where = f"{request.scheme}://{request.authority}{request.path}"
    headers = (("www-authenticate", f'Bearer realm="{where}", error="invalid_token"'),)
    return local_answer(request, status, Reason.TOKEN, body, headers)
