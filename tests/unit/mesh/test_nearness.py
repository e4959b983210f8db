"""Which endpoints a client gets to by where they are (istio/ztunnel, src/state.rs, load_balance)."""

from __future__ import annotations

import pytest

from ambientlab.mesh.ir.nearness import NOWHERE, Distribution, Place, nearest

HERE = Place("node", "us/z1/s1")
PLACES = {
    "here": HERE,
    "beside": Place("other", "us/z1/s2"),
    "region": Place("third", "us/z2/s1"),
    "away": Place("fourth", "eu/z1/s1"),
    "unknown": None,
}
ANY, SAME_ZONE, SAME_NODE, LOCAL = Distribution


@pytest.mark.parametrize(
    ("distribution", "among", "expected"),
    [
        (ANY, "here beside region away unknown", "here beside region away unknown"),
        (SAME_ZONE, "here beside region away unknown", "here beside"),
        (SAME_ZONE, "region away unknown", "region"),
        (SAME_ZONE, "away unknown", "away unknown"),
        (SAME_NODE, "here beside region away unknown", "here"),
        (SAME_NODE, "beside region away unknown", "beside"),
        (SAME_NODE, "", ""),
        (LOCAL, "here beside region away unknown", "here"),
        (LOCAL, "beside unknown", ""),
    ],
)
def test_the_nearest(distribution: Distribution, among: str, expected: str) -> None:
    places = {name: PLACES[name] for name in among.split()}
    assert nearest(distribution, places, HERE) == expected.split()


@pytest.mark.parametrize("distribution", [SAME_ZONE, SAME_NODE])
def test_who_is_nowhere_is_near_to_what_is(distribution: Distribution) -> None:
    assert nearest(distribution, PLACES, NOWHERE) == ["unknown"]
