"""Score predicted classes: accuracy, macro precision, recall, F1, one-versus-rest ROC AUC."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controlplane.stats import bootstrap, classification, ranking
from controlplane.stats.classification import ClassifiedRows, ClassMetric, Label
from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    FloatArray,
    IntArray,
    UndefinedStatistic,
)
from controlplane.stats.proportions import paired_newcombe_interval, wilson_interval
from controlplane.stats.ranking import RankedRows
from experiments.scoring.cards import (
    Confusion,
    MetricScore,
    Numbers,
    ScoreCard,
    ScoringError,
    SliceScore,
)
from experiments.scoring.slices import SliceColumn, pairs, score_slices

ROC_AUC = "roc_auc_ovr"
TITLES = {
    ClassMetric.ACCURACY: "Accuracy",
    ClassMetric.PRECISION_MACRO: "Precision (macro)",
    ClassMetric.RECALL_MACRO: "Recall (macro)",
    ClassMetric.F1_MACRO: "F1 (macro)",
}
ROC_AUC_TITLE = "ROC AUC (one versus rest)"
LARGEST_CONFUSION = 50


@dataclass(frozen=True, slots=True, eq=False)
class ClassOutput:
    """What a version said about each row.

    `probabilities` has a row per row and a column per class; `classes` names the columns.
    """

    predictions: npt.ArrayLike
    probabilities: npt.ArrayLike | None = None
    classes: Sequence[Label] | None = None


def score_classification(
    labels: npt.ArrayLike,
    candidate: ClassOutput,
    live: ClassOutput | None = None,
    *,
    seed: int,
    draws: int = bootstrap.DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
    slices: tuple[SliceColumn, ...] = (),
) -> ScoreCard:
    """Return the card of a candidate, compared with live on the same rows where there is one.

    Intervals of metrics are percentile bootstrap, paired for the difference. Slices have Wilson
    and paired Newcombe intervals, which stay honest on few rows.

    Raises:
        ScoringError: labels and predictions do not fit together.
    """
    truth = _column(labels, "labels")
    outputs = {"candidate": candidate} | ({"live": live} if live is not None else {})
    predicted = {who: _predictions(output, who, truth) for who, output in outputs.items()}
    classes = _all_classes(truth, predicted, outputs)
    rows = {
        who: ClassifiedRows.of(truth, column, classes=classes) for who, column in predicted.items()
    }
    notes = list(classification.report(rows["candidate"]).undefined)
    metrics = [
        _metric(metric, rows, seed=seed, draws=draws, confidence=confidence)
        for metric in ClassMetric
    ]
    ranked = {who: _ranked(output, who, rows[who], notes) for who, output in outputs.items()}
    auc = _roc_auc(ranked, notes, seed=seed, draws=draws, confidence=confidence)
    if auc is not None:
        metrics.append(auc)

    def score_slice(column: str, value: str, members: IntArray) -> SliceScore:
        return _slice(column, value, rows, members, confidence)

    scored, said = score_slices(slices, rows["candidate"].n, score_slice)
    return ScoreCard(
        task="classification",
        rows=rows["candidate"].n,
        seed=seed,
        draws=draws,
        confidence=confidence,
        metrics=tuple(metrics),
        slices=scored,
        notes=(*notes, *said),
        confusion=_confusion(rows),
    )


def _metric(
    metric: ClassMetric,
    rows: dict[str, ClassifiedRows],
    *,
    seed: int,
    draws: int,
    confidence: float,
) -> MetricScore:
    if "live" not in rows:
        alone = classification.estimate(
            metric, rows["candidate"], seed=seed, draws=draws, confidence=confidence
        )
        return MetricScore(metric.value, TITLES[metric], "higher", Numbers.of(alone))
    both = classification.paired_estimates(
        metric, rows["candidate"], rows["live"], seed=seed, draws=draws, confidence=confidence
    )
    return MetricScore(
        metric.value,
        TITLES[metric],
        "higher",
        Numbers.of(both.candidate),
        Numbers.of(both.live),
        Numbers.of(both.difference),
    )


def _roc_auc(
    ranked: dict[str, RankedRows | None],
    notes: list[str],
    *,
    seed: int,
    draws: int,
    confidence: float,
) -> MetricScore | None:
    candidate, live = ranked["candidate"], ranked.get("live")
    if candidate is None:
        return None
    try:
        if live is None:
            alone = ranking.estimate(candidate, seed=seed, draws=draws, confidence=confidence)
            return MetricScore(ROC_AUC, ROC_AUC_TITLE, "higher", Numbers.of(alone))
        both = ranking.paired_estimates(
            candidate, live, seed=seed, draws=draws, confidence=confidence
        )
    except UndefinedStatistic:
        notes.append("ROC AUC is undefined: all rows have the same label.")
        return None
    return MetricScore(
        ROC_AUC,
        ROC_AUC_TITLE,
        "higher",
        Numbers.of(both.candidate),
        Numbers.of(both.live),
        Numbers.of(both.difference),
    )


def _slice(
    column: str,
    value: str,
    rows: dict[str, ClassifiedRows],
    members: IntArray,
    confidence: float,
) -> SliceScore:
    n = int(members.size)
    right = {who: (part.labels == part.predictions)[members] for who, part in rows.items()}
    alone = {
        who: Numbers.of_interval(wilson_interval(int(hits.sum()), n, confidence=confidence), n)
        for who, hits in right.items()
    }
    if "live" not in right:
        return SliceScore(column, value, n, alone["candidate"])
    difference = paired_newcombe_interval(
        *pairs(right["candidate"], right["live"]), confidence=confidence
    )
    return SliceScore(
        column,
        value,
        n,
        alone["candidate"],
        alone["live"],
        Numbers.of_interval(difference, n),
    )


def _ranked(
    output: ClassOutput, who: str, rows: ClassifiedRows, notes: list[str]
) -> RankedRows | None:
    if output.probabilities is None:
        notes.append(f"ROC AUC needs class probabilities, which the {_named(who)} does not give.")
        return None
    given = np.asarray(output.probabilities, dtype=np.float64)
    columns = output.classes
    if columns is None:
        raise ScoringError(f"The {_named(who)} gives probabilities without naming their classes.")
    if given.shape != (rows.n, len(columns)):
        raise ScoringError(
            f"The {_named(who)} should give {rows.n} rows of {len(columns)} probabilities, "
            f"not {' × '.join(map(str, given.shape))}."
        )
    # A class that this version does not know has probability 0 everywhere: it cannot rank it.
    scores: FloatArray = np.zeros((rows.n, len(rows.classes)))
    scores[:, classification.encode(_normal(np.asarray(columns)), rows.classes)] = given
    if not np.isfinite(scores).all():
        at = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]) + 1
        raise ScoringError(f"Row {at}: a probability of the {_named(who)} is not a finite number.")
    return RankedRows.of(rows.labels, scores)


def _all_classes(
    truth: npt.NDArray[np.generic],
    predicted: dict[str, npt.NDArray[np.generic]],
    outputs: dict[str, ClassOutput],
) -> tuple[Label, ...]:
    """Return every class that a label, a prediction or a probability column names, in order."""
    columns = [truth, *predicted.values()]
    for who, output in outputs.items():
        if output.classes is not None:
            named = _normal(np.asarray(list(output.classes)))
            if len(set(named.tolist())) < named.size:
                raise ScoringError(f"The {_named(who)} names a class twice.")
            _require_same_kind(truth, named, f"The classes of the {_named(who)}")
            columns.append(named)
    return tuple(np.unique(np.concatenate(columns)).tolist())


def _predictions(
    output: ClassOutput, who: str, truth: npt.NDArray[np.generic]
) -> npt.NDArray[np.generic]:
    column = _column(output.predictions, f"predictions of the {_named(who)}")
    if column.size != truth.size:
        raise ScoringError(
            f"The {_named(who)} answered {column.size} rows, the holdout has {truth.size}."
        )
    _require_same_kind(truth, column, f"The predictions of the {_named(who)}")
    return column


def _column(values: npt.ArrayLike, what: str) -> npt.NDArray[np.generic]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise ScoringError(f"The {what} must be one column.")
    if not column.size:
        raise ScoringError(f"The {what} have no rows.")
    for row, value in enumerate(column.tolist(), start=1):
        if value is None or value != value:
            raise ScoringError(f"Row {row} of the {what} is missing.")
    return _normal(column)


def _normal(column: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Texts in normal form C, whole floating-point numbers as integers: 3.0 is the class 3."""
    if column.dtype.kind in "OUS":
        values = column.tolist()
        if all(isinstance(value, str) for value in values):
            return np.array([unicodedata.normalize("NFC", value) for value in values])
        column = np.asarray(values)
        if column.dtype.kind in "OUS":
            raise ScoringError("A column of classes mixes texts and numbers.")
    if column.dtype.kind == "f":
        if not np.isfinite(column.astype(np.float64)).all():
            raise ScoringError("A class is not a finite number.")
        whole = column.astype(np.int64)
        if np.array_equal(whole, column):
            return whole
    return column


def _require_same_kind(
    truth: npt.NDArray[np.generic], column: npt.NDArray[np.generic], what: str
) -> None:
    if (truth.dtype.kind == "U") != (column.dtype.kind == "U"):
        is_text = column.dtype.kind == "U"
        raise ScoringError(
            f"{what} are {'texts' if is_text else 'numbers'}, "
            f"the labels are {'numbers' if is_text else 'texts'}."
        )


def _confusion(rows: dict[str, ClassifiedRows]) -> Confusion | None:
    classes = rows["candidate"].classes
    if len(classes) > LARGEST_CONFUSION:
        return None
    matrices = {
        who: tuple(map(tuple, classification.confusion_matrix(part).tolist()))
        for who, part in rows.items()
    }
    return Confusion(
        tuple(_shown(label) for label in classes), matrices["candidate"], matrices.get("live")
    )


def _shown(label: Label) -> str:
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def _named(who: str) -> str:
    return "candidate" if who == "candidate" else "live version"
