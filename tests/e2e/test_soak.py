"""A short portion of the soak, always the same: `scripts/soak` runs it by the thousand."""

from __future__ import annotations

from soak import inputs, kills, remains
from soak.faults import Faults

SEED, INPUTS, KILLS = 1, 200, 2


def test_a_portion_finds_no_fault() -> None:
    faults = Faults()
    with remains.mesh(faults) as mesh:
        sent = inputs.portion(mesh, INPUTS, SEED, faults)
        killed = kills.portion(mesh, KILLS, SEED, faults)
    assert faults.as_json() == []
    assert sum(sent[kind] for kind in inputs.SHARES) == INPUTS
    assert sum(killed[victim] for victim in kills.WEIGHTS) >= KILLS
    assert all(sent[what] for what in ("acknowledged writes read again", "requests answered meanwhile"))
    assert killed["acknowledged writes"]
