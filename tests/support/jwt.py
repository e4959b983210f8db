"""Tokens as issuers make them, and the keys to check them by."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

FOR_EVER = 4_000_000_000


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def keys(secret: bytes) -> str:
    return json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": encoded(secret)}]})


def token(secret: bytes, **claims: Any) -> str:
    head = encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = encoded(json.dumps({"iss": "me", "sub": "ada", "exp": FOR_EVER, **claims}).encode())
    signature = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(signature)}"
