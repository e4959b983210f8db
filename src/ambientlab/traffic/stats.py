"""Exact tests of counts against expected shares.

A split is judged by the probability, if the expected shares were true, of seeing counts as unlikely as the observed
ones or more so. That is the exact multinomial test, for two classes the exact two-sided binomial test, with outcomes
ordered by their probability (R: binom.test; XNomial's "LLR" is another ordering). No approximation, no tolerance: the
one number to choose is how often a true split may be called false.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MAX_OUTCOMES = 500_000
"""Of a test: the enumeration takes about a second at this many."""

_TIE = 1 + 1e-7  # probabilities this close are equal but for rounding, as R's binom.test has it


def outcomes(total: int, classes: int) -> int:
    """How many different counts `total` requests in `classes` classes can give."""
    return math.comb(total + classes - 1, classes - 1) if classes else 1


def p_value(observed: Sequence[int], shares: Sequence[float]) -> float:
    """The exact multinomial test. `shares` need not be normalised; a class of share 0 that was seen gives 0.

    Raises ValueError for counts or shares that are none, and where there are more outcomes than MAX_OUTCOMES.
    """
    if len(observed) != len(shares) or not shares or min(observed) < 0 or min(shares) < 0 or not sum(shares):
        raise ValueError("counts and shares are as many, not negative, and some share is positive")
    if any(count and not share for count, share in zip(observed, shares, strict=True)):
        return 0.0
    pairs = [(count, share / sum(shares)) for count, share in zip(observed, shares, strict=True) if share]
    counts, probabilities = [count for count, _ in pairs], [share for _, share in pairs]
    total = sum(counts)
    if outcomes(total, len(counts)) > MAX_OUTCOMES:
        raise ValueError(f"{total} requests in {len(counts)} classes are too many for an exact test")
    return min(1.0, _tail(counts, probabilities, total))


def _tail(counts: Sequence[int], probabilities: Sequence[float], total: int) -> float:
    """Sums the probabilities of all counts no likelier than the observed."""
    log_factorial = [math.lgamma(n + 1) for n in range(total + 1)]
    # term[i][n]: what n requests of class i add to the logarithm of the probability, n! requests' worth apart
    terms = [[n * math.log(p) - log_factorial[n] for n in range(total + 1)] for p in probabilities]
    seen = sum(term[n] for term, n in zip(terms, counts, strict=True)) + math.log(_TIE)
    likely: list[float] = []
    last = len(terms) - 1

    def add(index: int, left: int, so_far: float) -> None:
        if index == last:
            if (value := so_far + terms[index][left]) <= seen:
                likely.append(math.exp(value + log_factorial[total]))
            return
        term = terms[index]
        for n in range(left + 1):
            add(index + 1, left - n, so_far + term[n])

    add(0, total, 0.0)
    return math.fsum(likely)


def interval(count: int, total: int) -> tuple[float, float]:
    """Where the true share is, with a confidence of 95 %: Wilson's score interval (Brown, Cai, DasGupta 2001, "Interval
    Estimation for a Binomial Proportion")."""
    if not total:
        return 0.0, 1.0
    z = 1.959964
    share = count / total
    middle = share + z * z / (2 * total)
    width = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def likelihood(observed: Sequence[int], shares: Sequence[float]) -> tuple[float, str]:
    """`p_value` and the name of the test. Where there are too many outcomes for it, each class is tested alone and the
    least p multiplied by their number (Bonferroni), which errs towards what is expected."""
    total = sum(observed)
    if outcomes(total, sum(1 for share in shares if share)) <= MAX_OUTCOMES:
        return p_value(observed, shares), "binomial" if len(shares) == 2 else "multinomial"
    whole = sum(shares)
    each = [p_value([n, total - n], [s, whole - s]) for n, s in zip(observed, shares, strict=True) if s or n]
    return min(1.0, len(each) * min(each)), "binomial, Bonferroni"
