"""RequestAuthentications, read (pilot/pkg/security/authn/policy_applier.go).

Keys that a rule names by URL, or leaves to its issuer's discovery document, are fetched by whoever feeds the index. As
long as there are none, no token is valid: Istio then configures a key that nobody has (BuildLocalJwks in
pilot/pkg/model/jwks_resolver.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.targets import Attachment, Target, targets
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import JwtRule, Key

DEFAULT_TIMEOUT_MS = 5000
_MODULUS = (
    "0Qd9V3UsJlb9mzVvn9OpFznT-Yp7bKbPNY9vSluHil9Dn9cw7iD5yK4YlYcwvrabJWyaix5hdCPJRzg6-NIdHIv26Xd64OF0E1_CBPRZUvMFkR9jtlFi"
    "l4AuUnh21exT_mJb81lggSVs7LuKCrrzDdFj39E6Y2suqqbsrk_EHBspYLseQn6GWKO3BPkzqHutVCBxd1r4HBmPl48eLoXCoFJdxKUjZv4azM7CB9jq"
    "vUPC0ZPq_w_x6y5D_KcxsZ_FKQNlIfaBDboi8yum6Uj1_p5xzP83XIR-RDBBw9C40kEbzOK1KuJpLNDcuZDeQS2UAwWmgbzcUDDMweZFsKZLmQ"
)
NO_KEYS = f'{{"keys":[{{"kty":"RSA","e":"AQAB","n":"{_MODULUS}"}}]}}'
"""A key whose private half was thrown away."""


class KeySource(NamedTuple):
    """Where to fetch keys: at a URL, or where the issuer's discovery document says; the other one is ""."""

    uri: str
    issuer: str

    def __str__(self) -> str:
        return self.uri or f"the discovery document of {self.issuer}"


@dataclass(frozen=True, slots=True)
class KeySet:
    """What came of fetching: keys, or a problem."""

    keys: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TokenReading:
    """`order` sorts readings by creation. `timeouts_ms` are of the sources that are needed."""

    key: Key
    order: tuple[str, Key]
    rules: tuple[JwtRule, ...]
    targets: tuple[Target, ...]
    timeouts_ms: tuple[tuple[KeySource, int], ...]
    diagnostics: tuple[Diagnostic, ...]


def read(key: Key, obj: Object, fetched: Callable[[KeySource], KeySet | None]) -> TokenReading:
    spec = obj.get("spec") or {}
    ref = ObjectRef("RequestAuthentication", *key)
    rules, timeouts, notes = [], [], []
    for number, rule in enumerate(spec.get("jwtRules") or ()):
        keys = rule.get("jwks") or ""
        if not keys:
            uri = rule.get("jwksUri") or rule.get("jwks_uri") or ""
            source = KeySource(uri, "" if uri else rule.get("issuer", ""))
            timeout = milliseconds(rule["timeout"]) if "timeout" in rule else DEFAULT_TIMEOUT_MS
            timeouts.append((source, timeout))
            found = fetched(source)
            keys = found.keys if found is not None and found.keys else NO_KEYS
            if found is not None and found.problem:
                message = f"its keys are missing, so that no token is valid: fetching {source}: {found.problem}"
                notes.append(Diagnostic(ref, "KeysMissing", message, field=f"spec.jwtRules[{number}]"))
        rules.append(_rule(rule, keys))
    named = targets(obj)
    if not named and "selector" not in spec:
        why = "waypoints take policies by targetRefs alone, and ztunnel looks at no tokens"
        notes.append(ignored(ref, "spec", why))
    created = str(obj["metadata"].get("creationTimestamp", ""))
    return TokenReading(key, (created, key), tuple(rules), named, tuple(timeouts), tuple(notes))


def _rule(rule: Object, keys: str) -> JwtRule:
    return JwtRule(
        rule.get("issuer", ""),
        keys,
        tuple(rule.get("audiences") or ()),
        tuple((header["name"], header.get("prefix", "")) for header in rule.get("fromHeaders") or ()),
        tuple(rule.get("fromParams") or ()),
        tuple(rule.get("fromCookies") or ()),
        bool(rule.get("forwardOriginalToken")),
        rule.get("outputPayloadToHeader", ""),
        tuple((item["header"], item["claim"]) for item in rule.get("outputClaimToHeaders") or ()),
        tuple(rule.get("spaceDelimitedClaims") or ()),
    )


def unbound(reading: TokenReading, attachments: tuple[Attachment, ...]) -> tuple[Diagnostic, ...]:
    """Istio reports nothing of where a RequestAuthentication is attached."""
    ref = ObjectRef("RequestAuthentication", *reading.key)
    return tuple(
        Diagnostic(ref, a.reason, f"no effect on {a.target}: {a.message}", field="spec.targetRefs")
        for a in attachments
        if not a.bound
    )
