"""Score predicted numbers: MAE, RMSE, R²."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from controlplane.stats import bootstrap, regression
from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    FloatArray,
    IntArray,
    UndefinedStatistic,
)
from controlplane.stats.regression import PredictedRows, RegressionMetric
from experiments.scoring.cards import MetricScore, Numbers, ScoreCard, ScoringError, SliceScore
from experiments.scoring.slices import SliceColumn, score_slices

TITLES = {
    RegressionMetric.MAE: ("Mean absolute error", "lower"),
    RegressionMetric.RMSE: ("Root mean squared error", "lower"),
    RegressionMetric.R2: ("R²", "higher"),
}


def score_regression(
    targets: npt.ArrayLike,
    candidate: npt.ArrayLike,
    live: npt.ArrayLike | None = None,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
    slices: tuple[SliceColumn, ...] = (),
) -> ScoreCard:
    """Return the card of predicted numbers; slices show the mean absolute error.

    Raises:
        ScoringError: targets and predictions do not fit together.
    """
    truth = _column(targets, "targets")
    rows = {"candidate": _rows(truth, candidate, "candidate")}
    if live is not None:
        rows["live"] = _rows(truth, live, "live version")
    notes: list[str] = []
    metrics: list[MetricScore] = []
    for metric, (title, direction) in TITLES.items():
        try:
            found = _paired(metric, rows, seed=seed, draws=draws, confidence=confidence)
        except UndefinedStatistic:
            notes.append(f"{title} is undefined: all targets are the same.")
            continue
        metrics.append(MetricScore(metric.value, title, direction, *found))

    def score_slice(column: str, value: str, members: IntArray) -> SliceScore:
        part = {
            who: PredictedRows(side.targets[members], side.predictions[members])
            for who, side in rows.items()
        }
        numbers = _paired(RegressionMetric.MAE, part, seed=seed, draws=draws, confidence=confidence)
        return SliceScore(column, value, int(members.size), *numbers)

    scored, said = score_slices(slices, int(truth.size), score_slice)
    return ScoreCard(
        task="regression",
        rows=int(truth.size),
        seed=seed,
        draws=draws,
        confidence=confidence,
        metrics=tuple(metrics),
        slices=scored,
        notes=(*notes, *said),
    )


def _paired(
    metric: RegressionMetric,
    rows: dict[str, PredictedRows],
    *,
    seed: int,
    draws: int,
    confidence: float,
) -> tuple[Numbers, Numbers | None, Numbers | None]:
    if "live" not in rows:
        alone = regression.estimate(
            metric, rows["candidate"], seed=seed, draws=draws, confidence=confidence
        )
        return Numbers.of(alone), None, None
    both = regression.paired_estimates(
        metric, rows["candidate"], rows["live"], seed=seed, draws=draws, confidence=confidence
    )
    return Numbers.of(both.candidate), Numbers.of(both.live), Numbers.of(both.difference)


def _rows(truth: FloatArray, predictions: npt.ArrayLike, who: str) -> PredictedRows:
    column = _column(predictions, f"predictions of the {who}")
    if column.size != truth.size:
        raise ScoringError(f"The {who} answered {column.size} rows, the holdout has {truth.size}.")
    return PredictedRows(truth, column)


def _column(values: npt.ArrayLike, what: str) -> FloatArray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScoringError(f"The {what} must be numbers.") from error
    if column.ndim != 1:
        raise ScoringError(f"The {what} must be one column.")
    if not column.size:
        raise ScoringError(f"The {what} have no rows.")
    if not np.isfinite(column).all():
        row = int(np.flatnonzero(~np.isfinite(column))[0]) + 1
        raise ScoringError(f"Row {row} of the {what} is missing or not a finite number.")
    return column
