"""Requests with the tokens that a waypoint tells apart: of each issuer it knows, as policies ask for them, and others.

They are nobody's: what decides here believes a token, and no proxy ever sees one.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from ambientlab.mesh.decide import Request
from ambientlab.mesh.ir import Condition, Guard, JwtRule

_MOST = 16
_OF_TOKENS = "request.auth."
_NOBODY = "nobody"


def carrying(guards: Iterable[Guard | None], request: Request) -> Iterator[tuple[str, Request]]:
    """The request as it is, and with each token, in words what that is."""
    known = [guard for guard in guards if guard is not None]
    rules = list(dict.fromkeys(rule for guard in known for rule in guard.jwt_rules))
    yield "", request
    if rules:
        yield from islice(_carrying(rules, list(_asked(known)), request), _MOST)


def _carrying(rules: Iterable[JwtRule], asked: list[Condition], request: Request) -> Iterator[tuple[str, Request]]:
    for rule in rules:
        yield "with what is no token", _with(rule, "x", request)
        for claims in _claims(rule, asked):
            text = ", ".join(f"{name} {value}" for name, value in claims.items() if name != "iss")
            yield f"with a token of {claims['iss']}{f' ({text})' if text else ''}", _with(rule, _token(claims), request)


def _claims(rule: JwtRule, asked: Iterable[Condition]) -> Iterator[Mapping[str, Any]]:
    own: dict[str, Any] = {"iss": rule.issuer, "sub": "somebody"}
    if rule.audiences:
        yield own | {"aud": "another"}
        own["aud"] = rule.audiences[0]
    yield own
    yield {"iss": f"not-{rule.issuer}", "sub": "somebody"}
    for condition in asked:
        for value in (*condition.values, *condition.not_values):
            yield own | _claim(condition.attribute.removeprefix(_OF_TOKENS), value.strip("*") or "x", rule)


def _claim(name: str, value: str, rule: JwtRule) -> dict[str, Any]:
    match name:
        case "principal":
            return {"sub": value.rpartition("/")[2] or "somebody"}
        case "audiences":
            return {} if rule.audiences else {"aud": value}
        case "presenter":
            return {"azp": value}
    path = name.removeprefix("claims").strip("[]").split("][")
    found: Any = value
    for part in reversed(path):
        found = {part: found}
    return found if isinstance(found, dict) else {}


def _asked(guards: Iterable[Guard]) -> Iterator[Condition]:
    for guard in guards:
        for policy in guard.policies:
            for rule in policy.rules:
                for conditions in (*rule.sources, *rule.operations):
                    yield from (c for c in conditions if c.attribute.startswith(_OF_TOKENS))


def _token(claims: Mapping[str, Any]) -> str:
    parts = (json.dumps(value).encode() for value in ({"alg": "none"}, claims))
    return ".".join((*(urlsafe_b64encode(part).decode().rstrip("=") for part in parts), _NOBODY))


def _with(rule: JwtRule, token: str, request: Request) -> Request:
    """In the first place where the rule looks for one."""
    if rule.from_headers:
        name, prefix = rule.from_headers[0]
        header = (name.lower(), f"{prefix}{token}")
    elif rule.from_params:
        return replace(request, path=f"{request.path}?{rule.from_params[0]}={token}")
    elif rule.from_cookies:
        header = ("cookie", f"{rule.from_cookies[0]}={token}")
    else:
        header = ("authorization", f"Bearer {token}")
    return replace(request, headers=(*request.headers, header))
