"""Everything that can be asked wrongly in the thread: what is answered, recorded and left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from controlplane.audit.models import Event, RepeatedRefusal
from tests import emptying
from tests.refusals.rows import access, data, decisions, doors, mlflow, pages, serving, work
from tests.refusals.scene import Scene, scene_in
from tests.refusals.table import REFUSED, Row, differences, standing

ROWS: list[Row] = [
    row
    for room in (access, data, work, decisions, mlflow, pages, doors, serving)
    for row in room.ROWS
]


@pytest.fixture(scope="module")
def scene(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """One scene for all rows, really committed: a refusal changes nothing, so they can share it."""
    with django_db_blocker.unblock():
        with scene_in(tmp_path_factory.mktemp("scene")) as made:
            yield made
        emptying.empty()


def _listed() -> Iterator[Any]:
    for row in ROWS:
        marks = [pytest.mark.processes] if row.needs_processes else []
        yield pytest.param(row, id=row.name, marks=marks)


@pytest.mark.parametrize("row", list(_listed()))
def test_it_is_refused_with_a_sentence_recorded_and_leaves_nothing(row: Row, scene: Scene) -> None:
    row.given(scene)
    RepeatedRefusal.objects.using("ledger").all().delete()
    known = set(Event.objects.using("ledger").values_list("pk", flat=True))
    before = standing()

    answer = row.ask(scene)

    assert (answer.status, answer.code) == (row.status, row.code), answer
    assert row.says in answer.says
    assert differences(before, standing(), row.leaves) == []
    new = Event.objects.using("ledger").exclude(pk__in=known)
    expected = [] if isinstance(row.events, str) else list(row.events)
    found = sorted((event.action, event.outcome) for event in new)
    assert found == sorted(expected), found
    assert all(json.loads(event.payload)["code"] for event in new if event.outcome == REFUSED)


def test_no_refusal_is_listed_twice() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert len(names) > 80
