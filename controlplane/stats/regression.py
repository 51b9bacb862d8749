"""How well numbers were predicted: MAE, RMSE and R², with the same bootstrap as classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from controlplane.stats import bootstrap
from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    Estimate,
    FloatArray,
    IntArray,
    PairedEstimates,
    UndefinedStatistic,
)


class RegressionMetric(StrEnum):
    """MAE and RMSE have the unit of the target, and less is better; R² has none, 1 is best."""

    MAE = "mae"
    RMSE = "rmse"
    R2 = "r2"


@dataclass(frozen=True, slots=True, eq=False)
class PredictedRows:
    """Rows with a true and a predicted number."""

    targets: FloatArray
    predictions: FloatArray

    @classmethod
    def of(cls, targets: npt.ArrayLike, predictions: npt.ArrayLike) -> PredictedRows:
        """Check and keep.

        Raises:
            UndefinedStatistic: there are no rows.
            ValueError: lengths differ, or a value is not a finite number.
        """
        truth = np.asarray(targets, dtype=np.float64)
        predicted = np.asarray(predictions, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != predicted.shape:
            raise ValueError("Targets and predictions must be two columns of the same length.")
        if not truth.size:
            raise UndefinedStatistic("A metric of no rows is undefined.")
        if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
            raise ValueError("A target or a prediction is missing or not a finite number.")
        return cls(truth, predicted)

    @property
    def n(self) -> int:
        """The number of rows."""
        return int(self.targets.size)


def value(metric: RegressionMetric, rows: PredictedRows) -> float:
    """Return the metric of the rows as they are.

    Raises:
        UndefinedStatistic: R² of targets that are all the same.
    """
    result = float(_statistic(metric, rows)(bootstrap.single_rows(rows.n)[:, np.newaxis])[0])
    if np.isnan(result):
        raise UndefinedStatistic("R² is undefined: all targets are the same.")
    return result


def estimate(
    metric: RegressionMetric,
    rows: PredictedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Return the metric with its bootstrap interval."""
    return bootstrap.estimate(
        _statistic(metric, rows),
        bootstrap.single_rows(rows.n),
        seed=seed,
        draws=draws,
        confidence=confidence,
    )


def paired_estimates(
    metric: RegressionMetric,
    candidate: PredictedRows,
    live: PredictedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> PairedEstimates:
    """Return candidate, live and their difference on the same rows in the same order.

    Raises:
        ValueError: the two sides are not the same rows.
    """
    if not np.array_equal(candidate.targets, live.targets):
        raise ValueError("A paired comparison needs the same rows on both sides.")
    return bootstrap.paired_estimates(
        _statistic(metric, candidate),
        _statistic(metric, live),
        bootstrap.single_rows(candidate.n),
        seed=seed,
        draws=draws,
        confidence=confidence,
    )


def _statistic(metric: RegressionMetric, rows: PredictedRows) -> bootstrap.Statistic:
    errors = rows.predictions - rows.targets
    # Centred first: the sum of squares of large targets would cancel away the variance.
    centred = rows.targets - rows.targets.mean()
    terms = np.stack([np.abs(errors), errors**2, centred, centred**2, np.ones_like(errors)])

    def statistic(weights: IntArray) -> FloatArray:
        absolute, squared, total, total_squared, n = terms @ weights.astype(np.float64)
        if metric is RegressionMetric.MAE:
            return np.asarray(absolute / n)
        if metric is RegressionMetric.RMSE:
            return np.asarray(np.sqrt(squared / n))
        spread = total_squared - total**2 / n
        # A resample of equal targets leaves rounding noise, not a spread.
        has_spread = spread > 1e-12 * np.maximum(total_squared, centred.var())
        result = np.full(weights.shape[1], np.nan)
        np.divide(squared, spread, out=result, where=has_spread)
        return np.asarray(1 - result, dtype=np.float64)

    return statistic
