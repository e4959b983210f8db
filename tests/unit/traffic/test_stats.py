from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.labs.traffic import SIGNIFICANCE
from ambientlab.traffic import stats


def brute_force(observed: list[int], shares: list[int]) -> Fraction:
    """The definition itself, in exact fractions over every possible count."""
    total, whole = sum(observed), sum(shares)

    def probability(counts: tuple[int, ...]) -> Fraction:
        ways = math.factorial(total)
        for count in counts:
            ways //= math.factorial(count)
        result = Fraction(ways)
        for count, share in zip(counts, shares, strict=True):
            result *= Fraction(share, whole) ** count
        return result

    seen = probability(tuple(observed))
    every = (c for c in itertools.product(range(total + 1), repeat=len(shares)) if sum(c) == total)
    return sum((p for counts in every if (p := probability(counts)) <= seen), Fraction())


@given(
    st.integers(1, 3).flatmap(
        lambda classes: st.tuples(
            st.lists(st.integers(0, 5), min_size=classes, max_size=classes),
            st.lists(st.integers(0, 9), min_size=classes, max_size=classes).filter(any),
        )
    )
)
def test_agrees_with_the_definition(case: tuple[list[int], list[int]]) -> None:
    observed, shares = case
    assert stats.p_value(observed, shares) == pytest.approx(float(brute_force(observed, shares)), rel=1e-9)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=3), st.permutations([0, 1, 2]))
def test_the_order_of_classes_means_nothing(observed: list[int], order: list[int]) -> None:
    shares = [10.0, 20.0, 70.0][: len(observed)]
    shuffled = [index for index in order if index < len(observed)]
    assert stats.p_value([observed[i] for i in shuffled], [shares[i] for i in shuffled]) == pytest.approx(
        stats.p_value(observed, shares)
    )


def test_known_values() -> None:
    assert stats.p_value([7, 3], [50, 50]) == pytest.approx(0.34375)  # R: binom.test(7, 10)
    assert stats.p_value([682, 243], [3, 1]) == pytest.approx(0.3825, abs=1e-4)  # R: binom.test(682, 925, p = 3/4)


def test_what_a_lab_has_to_tell_apart() -> None:
    assert stats.p_value([190, 10], [95, 5]) > 0.5
    assert stats.p_value([103, 97], [50, 50]) > 0.5
    assert stats.p_value([100, 100], [95, 5]) < 1e-9
    assert stats.p_value([190, 10], [50, 50]) < 1e-9


def test_a_true_split_is_called_false_as_seldom_as_promised() -> None:
    rejected = sum(
        math.comb(200, v2) * 0.95 ** (200 - v2) * 0.05**v2
        for v2 in range(201)
        if stats.p_value([200 - v2, v2], [95, 5]) < SIGNIFICANCE
    )
    assert 0 < rejected <= SIGNIFICANCE


def test_a_class_of_no_share() -> None:
    assert stats.p_value([80, 20, 0], [80, 20, 0]) == stats.p_value([80, 20], [80, 20])
    assert stats.p_value([80, 20, 1], [80, 20, 0]) == 0
    assert stats.p_value([100], [100]) == 1


@pytest.mark.parametrize(
    ("observed", "shares"), [([], []), ([1], [1, 2]), ([-1], [1]), ([1], [-1]), ([1], [0]), ([2000] * 3, [1, 1, 1])]
)
def test_what_cannot_be_tested(observed: list[int], shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"counts|exact"):
        stats.p_value(observed, shares)
