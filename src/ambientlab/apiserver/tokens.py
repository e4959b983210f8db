"""Service account tokens: JWTs signed with ES256, as TokenRequest issues them.

Claims as Kubernetes writes them (kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, "schema for
service account private claims"); the form is RFC 7519 over RFC 7515, with the raw r||s signature of RFC 7518 3.4.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ambientlab.apiserver.pki import read_key
from ambientlab.cluster import DOMAIN
from ambientlab.files import write_whole

ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"
API_AUDIENCE = ISSUER
_SIZE = 32


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a verified token speaks for. `pod` is empty for a token that is not bound to one."""

    namespace: str
    service_account: str
    service_account_uid: str
    audiences: tuple[str, ...]
    expires: int
    pod: str = ""
    pod_uid: str = ""

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


class TokenError(Exception):
    """A token that is not ours, is expired, or is meant for somebody else."""


class TokenSigner:
    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        self._key_id = _encode(digest.finalize())

    @classmethod
    def load(cls, directory: Path) -> TokenSigner:
        """Read the signing key, making it (0600) if there is none."""
        path = directory / "sa.key"
        key = read_key(path)
        if key is None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_whole(path, pem)
        return cls(key)

    def sign(self, claims: Claims, issued: int) -> str:
        """`issued` is a POSIX time in seconds."""
        kubernetes: dict[str, Any] = {
            "namespace": claims.namespace,
            "serviceaccount": {"name": claims.service_account, "uid": claims.service_account_uid},
        }
        if claims.pod:
            kubernetes["pod"] = {"name": claims.pod, "uid": claims.pod_uid}
        payload = {
            "aud": list(claims.audiences),
            "exp": claims.expires,
            "iat": issued,
            "iss": ISSUER,
            "kubernetes.io": kubernetes,
            "nbf": issued,
            "sub": claims.username,
        }
        head = _encode(orjson.dumps({"alg": "ES256", "kid": self._key_id, "typ": "JWT"}))
        signed = f"{head}.{_encode(orjson.dumps(payload))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(_SIZE, 'big') + s.to_bytes(_SIZE, 'big'))}"

    def verify(self, token: str, *, audience: str = "", now: float | None = None) -> Claims:
        """Raises `TokenError`. An empty audience means the API server's own."""
        moment = time.time() if now is None else now
        signed, _, signature_text = token.rpartition(".")
        head_text, _, payload_text = signed.partition(".")
        try:
            head, payload = orjson.loads(_decode(head_text)), orjson.loads(_decode(payload_text))
            signature = _decode(signature_text)
        except (ValueError, binascii.Error) as error:
            raise TokenError("the token is not a JSON web token") from error
        if not isinstance(head, dict) or not isinstance(payload, dict) or head.get("alg") != "ES256":
            raise TokenError("the token is not an ES256 JSON web token")
        if len(signature) != 2 * _SIZE:
            raise TokenError("the signature has the wrong length")
        dss = encode_dss_signature(int.from_bytes(signature[:_SIZE], "big"), int.from_bytes(signature[_SIZE:], "big"))
        try:
            self._public.verify(dss, signed.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise TokenError("the token is not signed by this cluster") from error
        claims = _claims(payload)
        if moment >= claims.expires:
            raise TokenError("the token has expired")
        if (audience or API_AUDIENCE) not in claims.audiences:
            raise TokenError(f"the token is for {list(claims.audiences)}")
        return claims


def _claims(payload: dict[str, Any]) -> Claims:
    """Only ever called on a payload that we signed."""
    private = payload["kubernetes.io"]
    account, pod = private["serviceaccount"], private.get("pod", {})
    return Claims(
        namespace=private["namespace"],
        service_account=account["name"],
        service_account_uid=account["uid"],
        audiences=tuple(payload["aud"]),
        expires=payload["exp"],
        pod=pod.get("name", ""),
        pod_uid=pod.get("uid", ""),
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if not text.isascii():
        raise ValueError("not base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
