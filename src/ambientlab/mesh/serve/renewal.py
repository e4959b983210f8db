"""When certificates are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambientlab.mesh.serve.ca import Clock
from ambientlab.mesh.serve.secrets import Secrets

LOOK_AGAIN = 60.0
"""Seconds between looks at what is to be renewed: timers stand still while a machine sleeps, certificates age."""


class Renewal:
    """`refresh` hands out what is new. Whenever a certificate has been issued, call `arm`."""

    def __init__(self, secrets: Secrets, refresh: Callable[[], None], clock: Clock) -> None:
        self._secrets = secrets
        self._refresh = refresh
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Be called when the first certificate has lived half its life, or to look again, if earlier than planned."""
        when = self._secrets.next_renewal()
        if when is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + min(max(0.0, (when - self._clock()).total_seconds()), LOOK_AGAIN)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def renew(self) -> None:
        """Replace, in every proxy that uses them, the certificates that have lived half of their life."""
        self.stop()
        self._secrets.expire()
        self._refresh()
        self.arm()

    def _look(self) -> None:
        self._timer = None
        when = self._secrets.next_renewal()
        if when is not None and when <= self._clock():
            self.renew()
        else:
            self.arm()
