"""Means and differences of means, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.means import SampleMoments, mean_interval, welch_difference


def test_welch_is_that_of_scipy() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(3, 1, 25), generator.normal(2.5, 4, 60)
    expected = stats.ttest_ind(first, second, equal_var=False)
    ends = expected.confidence_interval(0.9)
    ours = welch_difference(SampleMoments.of(first), SampleMoments.of(second), confidence=0.9)
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high))
    assert ours.p_value == pytest.approx(expected.pvalue)
    assert ours.degrees_of_freedom == pytest.approx(expected.df)
    assert ours.value == pytest.approx(first.mean() - second.mean())


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    sample = np.random.default_rng(4).exponential(2, 500)
    low, high = stats.norm.interval(0.95, loc=sample.mean(), scale=stats.sem(sample))
    ours = mean_interval(SampleMoments.of(sample))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_sums_tell_as_much_as_the_values() -> None:
    values = np.random.default_rng(5).normal(10, 3, 200)
    sums = SampleMoments.from_sums(
        n=200, total=float(values.sum()), total_of_squares=float((values**2).sum())
    )
    direct = SampleMoments.of(values)
    assert (sums.mean, sums.variance) == pytest.approx((direct.mean, direct.variance))


def test_what_has_no_variance_is_undefined() -> None:
    constant = SampleMoments.of([4.0, 4.0])
    with pytest.raises(UndefinedStatistic, match="Both samples are constant"):
        welch_difference(constant, constant)
    with pytest.raises(UndefinedStatistic, match="at least two values"):
        SampleMoments.of([4.0])
    with pytest.raises(UndefinedStatistic, match="at least two values"):
        SampleMoments.from_sums(n=1, total=4.0, total_of_squares=16.0)
    with pytest.raises(UndefinedStatistic, match="finite values"):
        SampleMoments.of([4.0, float("nan")])
