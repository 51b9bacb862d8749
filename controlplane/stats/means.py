"""Intervals for a mean and for the difference of two means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    Interval,
    UndefinedStatistic,
    critical_value,
)


@dataclass(frozen=True, slots=True)
class SampleMoments:
    """What the mean of a sample needs: its size, mean and unbiased variance (n − 1)."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> SampleMoments:
        """Summarise a sample.

        Raises:
            UndefinedStatistic: fewer than two values, or one that is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.size < 2:
            raise UndefinedStatistic("A variance needs at least two values.")
        if not np.isfinite(array).all():
            raise UndefinedStatistic("A mean needs finite values.")
        return cls(int(array.size), float(array.mean()), float(array.var(ddof=1)))

    @classmethod
    def from_sums(cls, *, n: int, total: float, total_of_squares: float) -> SampleMoments:
        """Summarise a sample of which only the sums were kept (mergeable tallies).

        Raises:
            UndefinedStatistic: fewer than two values.
        """
        if n < 2:
            raise UndefinedStatistic("A variance needs at least two values.")
        mean = total / n
        return cls(n, mean, max(0.0, total_of_squares - n * mean * mean) / (n - 1))


@dataclass(frozen=True, slots=True)
class WelchDifference:
    """First mean − second mean; `p_value` tests that it is 0, two-sided."""

    value: float
    low: float
    high: float
    p_value: float
    degrees_of_freedom: float


def mean_interval(sample: SampleMoments, *, confidence: float = DEFAULT_CONFIDENCE) -> Interval:
    """Return the mean with its normal interval, as the central limit theorem allows for large n."""
    half = critical_value(confidence) * math.sqrt(sample.variance / sample.n)
    return Interval(sample.mean, sample.mean - half, sample.mean + half)


def welch_difference(
    first: SampleMoments, second: SampleMoments, *, confidence: float = DEFAULT_CONFIDENCE
) -> WelchDifference:
    """Compare two means without assuming equal variances.

    Raises:
        UndefinedStatistic: both samples are constant, so that there is no variance to judge by.
    """
    if not 0 < confidence < 1:
        raise ValueError("A confidence level lies strictly between 0 and 1.")
    share, other = first.variance / first.n, second.variance / second.n
    variance = share + other
    if variance <= 0:
        raise UndefinedStatistic("Both samples are constant: the difference has no variance.")
    freedom = variance**2 / (share**2 / (first.n - 1) + other**2 / (second.n - 1))
    difference = first.mean - second.mean
    error = math.sqrt(variance)
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    p_value = float(2 * stdtr(freedom, -abs(difference) / error))
    return WelchDifference(difference, difference - half, difference + half, p_value, freedom)
