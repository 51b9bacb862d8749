"""Classification metrics and their bootstrap, against scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from controlplane.stats import bootstrap, classification, ranking
from controlplane.stats.classification import ClassifiedRows, ClassMetric, UndefinedRule
from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.ranking import RankedRows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def noisy(seed: int, *, n: int = 900, classes: int = 10, skill: float = 0.8) -> tuple[Ints, Ints]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    guesses = generator.integers(0, classes, n)
    return labels, np.where(generator.random(n) < skill, labels, guesses)


def scored(labels: Ints, seed: int, *, classes: int, skill: float, round_to: int) -> Floats:
    """Probabilities with many ties, because they are rounded."""
    generator = np.random.default_rng(seed)
    raw = generator.random((labels.size, classes))
    raw[np.arange(labels.size), labels] += skill
    shares: Floats = raw / raw.sum(axis=1, keepdims=True)
    return shares.round(round_to)


def sklearn_value(metric: ClassMetric, labels: Ints, predictions: Ints) -> float:
    functions = {
        ClassMetric.ACCURACY: metrics.accuracy_score,
        ClassMetric.PRECISION_MACRO: metrics.precision_score,
        ClassMetric.RECALL_MACRO: metrics.recall_score,
        ClassMetric.F1_MACRO: metrics.f1_score,
    }
    if metric is ClassMetric.ACCURACY:
        return float(functions[metric](labels, predictions))
    return float(functions[metric](labels, predictions, average="macro", zero_division=0))


@pytest.mark.parametrize("metric", list(ClassMetric))
@pytest.mark.parametrize("classes", [2, 10])
def test_metrics_are_those_of_scikit_learn(metric: ClassMetric, classes: int) -> None:
    labels, predictions = noisy(1, classes=classes)
    # One class is never predicted and one never true: the rule for 0/0 matters.
    predictions = np.where(predictions == 0, 1, predictions)
    predictions[0] = classes
    rows = ClassifiedRows.of(labels, predictions)
    report = classification.report(rows)
    expected = sklearn_value(metric, labels, predictions)
    assert getattr(report, metric.value) == pytest.approx(expected, abs=1e-12)
    assert classification.estimate(metric, rows, seed=1, draws=10).value == pytest.approx(expected)


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    labels, predictions = noisy(2, classes=4)
    names = np.array(["ape", "bee", "cat", "dog"])
    ours = classification.confusion_matrix(ClassifiedRows.of(names[labels], names[predictions]))
    np.testing.assert_array_equal(ours, metrics.confusion_matrix(labels, predictions))


def test_what_is_zero_over_zero_is_reported_and_not_hidden() -> None:
    rows = ClassifiedRows.of(["a", "a", "b"], ["a", "c", "a"], classes=("a", "b", "c", "d"))
    report = classification.report(rows)
    assert report.undefined == (
        "Precision of class b is undefined: never predicted.",
        "Recall of class c is undefined: no row has this label.",
        "Class d occurs neither in labels nor in predictions.",
    )
    by_label = {score.label: score for score in report.per_class}
    assert by_label["b"].precision is None
    assert by_label["b"].recall == 0
    assert by_label["c"].recall is None
    assert by_label["d"].f1 is None
    # a: 1/2; b: 0/0 counts 0; c: 0/1; d is not part of the average.
    assert report.precision_macro == pytest.approx(0.5 / 3)
    skipping = classification.report(rows, undefined=UndefinedRule.SKIP)
    assert skipping.precision_macro == pytest.approx(0.5 / 2)


@pytest.mark.parametrize("digits", [1, 2, 8])
def test_auc_is_that_of_scikit_learn_with_ties(digits: int) -> None:
    labels, _ = noisy(3, classes=5, n=300)
    scores = scored(labels, 4, classes=5, skill=0.7, round_to=digits)
    ours = ranking.class_aucs(RankedRows.of(labels, scores))
    expected = [metrics.roc_auc_score(labels == c, scores[:, c]) for c in range(5)]
    assert ours == pytest.approx(expected, abs=1e-12)
    assert ranking.macro_auc(RankedRows.of(labels, scores)) == pytest.approx(np.mean(expected))


def test_auc_of_whole_probabilities_is_the_macro_average_of_scikit_learn() -> None:
    labels, _ = noisy(5, classes=4, n=400)
    scores = scored(labels, 6, classes=4, skill=0.5, round_to=16)
    expected = metrics.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert ranking.macro_auc(RankedRows.of(labels, scores)) == pytest.approx(expected)


def test_a_class_without_rows_has_no_auc_and_is_left_out() -> None:
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]])
    assert ranking.class_aucs(RankedRows.of([0, 1, 0], scores)) == (1.0, 1.0, None)
    assert ranking.macro_auc(RankedRows.of([0, 1, 0], scores)) == 1.0
    with pytest.raises(UndefinedStatistic, match="all rows have the same label"):
        ranking.macro_auc(RankedRows.of([1, 1, 1], scores))
    with pytest.raises(UndefinedStatistic, match="leave the metric undefined"):
        ranking.estimate(RankedRows.of([1, 1, 1], scores), seed=1)


def test_weights_mean_the_same_as_repeated_rows() -> None:
    """The statistic of a resample is the metric of the resampled rows, not an approximation."""
    labels, predictions = noisy(7, n=80, classes=4)
    scores = scored(labels, 8, classes=4, skill=0.4, round_to=1)
    generator = np.random.default_rng(9)
    weights = generator.multinomial(80, np.full(80, 1 / 80), size=5).T.astype(np.int64)
    auc = ranking._statistic(RankedRows.of(labels, scores))(weights)
    for draw in range(5):
        rows = np.repeat(np.arange(80), weights[:, draw])
        expected = [
            metrics.roc_auc_score(labels[rows] == c, scores[rows, c])
            for c in np.unique(labels[rows])
        ]
        assert auc[draw] == pytest.approx(np.mean(expected))
        for metric in ClassMetric:
            classified = ClassifiedRows.of(labels, predictions)
            counts = classification._count(classified.labels, classified.predictions, 4, weights)
            ours = classification.evaluate(metric, counts, UndefinedRule.ZERO)[draw]
            assert ours == pytest.approx(sklearn_value(metric, labels[rows], predictions[rows]))


def test_the_interval_is_that_of_a_row_by_row_bootstrap() -> None:
    labels, predictions = noisy(10, n=300, classes=3)
    ours = classification.estimate(
        ClassMetric.F1_MACRO, ClassifiedRows.of(labels, predictions), seed=1, draws=4000
    )
    generator = np.random.default_rng(2)
    drawn = []
    for _ in range(1500):
        rows = generator.integers(0, 300, 300)
        drawn.append(sklearn_value(ClassMetric.F1_MACRO, labels[rows], predictions[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.008)
    assert ours.low < ours.value < ours.high


def test_the_interval_of_accuracy_is_close_to_the_binomial_one() -> None:
    labels, predictions = noisy(12, n=2000)
    ours = classification.estimate(
        ClassMetric.ACCURACY, ClassifiedRows.of(labels, predictions), seed=1, draws=4000
    )
    half = 1.96 * np.sqrt(ours.value * (1 - ours.value) / 2000)
    assert (ours.low, ours.high) == pytest.approx((ours.value - half, ours.value + half), abs=2e-3)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    rows = ClassifiedRows.of(*noisy(13))
    first, again, other = (
        classification.estimate(ClassMetric.ACCURACY, rows, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert (first.n, first.draws, first.seed) == (900, 2000, 5)


def test_pairing_makes_the_difference_of_similar_models_much_narrower() -> None:
    labels, predictions = noisy(14, skill=0.7)
    better = predictions.copy()
    wrong = np.flatnonzero(predictions != labels)[:20]
    better[wrong] = labels[wrong]
    candidate, live = (ClassifiedRows.of(labels, p) for p in (better, predictions))
    pair = classification.paired_estimates(ClassMetric.ACCURACY, candidate, live, seed=1)
    assert pair.difference.value == pytest.approx(20 / 900)
    assert 0 < pair.difference.low < 20 / 900 < pair.difference.high
    assert pair.difference.high - pair.difference.low < (pair.live.high - pair.live.low) / 2
    assert pair.candidate.value - pair.live.value == pair.difference.value


def test_a_model_compared_with_itself_differs_by_exactly_nothing() -> None:
    labels, predictions = noisy(15)
    scores = scored(labels, 16, classes=10, skill=0.5, round_to=3)
    rows, ranked = ClassifiedRows.of(labels, predictions), RankedRows.of(labels, scores)
    for difference in (
        classification.paired_estimates(ClassMetric.F1_MACRO, rows, rows, seed=1).difference,
        ranking.paired_estimates(ranked, ranked, seed=1, draws=200).difference,
    ):
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_two_thousand_paired_draws_of_every_metric_take_under_a_second() -> None:
    labels, predictions = noisy(17)
    _, others = noisy(18)
    rows = ClassifiedRows.of(labels, predictions, classes=tuple(range(10)))
    live = ClassifiedRows.of(labels, others, classes=tuple(range(10)))
    ranked = [
        RankedRows.of(labels, scored(labels, seed, classes=10, skill=0.5, round_to=6))
        for seed in (19, 20)
    ]
    # The processor's own time: other processes of the machine do not count.
    started = time.process_time()
    for metric in ClassMetric:
        classification.paired_estimates(metric, rows, live, seed=1)
    ranking.paired_estimates(*ranked, seed=1)
    assert time.process_time() - started < 1.0


def test_drawing_by_cell_and_by_row_tell_the_same() -> None:
    """Few cells with many rows are drawn by multinomial, many cells by row."""
    correct = np.repeat([1, 0], [7000, 3000])

    def share_correct(values: Ints) -> bootstrap.Statistic:
        return lambda weights: np.asarray(values @ weights / weights.sum(axis=0))

    by_row = bootstrap.estimate(share_correct(correct), bootstrap.single_rows(10_000), seed=1)
    by_cell = bootstrap.estimate(
        share_correct(np.array([1, 0])), np.array([7000, 3000]), seed=2, draws=4000
    )
    assert by_row.n == by_cell.n == 10_000
    assert (by_row.low, by_row.high) == pytest.approx((by_cell.low, by_cell.high), abs=1e-3)


def test_rows_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="two columns of the same length"):
        ClassifiedRows.of([1, 2], [1])
    with pytest.raises(ValueError, match="both be text or both be numbers"):
        ClassifiedRows.of([1, 2], ["1", "2"])
    with pytest.raises(ValueError, match="7 is not one of the classes"):
        ClassifiedRows.of([1, 7], [1, 1], classes=(1, 2))
    with pytest.raises(UndefinedStatistic, match="no rows"):
        ClassifiedRows.of([], [])
    with pytest.raises(ValueError, match="its own column of probabilities"):
        RankedRows.of([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="not a finite number"):
        RankedRows.of([0, 1], [[0.5, float("nan")], [0.5, 0.5]])
    with pytest.raises(ValueError, match="one label and one probability per class"):
        RankedRows.of([0], [[0.5, 0.5], [0.5, 0.5]])
    rows, other = ClassifiedRows.of([0, 1], [0, 1]), ClassifiedRows.of([1, 0], [0, 1])
    with pytest.raises(ValueError, match="same rows and classes"):
        classification.paired_estimates(ClassMetric.ACCURACY, rows, other, seed=1)
    with pytest.raises(ValueError, match="at least one draw"):
        classification.estimate(ClassMetric.ACCURACY, rows, seed=1, draws=0)


def test_classes_keep_the_order_they_were_given_in() -> None:
    rows = ClassifiedRows.of(["no", "yes"], ["yes", "yes"], classes=("yes", "no"))
    assert rows.labels.tolist() == [1, 0]
    assert classification.confusion_matrix(rows).tolist() == [[1, 0], [1, 0]]
