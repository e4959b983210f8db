"""How a starting mesh tells the waiting `up` what it has done: one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import time


class Progress:
    """`began` is the monotonic time from which milliseconds count. A reader that went away is not an error: `up` may
    have been interrupted, and the mesh goes on."""

    def __init__(self, descriptor: int, began: float) -> None:
        self._descriptor = descriptor
        self._began = began

    def step(self, text: str) -> None:
        self._send({"step": text, "ms": self._elapsed()})

    def ready(self) -> None:
        self._send({"ready": True, "ms": self._elapsed()})
        self.close()

    def error(self, message: str, *hints: str) -> None:
        self._send({"error": message, "hints": hints})
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _elapsed(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def _send(self, message: object) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")
