"""Regression metrics and their bootstrap, against scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from controlplane.stats import regression
from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.regression import PredictedRows, RegressionMetric

Floats = npt.NDArray[np.float64]


def predicted(seed: int, *, n: int = 500, noise: float = 5.0) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    targets = generator.normal(1_000_000, 20, n)
    return targets, targets + generator.normal(0.5, noise, n)


def test_metrics_are_those_of_scikit_learn() -> None:
    targets, predictions = predicted(1)
    rows = PredictedRows.of(targets, predictions)
    expected = {
        RegressionMetric.MAE: metrics.mean_absolute_error(targets, predictions),
        RegressionMetric.RMSE: metrics.root_mean_squared_error(targets, predictions),
        RegressionMetric.R2: metrics.r2_score(targets, predictions),
    }
    for metric, value in expected.items():
        assert regression.value(metric, rows) == pytest.approx(value, rel=1e-9)
        estimate = regression.estimate(metric, rows, seed=1)
        assert estimate.value == pytest.approx(value, rel=1e-9)
        assert estimate.low < value < estimate.high


def test_the_interval_is_that_of_a_row_by_row_bootstrap() -> None:
    targets, predictions = predicted(2, n=200)
    ours = regression.estimate(
        RegressionMetric.R2, PredictedRows.of(targets, predictions), seed=1, draws=4000
    )
    generator = np.random.default_rng(3)
    drawn = []
    for _ in range(3000):
        rows = generator.integers(0, 200, 200)
        drawn.append(metrics.r2_score(targets[rows], predictions[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.003)


def test_the_difference_is_paired() -> None:
    targets, predictions = predicted(4)
    closer = targets + (predictions - targets) * 0.9
    pair = regression.paired_estimates(
        RegressionMetric.MAE,
        PredictedRows.of(targets, closer),
        PredictedRows.of(targets, predictions),
        seed=1,
    )
    assert pair.difference.value == pytest.approx(-0.1 * pair.live.value)
    assert pair.difference.high < 0
    assert pair.difference.high - pair.difference.low < pair.live.high - pair.live.low


def test_equal_targets_leave_r2_undefined() -> None:
    rows = PredictedRows.of(np.full(5, 0.1), np.arange(5.0))
    with pytest.raises(UndefinedStatistic, match="all targets are the same"):
        regression.value(RegressionMetric.R2, rows)
    with pytest.raises(UndefinedStatistic):
        regression.estimate(RegressionMetric.R2, rows, seed=1)
    assert regression.value(RegressionMetric.MAE, rows) == pytest.approx(1.94)


def test_rows_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="same length"):
        PredictedRows.of([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not a finite number"):
        PredictedRows.of([1.0], [float("inf")])
    with pytest.raises(UndefinedStatistic, match="no rows"):
        PredictedRows.of([], [])
    with pytest.raises(ValueError, match="same rows"):
        regression.paired_estimates(
            RegressionMetric.MAE,
            PredictedRows.of([1.0], [1.0]),
            PredictedRows.of([2.0], [1.0]),
            seed=1,
        )
