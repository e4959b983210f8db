"""What a printer is, and how ages, selectors and the like are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ambientlab.api import objects
from ambientlab.api.objects import Object

NONE = "<none>"
UNKNOWN = "<unknown>"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Column:
    """metav1.TableColumnDefinition; priority 1 is shown by `-o wide` only."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def to_object(self) -> Object:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


NAME = Column("Name", format="name", description="Name of the object, unique among its kind in its namespace.")
AGE = Column("Age", description="Time since the object was created.")


def wide(name: str, kind: str = "string") -> Column:
    return Column(name, kind, 1)


@dataclass(frozen=True, slots=True)
class Printer:
    """`cells` gives one value a column, in the order of `columns`."""

    columns: tuple[Column, ...]
    cells: Callable[[Object, datetime], list[Any]]


def duration(seconds: float) -> str:
    """kubectl's ages: `8s`, `2m21s`, `12m`, `3h5m`, `2d` (k8s.io/apimachinery/pkg/util/duration HumanDuration)."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 2 * _MINUTE:
        return f"{total}s"
    if total < 10 * _MINUTE:
        return _two(total // _MINUTE, "m", total % _MINUTE, "s")
    if total < 3 * _HOUR:
        return f"{total // _MINUTE}m"
    if total < 8 * _HOUR:
        return _two(total // _HOUR, "h", total // _MINUTE % 60, "m")
    if total < 2 * _DAY:
        return f"{total // _HOUR}h"
    if total < 8 * _DAY:
        return _two(total // _DAY, "d", total // _HOUR % 24, "h")
    days = total // _DAY
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def since(timestamp: str | None, now: datetime) -> str:
    """The age of an RFC 3339 time; `<unknown>` for none."""
    if not timestamp:
        return UNKNOWN
    try:
        return duration((now - objects.parse_timestamp(timestamp)).total_seconds())
    except (ValueError, TypeError):
        return "<invalid>"


def age(obj: Object, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def labels_text(labels: dict[str, str] | None) -> str:
    if not labels:
        return NONE
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector_text(selector: Object | None) -> str:
    """metav1.FormatLabelSelector: `a=b,c in (d,e)`, sorted by key."""
    if not selector:
        return NONE
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key = one.get("key", "")
        match one.get("operator"):
            case "Exists":
                terms.append((key, key))
            case "DoesNotExist":
                terms.append((key, f"!{key}"))
            case operator:
                values = ",".join(sorted(one.get("values") or ()))
                terms.append((key, f"{key} {_OPERATORS.get(operator or '', operator)} ({values})"))
    return ",".join(text for _, text in sorted(terms)) or NONE


def containers_and_images(template: Object) -> tuple[str, str]:
    containers = ((template.get("spec") or {}).get("containers")) or []
    return ",".join(one["name"] for one in containers), ",".join(one.get("image", "") for one in containers)
