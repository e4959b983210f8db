"""Spoiling objects by their structure: fields dropped, retyped, moved, repeated, made huge or strange.

Half of the changes put in a value that stands at a field of the same name somewhere in the samples, which gets further
in than junk does.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

Place = tuple[str | int, ...]

# fmt: off
TEXTS = (
    "", " ", "*", "a", "*.", "a.b", "*.example.com", "é", "名前", "\u202egnp", "\ud800", "\x00", "a\x1b[31mb", "\n",
    "a\r\nb: c", "x" * 64, "x" * 254, "a/b", "/", "//", "..", "../../etc/passwd", "%zz", "%00", "{}", "(", "[a-z",
    "((a{1,1000}){1,1000})", "(?=a)", "^(a+)+$", "10.0.0.1", "10.0.0.0/8", "10.0.0.0/33", "1.2.3/8", "256.1.1.1",
    "0.0.0.0/0", "127.0.0.1", "::1", "::/0", "fd00::/129", "::ffff:1.2.3.4", "fe80::1%eth0", "010.1.1.1", "0s", "1ms",
    "-1s", "1h", "99999h", "9223372036854775808ns", "1e9s", "1", "-1", "0", "80", "65536", "1e9", "0x10", "1Gi",
    "-1Gi", "²", "٣", "--5", "+5", "1_0", "true", "null", "helloworld", "helloworld.hello.svc.cluster.local",
    "httpbin.httpbin", "reviews.nowhere",
    "cluster.local/ns/a/sa/b", "spiffe://x/ns/a/sa/b", "spiffe://", "HTTP", "TLS", "UDP", "ISTIO_MUTUAL",
    "DYNAMIC_DNS", "NONE", "@request.auth.claims.sub", "request.headers[a]", "request.headers[", "source.ip",
    "destination.port", ":path", ":authority", "host", "Host", "set-cookie", "Transfer-Encoding", "configmap://a/b",
    "kubernetes://a", "v0", "v1", "networking.istio.io/v9", "gateway.networking.k8s.io/v1", "2026-01-01T00:00:00Z",
    "9999-99-99T99:99:99Z", "kubernetes.io/x", "istio.io/use-waypoint", "istio.io/dataplane-mode",
)
NUMBERS = (
    0, 1, -1, 2, 5, 80, 100, 101, 599, 600, 1000, 8080, 15001, 15008, 65535, 65536, -2**31, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**63 - 1, 2**63, -2**63 - 1, 2**70, 0.5, -0.5, 1e-9, 99.99, 1e300, float("inf"), float("nan"),
)
# fmt: on
FEW = 400
"""Values that are kept of a field's name."""


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Of every value within, outer ones first."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def value_at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def _field(place: Place) -> str:
    """By which values are alike: the last name on the way, and whether it is one of a list."""
    name = next((key for key in reversed(place) if isinstance(key, str)), "")
    return f"{name}[]" if isinstance(place[-1], int) else name


class Mutator:
    def __init__(self, dice: random.Random, objects: Iterable[Any]) -> None:
        self._dice = dice
        self._pool: dict[str, list[Any]] = defaultdict(list)
        for obj in objects:
            for place in places(obj):
                if len(kept := self._pool[_field(place)]) < FEW:
                    kept.append(value_at(obj, place))
        self._fields = sorted(self._pool)

    def spoilt(self, obj: Any) -> Any:
        """A copy with one to three changes, mostly of its spec."""
        result = copy.deepcopy(obj)
        for _ in range(self._dice.choice((1, 1, 1, 2, 3))):
            within = result.get("spec") if isinstance(result, dict) and self._dice.random() < 0.85 else result
            self._change(within if isinstance(within, dict | list) and within else result)
        return result

    def _change(self, whole: Any) -> None:
        found = list(places(whole))
        if not found:
            return
        dice = self._dice
        place = dice.choice(found)
        parent, last = value_at(whole, place[:-1]), place[-1]
        value = parent[last]
        match dice.choices(("alike", "gone", "near", "more", "junk"), (60, 10, 10, 5, 15))[0]:
            case "alike":
                parent[last] = copy.deepcopy(dice.choice(self._pool[_field(place)] or [value]))
            case "gone":
                del parent[last]
            case "near" if isinstance(value, str):
                parent[last] = dice.choice((*TEXTS, value.upper(), value + "\x00", value * 50, value[:-1]))
            case "near" if isinstance(value, int | float):
                parent[last] = dice.choice((*NUMBERS, -value, value + 1))
            case "more" if isinstance(parent, list):
                parent.extend(copy.deepcopy([value] * dice.choice((1, 1, 2, 20))))
            case "more":
                field = dice.choice(self._fields)
                parent[field] = copy.deepcopy(dice.choice(self._pool[field]))
            case _:
                parent[last] = self._junk(value)

    def _junk(self, value: Any) -> Any:
        dice = self._dice
        match dice.randrange(20):
            case 0 | 1 | 2 | 3 | 4 | 5:
                return dice.choice(TEXTS)
            case 6 | 7 | 8 | 9 | 10:
                return dice.choice(NUMBERS)
            case 11 | 12:
                return {}
            case 13 | 14:
                return []
            case 15:
                return None
            case 16:
                return dice.random() < 0.5
            case 17:
                return {dice.choice(TEXTS): dice.choice(TEXTS)}
            case 18:
                return [copy.deepcopy(value), copy.deepcopy(value)]
        return self._extreme()

    def _extreme(self) -> Any:
        dice = self._dice
        match dice.randrange(4):
            case 0:
                return dice.choice(TEXTS[1:]) * dice.choice((300, 5000, 70_000))
            case 1:
                return [dice.choice(NUMBERS)] * dice.choice((100, 5000))
            case 2:
                return {f"{dice.choice(TEXTS)}{number}": None for number in range(300)}
        deep: Any = dice.choice(TEXTS)
        for _ in range(dice.choice((20, 100, 200))):
            deep = [deep] if dice.random() < 0.5 else {"a": deep}
        return deep
