"""Intervals and tests for one share and for the difference of two independent shares."""

from __future__ import annotations

import math
from collections.abc import Callable

from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    Interval,
    TestResult,
    UndefinedStatistic,
    critical_value,
)


def wilson_interval(
    successes: int, trials: int, *, confidence: float = DEFAULT_CONFIDENCE
) -> Interval:
    """Return the share with its Wilson score interval; it never leaves 0..1 and never has width 0.

    Raises:
        UndefinedStatistic: there are no trials.
        ValueError: the counts contradict each other.
    """
    _check(successes, trials)
    z = critical_value(confidence)
    share = successes / trials
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At the borders the exact ends are 0 and 1; floating point would miss them by 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(share, low, high)


def newcombe_interval(
    successes: int,
    trials: int,
    other_successes: int,
    other_trials: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Interval:
    """Return first share − second share with Newcombe's hybrid score interval (method 10).

    Raises:
        UndefinedStatistic: one side has no trials.
    """
    first = wilson_interval(successes, trials, confidence=confidence)
    second = wilson_interval(other_successes, other_trials, confidence=confidence)
    difference = first.value - second.value
    return Interval(
        difference,
        difference - math.hypot(first.value - first.low, second.high - second.value),
        difference + math.hypot(first.high - first.value, second.value - second.low),
    )


def miettinen_nurminen_interval(
    successes: int,
    trials: int,
    other_successes: int,
    other_trials: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Interval:
    """Return first share − second share with the score interval of Miettinen and Nurminen (1985).

    The variance is the restricted maximum-likelihood one times N/(N−1).

    Raises:
        UndefinedStatistic: one side has no trials.
    """
    _check(successes, trials)
    _check(other_successes, other_trials)
    z = critical_value(confidence)
    difference = successes / trials - other_successes / other_trials

    def distance(delta: float) -> float:
        variance = _restricted_variance(delta, successes, trials, other_successes, other_trials)
        if variance <= 0:
            return math.inf if difference != delta else -z
        return abs(difference - delta) / math.sqrt(variance) - z

    return Interval(
        difference,
        _root_between(distance, -1.0, difference, fallback=-1.0),
        _root_between(distance, difference, 1.0, fallback=1.0),
    )


def paired_newcombe_interval(
    both: int,
    only_first: int,
    only_second: int,
    neither: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Interval:
    """Return first share − second share of the *same* trials (Newcombe 1998, paired method 10).

    Keeps a width where both sides agree on every trial, which a bootstrap does not: on few trials
    agreement so far does not show that they always agree.

    Raises:
        UndefinedStatistic: there are no trials.
    """
    trials = both + only_first + only_second + neither
    first = wilson_interval(both + only_first, trials, confidence=confidence)
    second = wilson_interval(both + only_second, trials, confidence=confidence)
    correlation = _corrected_phi(both, only_first, only_second, neither)
    difference = first.value - second.value

    def width(of_first: float, of_second: float) -> float:
        squared = of_first**2 - 2 * correlation * of_first * of_second + of_second**2
        return math.sqrt(max(0.0, squared))

    return Interval(
        difference,
        difference - width(first.value - first.low, second.high - second.value),
        difference + width(first.high - first.value, second.value - second.low),
    )


def pooled_z_test(
    successes: int, trials: int, other_successes: int, other_trials: int
) -> TestResult:
    """Test that two shares are equal, with the variance of the pooled share; z > 0: first larger.

    When both shares are 0, or both are 1, nothing distinguishes them: z is 0 and p is 1.

    Raises:
        UndefinedStatistic: one side has no trials.
    """
    _check(successes, trials)
    _check(other_successes, other_trials)
    pooled = (successes + other_successes) / (trials + other_trials)
    if pooled in (0.0, 1.0):
        return TestResult(statistic=0.0, p_value=1.0)
    error = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    z = (successes / trials - other_successes / other_trials) / error
    from scipy.special import ndtr

    return TestResult(statistic=z, p_value=float(2 * ndtr(-abs(z))))


def _check(successes: int, trials: int) -> None:
    if trials == 0:
        raise UndefinedStatistic("A share of nothing is undefined: there are no trials.")
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is impossible.")


def _corrected_phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Correlation of the two sides, a positive one reduced for continuity."""
    product = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    if not product:
        return 0.0
    agreement = float(both * neither - only_first * only_second)
    half = (both + only_first + only_second + neither) / 2
    if agreement > 0:
        agreement = max(0.0, agreement - half)
    return agreement / math.sqrt(product)


def _restricted_variance(delta: float, x1: int, n1: int, x2: int, n2: int) -> float:
    """Variance of p1 − p2 where p1 − p2 is held at delta (closed form of the cubic)."""
    total = n1 + n2
    l2 = (n1 + 2 * n2) * delta - total - (x1 + x2)
    l1 = (n2 * delta - total - 2 * x2) * delta + x1 + x2
    l0 = x2 * delta * (1 - delta)
    third = l2 / (3 * total)
    q = third**3 - l1 * l2 / (6 * total**2) + l0 / (2 * total)
    p = math.copysign(math.sqrt(max(0.0, third**2 - l1 / (3 * total))), q)
    ratio = q / p**3 if p else 1.0
    angle = (math.pi + math.acos(min(1.0, max(-1.0, ratio)))) / 3
    share2 = min(1.0, max(0.0, 2 * p * math.cos(angle) - third))
    share1 = min(1.0, max(0.0, share2 + delta))
    plain = share1 * (1 - share1) / n1 + share2 * (1 - share2) / n2
    return plain * total / (total - 1)


def _root_between(
    function: Callable[[float], float], low: float, high: float, *, fallback: float
) -> float:
    """Return the zero between two points, or the fallback where the border is still inside."""
    edge = 1e-12
    low, high = max(low, -1 + edge), min(high, 1 - edge)
    if low >= high or function(low) * function(high) > 0:
        return fallback
    # Imported here: it takes 24 MB, in each of the many processes that know this module.
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-12))
