"""How long to wait before trying again, as a kubelet does (pkg/kubelet: backOffPeriod and MaxContainerBackOff)."""

from __future__ import annotations


class Backoff:
    """Delays of `initial` seconds, twice that, ... up to `maximum`; with `at_once`, the first delay is 0.

    What then worked for longer than twice the maximum starts over.
    """

    def __init__(self, initial: float = 10.0, maximum: float = 300.0, *, at_once: bool = False) -> None:
        self._first = 0.0 if at_once else initial
        self._initial = initial
        self._maximum = maximum
        self._delay = self._first

    def next(self, worked_for: float = 0.0) -> float:
        """Seconds to wait after a failure of something that had worked for `worked_for` seconds."""
        if worked_for > 2 * self._maximum:
            self._delay = self._first
        delay = self._delay
        self._delay = min(max(2 * delay, self._initial), self._maximum)
        return delay
