"""Every address × every role: no route without a row, no row without a route, no other answer."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.db import transaction

from controlplane.audit.models import Event, RepeatedRefusal
from tests.architecture.permission_table import METHODS, ROLES, Row, World, ask, routes
from tests.architecture.permissions import administration, kernel, mlflow, pages, records, work
from tests.architecture.world import build

AREAS: dict[str, list[Row]] = {
    "kernel": kernel.ROWS,
    "records": records.ROWS,
    "work": work.ROWS,
    "pages": pages.ROWS,
    "administration": administration.ROWS,
    "mlflow": mlflow.ROWS,
}
ROWS = [row for rows in AREAS.values() for row in rows] + mlflow.TRACKING_ROWS


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    there = {route for route, _ in routes()}
    listed = {row.route for row in ROWS}
    assert sorted(there - listed) == [], "routes without a row"
    assert sorted(listed - there) == [], "rows without a route"


def test_no_row_is_written_twice_and_each_answers_for_every_role() -> None:
    keys = [(row.route, row.method, row.address) for row in ROWS]
    assert len(keys) == len(set(keys))
    assert all(set(row.expect) == set(ROLES) for row in ROWS)


@pytest.mark.django_db(databases=["default", "ledger"])
@pytest.mark.parametrize("area", AREAS)
def test_everybody_gets_the_answer_of_the_table(area: str) -> None:
    assert_answers(AREAS[area])


@pytest.mark.django_db(databases=["default", "ledger"], transaction=True)
def test_everybody_gets_the_answer_of_the_table_from_mlflows_tracking() -> None:
    # Its store has a connection of its own, which sees committed records only.
    assert_answers(mlflow.TRACKING_ROWS)


def assert_answers(rows: list[Row]) -> None:
    world = build()
    wrong = []
    for row in rows:
        got = {role: _answer(world, row, role) for role in ROLES}
        wrong += [
            f"{row.method} {row.address or row.route} as {role}: {got[role]}, not {expected}"
            for role, expected in row.expect.items()
            if got[role] != str(expected)
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.django_db(databases=["default", "ledger"])
def test_a_method_without_a_row_is_not_allowed_to_anybody() -> None:
    world = build()
    wrong = []
    for route in {row.route for row in ROWS}:
        rows = [row for row in ROWS if row.route == route]
        for method in sorted(set(METHODS) - {row.method for row in rows}):
            for role in ("anonymous", "workspace_admin"):
                status = _status(world, role, method, rows[0].path(world))
                closed = {401, 405, 501} if route in mlflow.FORWARDING else {405}
                if status not in closed:
                    wrong.append(f"{method} {route} as {role}: {status}")
    assert not wrong, "\n".join(wrong)


def _answer(world: World, row: Row, role: str) -> str:
    """Return the status, or, for a refusal that left no event, that it left none."""
    # Repeats within a minute are only counted: each refusal here is to be the first of its kind.
    RepeatedRefusal.objects.using("ledger").all().delete()
    before = _refusals()
    body = row.body(world) if row.body else None
    status = _status(world, role, row.method, row.path(world), body, is_upload=row.is_upload)
    if status in {401, 403} and _refusals() == before:
        return f"{status} without an event"
    return str(status)


def _status(
    world: World, role: str, method: str, path: str, body: Any = None, *, is_upload: bool = False
) -> int:
    """Ask, and undo whatever the answer changed: each row starts from the same world."""
    cookies = {key: SimpleCookie(client.cookies) for key, client in world.clients.items()}
    with transaction.atomic():
        status: int = ask(world, role, method, path, body, is_upload=is_upload).status_code
        transaction.set_rollback(True)
    for key, client in world.clients.items():
        client.cookies = cookies[key]
    return status


def _refusals() -> int:
    return Event.objects.using("ledger").filter(outcome="refused").count()
