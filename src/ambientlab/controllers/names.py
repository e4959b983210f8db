"""Generated names and hashes in Kubernetes' alphabet: no vowels, no look-alikes, so no accidental words.

The alphabet and the encoding are those of k8s.io/apimachinery/pkg/util/rand.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import orjson

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
# A label value, which pod names end up in, has at most 63 characters; pod names are hostnames too.
_BASE = 63 - _SUFFIX


def generate_name(base: str) -> str:
    """`base` (cut so that the result fits a label) and five random characters."""
    return base[:_BASE] + "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))


def content_hash(value: Any, collisions: int = 0) -> str:
    """A label value, 8 to 10 characters, that names this JSON value: a 32-bit digest written as Kubernetes writes
    one. `collisions` picks another for the same value."""
    data = orjson.dumps([value, collisions], option=orjson.OPT_SORT_KEYS)
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big")
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(digest))
