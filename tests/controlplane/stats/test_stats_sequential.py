"""The always-valid interval: the published example, its dual p-value, and many looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.sequential import (
    difference_of_shares,
    look,
    mixture_half_width,
    mixture_interval,
    mixture_p_value,
)


def test_the_example_of_the_design_comes_out() -> None:
    ours = difference_of_shares(36_561, 42_055, 36_049, 41_870, tau=0.0066)
    points = [round(100 * end, 2) for end in (ours.value, ours.low, ours.high)]
    assert points == [0.84, 0.12, 1.55]


@pytest.mark.parametrize("variance", [1e-8, 1e-4, 0.3, 50.0])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_an_effect_at_the_border_of_the_interval_has_p_equal_to_alpha(
    variance: float, alpha: float
) -> None:
    half = mixture_half_width(variance, tau=0.02, alpha=alpha)
    assert mixture_p_value(half, variance, tau=0.02) == pytest.approx(alpha)
    assert mixture_p_value(half * 0.99, variance, tau=0.02) > alpha


def test_the_interval_is_the_formula_of_the_paper() -> None:
    variance, tau, alpha = 4e-4, 0.03, 0.05
    wider = variance + tau**2
    expected = math.sqrt(
        variance * wider / tau**2 * (2 * math.log(1 / alpha) + math.log(wider / variance))
    )
    ours = mixture_interval(0.1, variance, tau=tau, alpha=alpha)
    assert (ours.low, ours.high) == pytest.approx((0.1 - expected, 0.1 + expected))


def test_two_hundred_looks_at_no_difference_seldom_alarm() -> None:
    """A/A at 10 %: the naive test alarms in about 4 of 10 runs, the mixture in under 1 of 20."""
    generator = np.random.default_rng(20)
    runs, looks, per_look = 400, 200, 100
    counts = generator.binomial(per_look, 0.1, size=(2, runs, looks)).cumsum(axis=2)
    trials = per_look * np.arange(1, looks + 1)
    alarmed = naive = 0
    for first, second in zip(counts[0], counts[1], strict=True):
        shares = first / trials, second / trials
        variances = (shares[0] * (1 - shares[0]) + shares[1] * (1 - shares[1])) / trials
        effects = shares[0] - shares[1]
        naive += bool((np.abs(effects) > 1.96 * np.sqrt(variances)).any())
        alarmed += any(
            mixture_p_value(float(effect), float(variance), tau=0.02) < 0.05
            for effect, variance in zip(effects, variances, strict=True)
            if variance > 0
        )
    assert alarmed / runs <= 0.05
    assert naive / runs >= 0.3


def test_looks_only_ever_narrow_the_interval_and_lower_p() -> None:
    first = look(None, 0.05, 4e-4, tau=0.03, alpha=0.05)
    second = look(first, 0.01, 4e-4, tau=0.03, alpha=0.05)
    assert second.low == first.low
    assert second.high < first.high
    assert second.p_value == first.p_value
    assert (second.looks, second.is_consistent) == (2, True)


def test_intervals_that_no_longer_overlap_are_said_to_be_inconsistent() -> None:
    first = look(None, 0.5, 1e-4, tau=0.03, alpha=0.05)
    second = look(first, -0.5, 1e-4, tau=0.03, alpha=0.05)
    assert not second.is_consistent
    assert second.low < -0.5 < second.high < 0
    assert not look(second, -0.5, 1e-4, tau=0.03, alpha=0.05).is_consistent


def test_without_variance_or_size_nothing_is_said() -> None:
    with pytest.raises(UndefinedStatistic, match="no variance yet"):
        difference_of_shares(0, 10, 0, 20, tau=0.01)
    with pytest.raises(UndefinedStatistic, match="no trials"):
        difference_of_shares(0, 0, 0, 20, tau=0.01)
    with pytest.raises(ValueError, match="must be above 0"):
        mixture_p_value(0.1, 0.1, tau=0.0)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        mixture_half_width(0.1, tau=0.1, alpha=0.0)
