"""How well classes were predicted: confusion matrix, accuracy, macro precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from controlplane.stats import bootstrap
from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    BoolArray,
    Estimate,
    FloatArray,
    IntArray,
    PairedEstimates,
    UndefinedStatistic,
)

Label = str | int | bool


class ClassMetric(StrEnum):
    """The metrics that a confusion matrix decides."""

    ACCURACY = "accuracy"
    PRECISION_MACRO = "precision_macro"
    RECALL_MACRO = "recall_macro"
    F1_MACRO = "f1_macro"


class UndefinedRule(StrEnum):
    """What a class whose value is 0/0 does to a macro average.

    `ZERO` counts it as 0, like scikit-learn's `zero_division=0`: a model that never predicts a
    class is not rewarded for it. `SKIP` averages over the classes that have a value.
    Classes that occur neither in labels nor in predictions are not part of the average at all.
    """

    ZERO = "zero"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedRows:
    """Rows with a true and a predicted class, both as positions in `classes`."""

    classes: tuple[Label, ...]
    labels: IntArray
    predictions: IntArray

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        predictions: npt.ArrayLike,
        *,
        classes: tuple[Label, ...] | None = None,
    ) -> ClassifiedRows:
        """Encode rows; without `classes` these are all that occur, in sorted order.

        Raises:
            UndefinedStatistic: there are no rows.
            ValueError: lengths differ, text meets numbers, or a class is not in `classes`.
        """
        truth, predicted = np.asarray(labels), np.asarray(predictions)
        if truth.ndim != 1 or truth.shape != predicted.shape:
            raise ValueError("Labels and predictions must be two columns of the same length.")
        if not truth.size:
            raise UndefinedStatistic("A metric of no rows is undefined.")
        if _is_text(truth) != _is_text(predicted):
            raise ValueError("Labels and predictions must both be text or both be numbers.")
        known = np.unique(np.concatenate([truth, predicted])) if classes is None else classes
        return cls(
            classes=tuple(known.tolist() if isinstance(known, np.ndarray) else known),
            labels=encode(truth, known),
            predictions=encode(predicted, known),
        )

    @property
    def n(self) -> int:
        """The number of rows."""
        return int(self.labels.size)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class; a value is None where it is 0/0."""

    label: Label
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """All metrics of the rows as they are; `undefined` says in sentences what was 0/0."""

    n: int
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    per_class: tuple[ClassScore, ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """What every metric is made of, per class and draw (classes × draws)."""

    correct: FloatArray
    support: FloatArray
    predicted: FloatArray


def encode(values: npt.ArrayLike, classes: npt.ArrayLike) -> IntArray:
    """Return the position of every value in `classes`.

    Raises:
        ValueError: a value is not among the classes.
    """
    column, known = np.asarray(values), np.asarray(classes)
    if column.size and _is_text(column) != _is_text(known):
        raise ValueError("The values and the classes must both be text or both be numbers.")
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known, column, sorter=order), known.size - 1)
    positions = order[at]
    strange = known[positions] != column
    if strange.any():
        raise ValueError(f"{column[strange][0]!s} is not one of the classes.")
    return positions.astype(np.int64)


def confusion_matrix(rows: ClassifiedRows) -> IntArray:
    """Return how often each class (row) was predicted as each class (column)."""
    size = len(rows.classes)
    cells = rows.labels * size + rows.predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size).astype(np.int64)


def report(
    rows: ClassifiedRows, *, undefined: UndefinedRule = UndefinedRule.ZERO
) -> ClassificationReport:
    """Return every metric of the rows and list what 0/0 left undefined."""
    counts = _count(rows.labels, rows.predictions, len(rows.classes), np.ones((rows.n, 1)))
    scores = tuple(
        ClassScore(
            label=label,
            support=int(support),
            predicted=int(predicted),
            precision=correct / predicted if predicted else None,
            recall=correct / support if support else None,
            f1=2 * correct / (support + predicted) if support + predicted else None,
        )
        for label, correct, support, predicted in zip(
            rows.classes,
            counts.correct[:, 0].tolist(),
            counts.support[:, 0].tolist(),
            counts.predicted[:, 0].tolist(),
            strict=True,
        )
    )
    value = {metric: float(evaluate(metric, counts, undefined)[0]) for metric in ClassMetric}
    return ClassificationReport(
        n=rows.n,
        accuracy=value[ClassMetric.ACCURACY],
        precision_macro=value[ClassMetric.PRECISION_MACRO],
        recall_macro=value[ClassMetric.RECALL_MACRO],
        f1_macro=value[ClassMetric.F1_MACRO],
        per_class=scores,
        undefined=tuple(_undefined_sentences(scores)),
    )


