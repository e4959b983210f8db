"""Writes without a pause, and which of them the API has acknowledged."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from threading import Event, Thread

from soak.api import Answer, Api, Request
from soak.faults import Faults

NAMESPACE = "ledger"
OBJECTS = 40
PAUSE = 0.004
"""Seconds between two writes, that others may run as well."""
_COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_PREFIX = "written-"


class Writer:
    """Makes, changes and deletes ConfigMaps in a thread of its own. A write that was not answered may have happened or
    not; one that was has. `pause` ends with the first write that gets no answer, or at once when there is none under
    way."""

    def __init__(self, connect: Callable[[], Api], seed: int) -> None:
        self._connect = connect
        self._dice = random.Random(seed)
        self._value: dict[str, str | None] = {}
        """What each object holds by the last answer, None when there is none."""
        self._doubt: dict[str, str | None] = {}
        """What the last write to an object was to bring, where nobody answered."""
        self._contradictions: list[str] = []
        self._go, self._idle, self._end = Event(), Event(), Event()
        self._idle.set()
        self.acknowledged = 0
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        self._idle.clear()
        self._go.set()

    def pause(self) -> None:
        self._go.clear()
        self._idle.wait()

    def close(self) -> None:
        self._end.set()
        self._go.set()
        self._thread.join()

    @property
    def unanswered(self) -> list[str]:
        """Since the last check."""
        return list(self._doubt)

    def check(self, faults: Faults, after: str) -> None:
        """While paused: that everything acknowledged is there. What was in doubt is settled by what is found."""
        with contextlib.closing(self._connect()) as api:
            listed = api.get(_COLLECTION)["items"]
        found = {obj["metadata"]["name"]: obj.get("data", {}).get("value") for obj in listed}
        for name in {*self._value, *self._doubt}:
            allowed = {self._value.get(name)} | ({self._doubt[name]} if name in self._doubt else set())
            if (now := found.get(name)) not in allowed:
                faults.add(f"an acknowledged write is lost after the kill of {after}", f"{name}: {now}, not {allowed}")
            self._value[name] = now
        self._doubt.clear()
        for contradiction in self._contradictions:
            faults.add(f"an answer contradicts earlier ones after the kill of {after}", contradiction)
        self._contradictions.clear()

    def _run(self) -> None:
        while self._go.wait() and not self._end.is_set():
            with contextlib.closing(self._connect()) as api:
                while self._go.is_set() and self._write(api):
                    time.sleep(PAUSE)
            self._go.clear()
            self._idle.set()

    def _write(self, api: Api) -> bool:
        """False when nobody answers."""
        name = f"{_PREFIX}{self._dice.randrange(OBJECTS)}"
        if name in self._doubt:
            return True
        value: str | None = str(self._dice.random())
        before = self._value.get(name)
        if before is None:
            answer = self._send(api, "POST", _COLLECTION, name, value)
        elif self._dice.random() < 0.7:
            answer = self._send(api, "PUT", f"{_COLLECTION}/{name}", name, value)
        else:
            value = None
            answer = api.ask(Request("DELETE", f"{_COLLECTION}/{name}"))
        if 200 <= answer.status < 300:
            self._value[name] = value
            self.acknowledged += 1
            return True
        if answer.status == 0 or answer.status >= 500:
            self._doubt[name] = value
        if answer.status == 0:
            return False
        self._contradictions.append(f"{name}, last known as {before}: {answer}")
        return True

    @staticmethod
    def _send(api: Api, method: str, path: str, name: str, value: str | None) -> Answer:
        return api.send(method, path, {"metadata": {"name": name}, "data": {"value": value}})
