"""The values that statistics hand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

DEFAULT_CONFIDENCE = 0.95


class UndefinedStatistic(ValueError):
    """The data cannot answer the question, for example an average over no rows.

    The message is a sentence that can be shown to people.
    """


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the two ends of its interval, `low` ≤ `high`."""

    value: float
    low: float
    high: float

    def contains(self, number: float) -> bool:
        """Whether the number lies inside the interval, ends included."""
        return self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on `n` rows with the percentile interval of `draws` seeded resamples."""

    value: float
    low: float
    high: float
    n: int
    draws: int
    seed: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of the candidate minus the same metric of live, resampled on the same rows."""

    value: float
    low: float
    high: float
    n: int
    draws: int
    seed: int


@dataclass(frozen=True, slots=True)
class PairedEstimates:
    """Both sides of a comparison and their difference, all from the same resamples."""

    candidate: Estimate
    live: Estimate
    difference: Difference


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test statistic with its two-sided p-value."""

    # pytest collects classes by this prefix; this one is a result, not a test.
    __test__ = False

    statistic: float
    p_value: float


def critical_value(confidence: float) -> float:
    """Return the two-sided standard normal quantile, 1.96 for 0.95.

    Raises:
        ValueError: the confidence is not strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError("A confidence level lies strictly between 0 and 1.")
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))