def estimate(
    metric: ClassMetric,
    rows: ClassifiedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
    undefined: UndefinedRule = UndefinedRule.ZERO,
) -> Estimate:
    """Return one metric with its bootstrap interval; the cost does not grow with the rows."""
    size = len(rows.classes)
    cells, multiplicity = np.unique(rows.labels * size + rows.predictions, return_counts=True)
    statistic = _statistic(metric, cells // size, cells % size, size, undefined)
    return bootstrap.estimate(
        statistic, multiplicity, seed=seed, draws=draws, confidence=confidence
    )


def paired_estimates(
    metric: ClassMetric,
    candidate: ClassifiedRows,
    live: ClassifiedRows,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
    undefined: UndefinedRule = UndefinedRule.ZERO,
) -> PairedEstimates:
    """Return candidate, live and their difference on the same rows in the same order.

    Raises:
        ValueError: the two sides are not the same rows with the same classes.
    """
    if candidate.classes != live.classes or not np.array_equal(candidate.labels, live.labels):
        raise ValueError("A paired comparison needs the same rows and classes on both sides.")
    size = len(candidate.classes)
    keys = (candidate.labels * size + candidate.predictions) * size + live.predictions
    cells, multiplicity = np.unique(keys, return_counts=True)
    labels = cells // (size * size)
    return bootstrap.paired_estimates(
        _statistic(metric, labels, cells // size % size, size, undefined),
        _statistic(metric, labels, cells % size, size, undefined),
        multiplicity,
        seed=seed,
        draws=draws,
        confidence=confidence,
    )


def evaluate(metric: ClassMetric, counts: ClassCounts, undefined: UndefinedRule) -> FloatArray:
    """Return the metric of every draw."""
    if metric is ClassMetric.ACCURACY:
        return np.asarray(counts.correct.sum(axis=0) / counts.support.sum(axis=0))
    occurs = counts.support + counts.predicted > 0
    if metric is ClassMetric.PRECISION_MACRO:
        return _macro(counts.correct, counts.predicted, occurs, undefined)
    if metric is ClassMetric.RECALL_MACRO:
        return _macro(counts.correct, counts.support, occurs, undefined)
    return _macro(2 * counts.correct, counts.support + counts.predicted, occurs, undefined)


def _macro(
    above: FloatArray, below: FloatArray, occurs: BoolArray, undefined: UndefinedRule
) -> FloatArray:
    ratios = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    counted = occurs if undefined is UndefinedRule.ZERO else below > 0
    return np.asarray(ratios.sum(axis=0) / counted.sum(axis=0))


def _statistic(
    metric: ClassMetric, labels: IntArray, predictions: IntArray, size: int, rule: UndefinedRule
) -> bootstrap.Statistic:
    return lambda weights: evaluate(metric, _count(labels, predictions, size, weights), rule)


def _count(
    labels: IntArray, predictions: IntArray, size: int, weights: IntArray | FloatArray
) -> ClassCounts:
    is_label = (np.arange(size)[:, np.newaxis] == labels).astype(np.float64)
    is_predicted = (np.arange(size)[:, np.newaxis] == predictions).astype(np.float64)
    as_float = weights.astype(np.float64)
    return ClassCounts(
        correct=(is_label * is_predicted) @ as_float,
        support=is_label @ as_float,
        predicted=is_predicted @ as_float,
    )


def _undefined_sentences(scores: tuple[ClassScore, ...]) -> list[str]:
    sentences = []
    for score in scores:
        if score.predicted == 0 and score.support == 0:
            sentences.append(f"Class {score.label} occurs neither in labels nor in predictions.")
        elif score.predicted == 0:
            sentences.append(f"Precision of class {score.label} is undefined: never predicted.")
        elif score.support == 0:
            sentences.append(f"Recall of class {score.label} is undefined: no row has this label.")
    return sentences


def _is_text(values: npt.NDArray[np.generic]) -> bool:
    return values.dtype.kind in "OUS"
