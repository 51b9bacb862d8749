"""One-versus-rest ROC AUC from ranks, with ties counted half, for one or many weightings at once.

The AUC of a class is the probability that a row of the class scores above a row of another class.
With weights it follows from cumulative weights in score order: no threshold is ever tried.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, eq=False)
class RankedRows:
    """Rows with the position of their true class and one probability per class."""

    labels: IntArray
    probabilities: FloatArray

    @classmethod
    def of(cls, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> RankedRows:
        """Check and keep; `labels` are column numbers of `probabilities`.

        Raises:
            UndefinedStatistic: there are no rows.
            ValueError: shapes do not fit, a label has no column, or a value is not finite.
        """
        codes = np.asarray(labels, dtype=np.int64)
        scores = np.asarray(probabilities, dtype=np.float64)
        if scores.ndim != 2 or codes.ndim != 1 or scores.shape[0] != codes.size:
            raise ValueError("Each row needs one label and one probability per class.")
        if not codes.size:
            raise UndefinedStatistic("A metric of no rows is undefined.")
        if codes.min() < 0 or codes.max() >= scores.shape[1]:
            raise ValueError("Each label needs its own column of probabilities.")
        if not np.isfinite(scores).all():
            raise ValueError("A probability is missing or not a finite number.")
        return cls(codes, scores)


def class_aucs(rows: RankedRows) -> tuple[float | None, ...]:
    """Return the AUC of every class against the rest; None where a side has no rows."""
    one = bootstrap.single_rows(rows.labels.size)[:, np.newaxis]
    values = [float(curve(one)[0]) for curve in _curves(rows)]
    return tuple(None if np.isnan(value) else value for value in values)


def macro_auc(rows: RankedRows) -> float:
    """Return the mean AUC over the classes for which it is defined.

    Raises:
        UndefinedStatistic: all rows have the same label.
    """
    defined = [value for value in class_aucs(rows) if value is not None]
    if not defined:
        raise UndefinedStatistic("ROC AUC is undefined: all rows have the same label.")
    return float(np.mean(defined))


def estimate(
    rows: RankedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Return the macro AUC with its bootstrap interval.

    A resample that misses a class averages over the classes it has.
    """
    return bootstrap.estimate(
        _statistic(rows),
        bootstrap.single_rows(rows.labels.size),
        seed=seed,
        draws=draws,
        confidence=confidence,
    )


def paired_estimates(
    candidate: RankedRows,
    live: RankedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> PairedEstimates:
    """Return candidate, live and their difference on the same rows in the same order.

    Raises:
        ValueError: the two sides are not the same rows.
    """
    if not np.array_equal(candidate.labels, live.labels):
        raise ValueError("A paired comparison needs the same rows on both sides.")
    return bootstrap.paired_estimates(
        _statistic(candidate),
        _statistic(live),
        bootstrap.single_rows(candidate.labels.size),
        seed=seed,
        draws=draws,
        confidence=confidence,
    )


def _curves(rows: RankedRows) -> list[bootstrap.Statistic]:
    return [
        _curve(rows.probabilities[:, column], rows.labels == column)
        for column in range(rows.probabilities.shape[1])
    ]


def _curve(scores: FloatArray, is_positive: npt.NDArray[np.bool_]) -> bootstrap.Statistic:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    positives = np.flatnonzero(is_positive)
    first_tie = np.searchsorted(ordered, scores[positives], side="left")
    after_tie = np.searchsorted(ordered, scores[positives], side="right")

    def auc(weights: IntArray) -> FloatArray:
        below = np.zeros((scores.size + 1, weights.shape[1]), dtype=np.int64)
        np.cumsum(weights[order], axis=0, out=below[1:])
        own = weights[positives]
        positive = own.sum(axis=0)
        negative = below[-1] - positive
        # Each positive beats the weight below it and half of its ties; the positives among these
        # amount to exactly positive² / 2. Everything is doubled to stay in exact integers.
        won = (own * (below[first_tie] + below[after_tie])).sum(axis=0) - positive * positive
        pairs = 2 * positive * negative
        result = np.full(weights.shape[1], np.nan)
        np.divide(won, pairs, out=result, where=pairs > 0)
        return result

    return auc


def _statistic(rows: RankedRows) -> bootstrap.Statistic:
    curves = _curves(rows)

    def macro(weights: IntArray) -> FloatArray:
        values = np.stack([curve(weights) for curve in curves])
        defined = np.isfinite(values)
        count = defined.sum(axis=0)
        result = np.full(weights.shape[1], np.nan)
        np.divide(np.where(defined, values, 0.0).sum(axis=0), count, out=result, where=count > 0)
        return result

    return macro
