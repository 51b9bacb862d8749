"""What an approver is told to look at."""

from __future__ import annotations

from typing import Any

import pytest

from registry.services import checks, evidence, models, promotions
from tests.rooms import SYSTEM, Room

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])


def texts(task: str, low: str, value: str, high: str, *, too_few: bool = False) -> list[str]:
    """Return the list for a version one of whose slices differs from live by this interval."""
    room = Room()
    difference = {"value": value, "low": low, "high": high, "n": 200}
    body: dict[str, Any] = {
        "task": task,
        "rows": 400,
        "metrics": [],
        "slices": [{"name": "ink faint", "difference": difference, "n": 200, "too_few": too_few}],
    }
    evidence.attach(
        room.version.pk, actor=SYSTEM, body=body, dataset_version=None, baseline=None, job_id=None
    )
    made = promotions.request(room.version, room.production, actor=room.engineer)
    return [item.text for item in checks.deviations(made) if item.key.startswith("slice:")]


def test_a_slice_that_a_classifier_reads_worse_is_named_in_points() -> None:
    assert texts("classification", "-0.030", "-0.018", "-0.006") == [
        "Slice “ink faint” −1.8 points against the live version."
    ]


def test_a_slice_with_a_larger_error_is_named_for_a_regression() -> None:
    assert texts("regression", "0.5", "1.5", "2.5") == [
        "Slice “ink faint” error +1.5 against the live version."
    ]


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [("classification", "-0.02", "0.01"), ("regression", "-2.0", "-1.0")],
)
def test_a_slice_that_may_be_as_good_or_is_better_is_not_named(
    task: str, low: str, high: str
) -> None:
    assert texts(task, low, low, high) == []


def test_a_slice_with_too_few_rows_proves_nothing() -> None:
    assert texts("classification", "-0.30", "-0.20", "-0.10", too_few=True) == []


@pytest.mark.parametrize("tier", ["medium", "high"])
def test_a_hole_in_the_origin_is_named_once_whether_a_check_asks_for_it_or_not(tier: str) -> None:
    room = Room()
    room.model = models.create_model(
        actor=room.engineer, workspace=room.workspace, name="second", risk_tier=tier
    )
    made = promotions.request(room.register(b"weights"), room.production, actor=room.engineer)
    checked = promotions.check(made.pk, actor=SYSTEM)
    assert checked.gates.filter(kind="lineage").exists() == (tier == "high")

    named = [item.text for item in checks.deviations(checked) if "Not known" in item.text]

    assert len(named) == 1
