"""What did not hold, once for each way it did not."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from typing import Any

EVIDENCE = 20_000


@dataclass(slots=True)
class Fault:
    """`seed` and `number` are where to find it again: the portion, and the input or the kill of it."""

    what: str
    evidence: str
    seed: int
    number: int
    times: int = 1


class Faults:
    def __init__(self) -> None:
        self._found: dict[str, Fault] = {}
        self.seed = 0
        self.number = 0

    def add(self, what: str, evidence: object = "") -> None:
        """What is alike but for numbers, names and quoted values is one fault."""
        alike = re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "_", what)
        if alike in self._found:
            self._found[alike].times += 1
            return
        text = str(evidence)[:EVIDENCE]
        self._found[alike] = Fault(what, text, self.seed, self.number)
        print(f"FAULT (seed {self.seed}, number {self.number}): {what}\n{text}\n", file=sys.stderr, flush=True)

    def __len__(self) -> int:
        return len(self._found)

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._found.values()]
