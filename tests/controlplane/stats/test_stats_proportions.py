"""Shares and differences of shares, against scipy and the tables of Newcombe (1998)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.proportions import (
    miettinen_nurminen_interval,
    newcombe_interval,
    paired_newcombe_interval,
    pooled_z_test,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (351, 900)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_wilson_is_that_of_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(successes, trials, confidence=confidence)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert ours.contains(ours.value)


@pytest.mark.parametrize(
    ("counts", "hybrid", "score"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339), (0.0528, 0.3382)),
        ((9, 10, 3, 10), (0.1705, 0.8090), (0.1700, 0.8406)),
        ((6, 7, 2, 7), (0.0582, 0.8062), (0.0342, 0.8534)),
        ((5, 56, 0, 29), (-0.0381, 0.1926), (-0.0326, 0.1933)),
        ((10, 10, 0, 20), (0.6791, 1.0), (0.7156, 1.0)),
        ((10, 10, 0, 10), (0.6075, 1.0), (0.6636, 1.0)),
    ],
)
def test_differences_are_those_that_newcombe_printed(
    counts: tuple[int, int, int, int], hybrid: tuple[float, float], score: tuple[float, float]
) -> None:
    method_10, method_6 = newcombe_interval(*counts), miettinen_nurminen_interval(*counts)
    assert (method_10.low, method_10.high) == pytest.approx(hybrid, abs=5.1e-5)
    assert (method_6.low, method_6.high) == pytest.approx(score, abs=5.1e-5)


@pytest.mark.parametrize("interval", [newcombe_interval, miettinen_nurminen_interval])
def test_swapping_the_sides_turns_the_interval_round(interval: object) -> None:
    assert callable(interval)
    for counts in [(3, 40, 9, 35), (0, 10, 0, 10), (12, 12, 5, 30), (1, 2, 1, 2)]:
        ours, turned = interval(*counts), interval(*counts[2:], *counts[:2])
        assert (ours.low, ours.high) == pytest.approx((-turned.high, -turned.low), abs=1e-9)
        assert -1 <= ours.low <= ours.value <= ours.high <= 1


def test_the_score_interval_covers_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    first = generator.binomial(60, 0.9, size=600)
    second = generator.binomial(45, 0.8, size=600)
    covered = [
        miettinen_nurminen_interval(int(a), 60, int(b), 45).contains(0.1)
        for a, b in zip(first, second, strict=True)
    ]
    assert 0.925 <= np.mean(covered) <= 0.975


def test_the_paired_difference_is_the_published_one() -> None:
    """Airway hyper-responsiveness before and after, in Fagerland, Lydersen and Laake (2014)."""
    ours = paired_newcombe_interval(1, 1, 7, 12)
    assert (ours.low, ours.high) == pytest.approx((-0.507, -0.026), abs=5.1e-4)


def test_the_paired_difference_is_a_mirror_and_covers() -> None:
    ours, turned = paired_newcombe_interval(60, 9, 3, 8), paired_newcombe_interval(60, 3, 9, 8)
    assert (ours.low, ours.high) == pytest.approx((-turned.high, -turned.low))
    tables = np.random.default_rng(5).multinomial(150, [0.8, 0.08, 0.04, 0.08], size=1000)
    covered = [paired_newcombe_interval(*table).contains(0.04) for table in tables.tolist()]
    assert np.mean(covered) >= 0.94


def test_full_agreement_of_a_pair_still_leaves_an_interval() -> None:
    ours = paired_newcombe_interval(45, 0, 0, 0)
    assert ours.value == 0
    assert ours.low == pytest.approx(-ours.high) == pytest.approx(-0.0787, abs=1e-4)


def test_the_pooled_z_test_is_the_chi_square_test_without_correction() -> None:
    expected = stats.chi2_contingency([[48, 32], [56, 14]], correction=False)
    ours = pooled_z_test(48, 80, 56, 70)
    assert ours.statistic < 0
    assert ours.statistic**2 == pytest.approx(expected.statistic)
    assert ours.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("errors", [0, 30])
def test_two_sides_without_any_variation_are_not_different(errors: int) -> None:
    result = pooled_z_test(errors, 30, errors, 30)
    assert (result.statistic, result.p_value) == (0.0, 1.0)


def test_a_share_of_nothing_is_refused_in_a_sentence() -> None:
    for call in (
        lambda: wilson_interval(0, 0),
        lambda: newcombe_interval(1, 2, 0, 0),
        lambda: miettinen_nurminen_interval(0, 0, 1, 2),
        lambda: pooled_z_test(0, 0, 1, 2),
    ):
        with pytest.raises(UndefinedStatistic, match="there are no trials"):
            call()


def test_impossible_counts_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="5 successes in 4 trials is impossible"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        wilson_interval(1, 4, confidence=1.0)
