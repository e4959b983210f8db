"""Where API objects live: one SQLite file, one revision counter, everything readable in memory."""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """The store cannot do what was asked; the message says why and what to do."""


class Store:
    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    def open(self) -> None:
        """Lock the file, read everything. Raises `StoreError`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Wait for writes in flight, then let go of the file."""
        raise NotImplementedError
