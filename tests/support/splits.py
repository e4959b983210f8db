"""Whether counted answers fit expected shares: the exact multinomial test, at one significance for the whole suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ambientlab.traffic import stats

# A true split is called false once in a million samples: forty of them in a run, and CI is wrong once in 25,000 runs.
SIGNIFICANCE = 1e-6


def fits(answers: Iterable[str], shares: Mapping[str, float]) -> None:
    """Assert that the answers are the named ones in these shares, and no others. There have to be some."""
    counts = Counter(answers)
    assert counts
    names = [*shares, *(name for name in counts if name not in shares)]
    p = stats.p_value([counts[name] for name in names], [shares.get(name, 0.0) for name in names])
    assert p >= SIGNIFICANCE, f"{dict(counts)} does not fit {dict(shares)}: p={p:.3g}"
