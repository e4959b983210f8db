"""Secrets and ConfigMaps that hold certificates, under the names by which proxies ask for them.

Names and places are Istio's (pilot/pkg/model/credentials/resource.go): `kubernetes://NAME` is a Secret in the namespace
of the proxy that asks, `configmap://NAMESPACE/NAME` a ConfigMap; with `-cacert` at the end, only its authorities are
meant. Which keys hold what is in pilot/pkg/credentials/kube/secrets.go.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping

from ambientlab.api.objects import Object
from ambientlab.mesh.ir import CA_SUFFIX, Credential, Key

SECRET = "kubernetes://"
CONFIG_MAP = "configmap://"
INVALID = "invalid://"
"""A credential that nobody is ever given, so that connections fail rather than trust anybody."""
_KEY_PAIRS = (("cert", "key", "", "crl"), ("tls.crt", "tls.key", "tls.ocsp-staple", "ca.crl"))
_AUTHORITIES = (("cacert", "crl"), ("ca.crt", "ca.crl"))

Find = Callable[[Key], Object | None]


class CredentialError(Exception):
    """There is no such credential, in Istio's words."""


def resolve(name: str, namespace: str, secrets: Find, config_maps: Find) -> Credential:
    """What a proxy of `namespace` means by `name`. Raises CredentialError."""
    if name.startswith(CONFIG_MAP):
        place, _, own = name.removeprefix(CONFIG_MAP).partition("/")
        found = config_maps(Key(place, own.removesuffix(CA_SUFFIX)))
        if found is None:
            raise CredentialError(f"configmap {place}/{own.removesuffix(CA_SUFFIX)} not found")
        return authorities(_texts(found))
    own = name.removeprefix(SECRET)
    if not name.startswith(SECRET) or "/" in own:
        raise CredentialError(f"unknown resource type: {name}")
    if not own.endswith(CA_SUFFIX):
        secret = secrets(Key(namespace, own))
        if secret is None:
            raise CredentialError(f"secret {namespace}/{own} not found")
        return _key_pair(data_of(secret))
    # the authorities of a Secret may be in one of their own
    bare = own.removesuffix(CA_SUFFIX)
    secret = secrets(Key(namespace, own)) or secrets(Key(namespace, bare))
    if secret is None:
        raise CredentialError(f"secret {namespace}/{bare} not found")
    return authorities(data_of(secret))


def authorities(data: Mapping[str, bytes]) -> Credential:
    """ExtractRoot. Raises CredentialError."""
    for certificate, revoked in _AUTHORITIES:
        if data.get(certificate):
            return Credential(authorities=data[certificate], revoked=data.get(revoked, b""))
    for certificate, _ in _AUTHORITIES:
        if certificate in data:
            raise CredentialError(f'found key "{certificate}", but it was empty')
    raise CredentialError(f"found secret, but didn't have expected keys cacert or ca.crt; found: {_some(data)}")


def of_config_map(obj: Object) -> Credential:
    """The authorities in a ConfigMap. Raises CredentialError."""
    return authorities(_texts(obj))


def _key_pair(data: Mapping[str, bytes]) -> Credential:
    """ExtractCertInfo. Raises CredentialError."""
    for certificate, key, staple, revoked in _KEY_PAIRS:
        if data.get(certificate) and data.get(key):
            return Credential(
                certificate=data[certificate],
                key=data[key],
                staple=data.get(staple, b""),
                revoked=data.get(revoked, b""),
            )
    for certificate, key, _, _ in _KEY_PAIRS:
        if certificate in data and key in data:
            raise CredentialError(f'found keys "{certificate}" and "{key}", but they were empty')
    raise CredentialError(
        f"found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: {_some(data)}"
    )


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found) if len(found) < 3 else f"{', '.join(found[:3])}, and {len(found) - 3} more..."


def data_of(secret: Object) -> dict[str, bytes]:
    """The content of a Secret; what cannot be decoded is empty."""
    found: dict[str, bytes] = {}
    for name, text in (secret.get("data") or {}).items():
        try:
            found[name] = b64decode(text)
        except binascii.Error:
            found[name] = b""
    return found


def _texts(config_map: Object) -> dict[str, bytes]:
    return {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
