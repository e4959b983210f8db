"""How far a learner has come: a small file in the learner's directory, which outlives the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ambientlab.files import write_whole
from ambientlab.labs.environment import CommandError

FILE = ".ambientlab-lab"
"""It does not end in .json, since `kubectl apply -f .` and `ambientlab analyze -f .` take such files for manifests."""


class _Stored(msgspec.Struct):
    lab: str
    step: int = 0
    hints: int = 0


@dataclass(slots=True)
class Progress:
    """`step` counts from 0 and equals the number of steps once the lab is done; `hints` of this step were shown."""

    lab: str
    step: int = 0
    hints: int = 0
    _directory: Path = field(default=Path(), repr=False)

    @classmethod
    def load(cls, lab: str, directory: Path) -> Progress | None:
        """None if this lab was not started here. A file that is not ours counts as none."""
        try:
            stored = msgspec.json.decode((directory / FILE).read_bytes(), type=_Stored)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            return None
        except OSError as error:
            raise CommandError(f"cannot read {directory / FILE}: {error.strerror}") from error
        if stored.lab != lab or stored.step < 0 or stored.hints < 0:
            return None
        return cls(lab, stored.step, stored.hints, directory)

    @classmethod
    def start(cls, lab: str, directory: Path) -> Progress:
        progress = cls(lab, 0, 0, directory)
        progress.save()
        return progress

    def advance(self) -> None:
        self.step += 1
        self.hints = 0
        self.save()

    def save(self) -> None:
        path = self._directory / FILE
        try:
            write_whole(path, msgspec.json.encode(_Stored(self.lab, self.step, self.hints)))
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error
