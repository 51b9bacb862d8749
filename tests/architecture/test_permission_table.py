"""Every address × every role: no route without a row, no row without a route, no other answer."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum

from controlplane.audit.models import Event, RepeatedRefusal
from tests.architecture.permission_table import METHODS, ROLES, Row, World, ask, routes
from tests.architecture.permissions import administration, kernel, pages, records, work
from tests.architecture.world import build

AREAS: dict[str, list[Row]] = {
    "kernel": kernel.ROWS,
    "records": records.ROWS,
    "work": work.ROWS,
    "pages": pages.ROWS,
    "administration": administration.ROWS,
}
ROWS = [row for rows in AREAS.values() for row in rows]


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
    world = build()
    wrong = []
    for row in AREAS[area]:
        got = {role: _answer(world, row, role) for role in ROLES}
        wrong += [
            f"{row.method} {row.route} as {role}: {got[role]}, not {row.expect[role]}"
            for role in ROLES
            if got[role] != str(row.expect[role])
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
                if status != 405:
                    wrong.append(f"{method} {route} as {role}: {status}")
    assert not wrong, "\n".join(wrong)


def _answer(world: World, row: Row, role: str) -> str:
    """Return the status, or, for a refusal that left no event, that it left none."""
    before = _refusals()
    body = row.body(world) if row.body else None
    status = _status(world, role, row.method, row.path(world), body)
    if status == 403 and _refusals() == before:
        return "403 without an event"
    return str(status)


def _status(world: World, role: str, method: str, path: str, body: Any = None) -> int:
    """Ask, and undo whatever the answer changed: each row starts from the same world."""
    cookies = {key: SimpleCookie(client.cookies) for key, client in world.clients.items()}
    with transaction.atomic():
        status: int = ask(world, role, method, path, body).status_code
        transaction.set_rollback(True)
    for key, client in world.clients.items():
        client.cookies = cookies[key]
    return status


def _refusals() -> int:
    """Return how many refusals the ledger knows: events, and repeats that it still counts."""
    events = Event.objects.using("ledger").filter(outcome="refused").count()
    repeats = RepeatedRefusal.objects.using("ledger").aggregate(all=Sum("repeats"))["all"]
    return events + (repeats or 0)
