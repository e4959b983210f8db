"""RequestAuthentications and PeerAuthentications (ValidateRequestAuthentication, ValidatePeerAuthentication)."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from ambientlab.api.fielderrors import quote
from ambientlab.api.numbers import whole
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.targets import selector, targets


def request(spec: Object) -> Messages:
    problems = targets(spec)
    for rule in spec.get("jwtRules") or ():
        uri = rule.get("jwksUri") or rule.get("jwks_uri")
        if not rule.get("issuer") and not uri:
            problems.append("issuer or jwksUri must be non-empty string")
        if uri and urlsplit(uri).scheme not in ("http", "https"):
            problems.append(f"URI scheme {quote(urlsplit(uri).scheme)} is not supported")
        if rule.get("jwks"):
            problems += _key_set(rule["jwks"])
        problems += common.durations(rule, "timeout")
    return problems


def _key_set(text: str) -> Messages:
    """A key set, or one key alone."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"jwks parse error: failed to unmarshal JWK set: {error}"]
    keys = found.get("keys", [found]) if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) and key.get("kty") for key in keys):
        return ["jwks parse error: failed to unmarshal JWK set: invalid key type"]
    return []


def peer(spec: Object) -> Messages:
    problems: Messages = []
    chosen, ports = spec.get("selector") or {}, spec.get("portLevelMtls") or {}
    if ports and not chosen.get("matchLabels"):
        problems.append("mesh/namespace peer authentication cannot have port level mTLS")
    problems += ["port must be in range 1..65535" for port in ports if not whole(port, 65535)]
    return problems + selector(chosen)
