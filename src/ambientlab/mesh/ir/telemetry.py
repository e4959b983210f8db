"""What a waypoint writes down of the traffic it carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric by the name it is served under: not counted at all, or with other labels.

    A label is None to be left out, else an expression over the request's attributes (CEL) that is its value; "" is one
    that cannot be known here.
    """

    metric: str
    disabled: bool = False
    labels: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Of one service, or of what a waypoint does for none. `log_filter` is CEL; "" logs everything."""

    log: bool = True
    log_filter: str = ""
    metrics: bool = True
    changes: tuple[MetricChange, ...] = ()

    def change(self, metric: str) -> MetricChange | None:
        return next((change for change in self.changes if change.metric == metric), None)


EVERYTHING = Telemetry()
"""Where nobody has asked for anything."""
