"""Scorecards: numbers of scikit-learn, paired comparison, slices, and refusals in sentences."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from controlplane.core import canonical_json
from experiments.scoring import (
    ClassOutput,
    ScoreCard,
    ScoringError,
    SliceColumn,
    score_classification,
    score_regression,
)


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    """Two real models and the 597 rows that neither has seen."""
    features, labels = load_digits(return_X_y=True)
    scaled = StandardScaler().fit(features[:1200]).transform(features)
    outputs = {}
    for who, rows in (("candidate", 1200), ("live", 100)):
        model = LogisticRegression(max_iter=300).fit(scaled[:rows], labels[:rows])
        outputs[who] = ClassOutput(
            predictions=model.predict(scaled[1200:]),
            probabilities=model.predict_proba(scaled[1200:]),
            classes=model.classes_.tolist(),
        )
    ink = np.where(features[1200:].sum(axis=1) > 310, "dark", "light")
    return {"labels": labels[1200:], "ink": ink, **outputs}


@pytest.fixture(scope="module")
def card(digits: dict[str, Any]) -> ScoreCard:
    return score_classification(
        digits["labels"],
        digits["candidate"],
        digits["live"],
        seed=7,
        slices=(SliceColumn("ink", digits["ink"]),),
    )


def test_every_metric_is_that_of_scikit_learn(card: ScoreCard, digits: dict[str, Any]) -> None:
    labels = digits["labels"]
    for who in ("candidate", "live"):
        output = digits[who]
        macro = {"average": "macro", "zero_division": 0}
        expected = {
            "accuracy": metrics.accuracy_score(labels, output.predictions),
            "precision_macro": metrics.precision_score(labels, output.predictions, **macro),
            "recall_macro": metrics.recall_score(labels, output.predictions, **macro),
            "f1_macro": metrics.f1_score(labels, output.predictions, **macro),
            "roc_auc_ovr": metrics.roc_auc_score(labels, output.probabilities, multi_class="ovr"),
        }
        assert [metric.name for metric in card.metrics] == list(expected)
        for metric in card.metrics:
            numbers = getattr(metric, who)
            assert numbers.value == pytest.approx(expected[metric.name])
            assert numbers.low < numbers.value < numbers.high
            assert numbers.n == card.rows == 597


def test_the_better_candidate_is_better_on_every_metric(card: ScoreCard) -> None:
    for metric in card.metrics:
        assert metric.live is not None
        assert metric.difference is not None
        assert metric.difference.value == pytest.approx(metric.candidate.value - metric.live.value)
        assert 0 < metric.difference.low < metric.difference.value < metric.difference.high


def test_the_card_is_canonical_and_the_same_seed_gives_the_same_digest(
    card: ScoreCard, digits: dict[str, Any]
) -> None:
    def digest(seed: int) -> str:
        again = score_classification(
            digits["labels"],
            digits["candidate"],
            digits["live"],
            seed=seed,
            slices=(SliceColumn("ink", digits["ink"]),),
        )
        return canonical_json.digest(again.to_json())

    body = card.to_json()
    assert digest(7) == canonical_json.digest(body)
    assert digest(8) != canonical_json.digest(body)
    assert {key: body[key] for key in ("task", "rows", "seed", "draws", "confidence")} == {
        "task": "classification",
        "rows": 597,
        "seed": 7,
        "draws": 2000,
        "confidence": "0.95",
    }
    accuracy = body["metrics"][0]
    assert (accuracy["title"], accuracy["direction"]) == ("Accuracy", "higher")
    assert Decimal(accuracy["candidate"]["value"]).as_tuple().exponent == -6
    assert accuracy["candidate"]["n"] == 597


def test_slices_have_their_rows_interval_and_paired_difference(
    card: ScoreCard, digits: dict[str, Any]
) -> None:
    assert [item.value for item in card.slices] == ["dark", "light"]
    assert sum(item.n for item in card.slices) == 597
    for item in card.slices:
        members = digits["ink"] == item.value
        right = digits["candidate"].predictions == digits["labels"]
        assert item.candidate is not None
        assert item.candidate.value == pytest.approx(right[members].mean())
        assert item.candidate.low < item.candidate.value < item.candidate.high
        assert item.difference is not None
        assert item.difference.low > 0
    assert card.to_json()["slices"][0]["name"] == "ink dark"


def test_a_slice_of_fewer_than_thirty_rows_has_no_numbers() -> None:
    labels = np.zeros(100, dtype=int)
    group = np.array([2] * 29 + [10] * 71)
    card = score_classification(
        labels, ClassOutput(labels), seed=1, slices=(SliceColumn("group", group),)
    )
    few, enough = card.slices
    assert (few.value, few.n, few.too_few, few.candidate) == ("2", 29, True, None)
    assert (enough.value, enough.n, enough.too_few) == ("10", 71, False)
    assert few.to_json()["too_few"] is True


def test_agreement_on_a_few_rows_does_not_prove_that_nothing_is_lost() -> None:
    labels = np.zeros(40, dtype=int)
    card = score_classification(
        labels,
        ClassOutput(labels),
        ClassOutput(labels),
        seed=1,
        slices=(SliceColumn("all", np.array(["rows"] * 40)),),
    )
    difference = card.slices[0].difference
    assert difference is not None
    assert difference.value == 0
    assert difference.low < -0.05


def test_only_the_largest_twenty_slices_are_shown_and_the_card_says_so() -> None:
    values = np.repeat(np.arange(25), 40 + np.arange(25))
    labels = np.zeros(values.size, dtype=int)
    card = score_classification(
        labels, ClassOutput(labels), seed=1, slices=(SliceColumn("shop", values),)
    )
    assert [item.value for item in card.slices] == [str(number) for number in range(5, 25)]
    assert "“shop” has 25 values; the 20 largest are shown." in card.notes


def test_without_a_live_version_there_is_nothing_to_compare(digits: dict[str, Any]) -> None:
    card = score_classification(digits["labels"], digits["candidate"], seed=7)
    assert all(metric.live is None and metric.difference is None for metric in card.metrics)
    assert card.to_json()["metrics"][0]["difference"] is None
    assert card.confusion is not None
    assert card.confusion.live is None
    assert sum(map(sum, card.confusion.candidate)) == 597


def test_without_probabilities_auc_is_left_out_and_named(digits: dict[str, Any]) -> None:
    bare = ClassOutput(digits["candidate"].predictions)
    card = score_classification(digits["labels"], bare, digits["live"], seed=7)
    assert card.metric("roc_auc_ovr") is None
    assert "ROC AUC needs class probabilities, which the candidate does not give." in card.notes
    other = score_classification(
        digits["labels"], digits["candidate"], ClassOutput(digits["live"].predictions), seed=7
    )
    auc = other.metric("roc_auc_ovr")
    assert auc is not None
    assert auc.live is None
    assert auc.difference is None
    assert any("which the live version does not give" in note for note in other.notes)


def test_versions_that_know_different_classes_are_compared_over_all_of_them() -> None:
    labels = np.array(["a", "b", "c"] * 30)
    full = np.eye(3)[[0, 1, 2] * 30]
    candidate = ClassOutput(labels, full[:, [2, 0, 1]], ["c", "a", "b"])
    live = ClassOutput(np.where(labels == "c", "a", labels), full[:, :2], ["a", "b"])
    card = score_classification(labels, candidate, live, seed=1, draws=200)
    auc = card.metric("roc_auc_ovr")
    assert auc is not None
    assert auc.candidate.value == 1.0
    assert auc.live is not None
    # Live cannot rank c at all: 0.5 for it, 1 for a and b.
    assert auc.live.value == pytest.approx(2.5 / 3)
    assert card.confusion is not None
    assert card.confusion.classes == ("a", "b", "c")


def test_a_class_that_is_never_predicted_counts_zero_and_is_named() -> None:
    labels = np.array([0, 1] * 50)
    card = score_classification(labels, ClassOutput(np.zeros(100, dtype=int)), seed=1)
    precision = card.metric("precision_macro")
    assert precision is not None
    assert precision.candidate.value == 0.25
    assert card.notes[0] == "Precision of class 1 is undefined: never predicted."


def test_whole_floating_point_predictions_are_the_integer_classes() -> None:
    card = score_classification([3, 4, 3], ClassOutput([3.0, 4.0, 4.0]), seed=1)
    assert card.confusion is not None
    assert card.confusion.classes == ("3", "4")
    assert card.metrics[0].candidate.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "output", "sentence"),
    [
        ([], ClassOutput([]), "The labels have no rows."),
        ([0, None], ClassOutput([0, 0]), "Row 2 of the labels is missing."),
        ([0, 1], ClassOutput([0]), "The candidate answered 1 rows, the holdout has 2."),
        ([0, 1], ClassOutput([0, float("nan")]), "Row 2 of the predictions of the candidate is"),
        ([0, 1], ClassOutput(["0", "1"]), "are texts, the labels are numbers."),
        (["a", 1], ClassOutput(["a", "a"]), "mixes texts and numbers"),
        ([0, 1], ClassOutput([[0], [1]]), "must be one column"),
        ([0, 1], ClassOutput([0, 1], [[1, 0], [0, 1]]), "without naming their classes"),
        ([0, 1], ClassOutput([0, 1], [[1], [0]], [0, 1]), "2 rows of 2 probabilities, not 2 × 1"),
        ([0, 1], ClassOutput([0, 1], [[1, 0], [0, 1]], [1, 1]), "names a class twice"),
        (
            [0, 1],
            ClassOutput([0, 1], np.array([[1, 0], [0, np.inf]]), [0, 1]),
            "Row 2: a probability",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_sentence(
    labels: list[Any], output: ClassOutput, sentence: str
) -> None:
    with pytest.raises(ScoringError) as refusal:
        score_classification(np.array(labels, dtype=object), output, seed=1)
    assert sentence in str(refusal.value)


def test_a_slice_column_of_another_length_is_refused() -> None:
    with pytest.raises(ScoringError, match="“g” needs one value for each row"):
        score_classification([0, 1], ClassOutput([0, 1]), seed=1, slices=(SliceColumn("g", [1]),))


def test_numbers_are_scored_with_the_errors_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    targets = generator.normal(100, 15, 400)
    candidate = targets + generator.normal(0, 4, 400)
    live = targets + generator.normal(0, 6, 400)
    half = np.where(np.arange(400) < 200, "first", "second")
    card = score_regression(targets, candidate, live, seed=3, slices=(SliceColumn("half", half),))
    assert [(m.name, m.direction) for m in card.metrics] == [
        ("mae", "lower"),
        ("rmse", "lower"),
        ("r2", "higher"),
    ]
    mae, rmse, r2 = card.metrics
    assert mae.candidate.value == pytest.approx(metrics.mean_absolute_error(targets, candidate))
    assert rmse.candidate.value == pytest.approx(
        metrics.root_mean_squared_error(targets, candidate)
    )
    assert r2.candidate.value == pytest.approx(metrics.r2_score(targets, candidate))
    assert mae.difference is not None
    assert mae.difference.high < 0
    assert [item.n for item in card.slices] == [200, 200]
    assert card.slices[0].difference is not None
    canonical_json.dumps(card.to_json())


def test_equal_targets_leave_r2_out_and_say_so() -> None:
    card = score_regression([5.0] * 40, np.linspace(4, 6, 40), seed=1)
    assert [metric.name for metric in card.metrics] == ["mae", "rmse"]
    assert card.notes == ("R² is undefined: all targets are the same.",)


@pytest.mark.parametrize(
    ("targets", "predictions", "sentence"),
    [
        ([], [], "The targets have no rows."),
        (["x"], [1.0], "The targets must be numbers."),
        ([1.0, 2.0], [1.0], "The candidate answered 1 rows, the holdout has 2."),
        ([1.0, 2.0], [1.0, None], "Row 2 of the predictions of the candidate is missing"),
    ],
)
def test_numbers_that_cannot_be_compared_are_refused_with_a_sentence(
    targets: list[Any], predictions: list[Any], sentence: str
) -> None:
    with pytest.raises(ScoringError) as refusal:
        score_regression(targets, predictions, seed=1)
    assert sentence in str(refusal.value)
