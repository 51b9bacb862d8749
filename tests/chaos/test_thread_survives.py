"""All processes of the product in a copy of this clone; they are killed with -9 during the thread,
and nothing that anybody was told is lost, and nothing happens twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.chaos.house import open_house, wait_for
from tests.chaos.thread import DEPLOYMENT, VICTIMS, Played, play

pytestmark = pytest.mark.processes
CLIENTS = 50
_WAITING_MESSAGES = ("outbox_outboxmessage", "done_at IS NULL")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with open_house() as house:
        yield play(house, tmp_path_factory.mktemp("digits"))


def test_every_process_was_killed_and_runs_again(played: Played) -> None:
    assert set(played.house.killed) == set(VICTIMS)
    played.house.supervisor.wait_until_running(VICTIMS)


def test_every_job_ended_once_and_left_one_result(played: Played) -> None:
    states = played.house.rows("SELECT id::text, state FROM jobs_job ORDER BY created_at")
    assert states == [(job, "succeeded") for job in played.jobs]
    ended = played.house.rows(
        "SELECT job_id::text FROM jobs_jobattempt WHERE outcome = 'succeeded' ORDER BY job_id"
    )
    assert sorted(ended) == sorted((job,) for job in played.jobs)
    registered = played.house.rows("SELECT job_id::text, number FROM registry_modelversion")
    assert sorted(registered) == sorted(zip(played.jobs[:2], played.versions, strict=True))
    attached = played.house.rows("SELECT job_id::text FROM registry_evidence")
    assert sorted(attached) == sorted((job,) for job in played.jobs[2:])


def test_every_promotion_was_completed_once(played: Played) -> None:
    found = played.house.rows("SELECT number, state FROM registry_promotionrequest ORDER BY number")
    assert found == [(number, "completed") for number in played.promotions]
    assert played.house.rows("SELECT state FROM deployments_rollout") == [("succeeded",)] * 2
    steps = ("submit", "pass_checks", "approve", "execute", "complete")
    events = played.house.rows(
        "SELECT object_id, action FROM ledger.event WHERE object_type = 'promotionrequest' "
        "AND outcome = 'success' AND action LIKE 'promotion.%'"
    )
    counted = Counter(events)
    assert set(counted.values()) == {1}, counted
    assert Counter(action for _, action in events) == {f"promotion.{step}": 2 for step in steps}


def test_the_ledger_is_whole_and_every_message_was_heeded(played: Played) -> None:
    house = played.house
    house.until("every event to be sealed", lambda: _is_none(house, "ledger.pending", "true"))
    house.until("every message to be done", lambda: _is_none(house, *_WAITING_MESSAGES))
    verified = house.verify_ledger()
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "intact" in verified.stdout
    events, leaves = house.rows(
        "SELECT count(*) FROM ledger.event UNION ALL SELECT count(DISTINCT event_id) "
        "FROM ledger.leaf"
    )
    assert events == leaves


def test_every_answered_prediction_is_recorded_exactly_once(played: Played) -> None:
    _require_recorded(played, played.answered.versions)


def test_a_rollback_under_fifty_clients_fails_no_request_and_is_answered_by_no_wrong_version(
    played: Played,
) -> None:
    old, new = (str(number) for number in played.versions)
    seen = asyncio.run(_roll_back_under_load(played))
    assert seen.failed == []
    assert {version for _, version, _ in seen.answers} == {old, new}
    late = [version for sent, version, _ in seen.answers if sent > seen.acknowledged]
    assert len(late) > CLIENTS
    assert set(late) == {old}
    _require_recorded(played, {identifier: version for _, version, identifier in seen.answers})


@dataclass
class Seen:
    """What fifty clients met: (sent at, version, prediction id), when the way back was known."""

    answers: list[tuple[float, str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    acknowledged: float = 0.0
    is_over: bool = False


async def _roll_back_under_load(played: Played) -> Seen:
    seen = Seen()
    headers = {"Authorization": f"Bearer {played.token}"}
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(
        headers=headers, timeout=30, limits=limits, trust_env=False
    ) as client:
        clients = [asyncio.create_task(_ask(client, played, seen, n)) for n in range(CLIENTS)]
        await asyncio.sleep(2)
        await asyncio.to_thread(_roll_back, played)
        seen.acknowledged = time.monotonic()
        await asyncio.sleep(2)
        seen.is_over = True
        await asyncio.gather(*clients)
    return seen


async def _ask(client: httpx.AsyncClient, played: Played, seen: Seen, number: int) -> None:
    while not seen.is_over:
        number += 1
        row = played.rows[number % len(played.rows)]
        sent = time.monotonic()
        answer = await client.post(
            f"{played.address}/invocations", json={"dataframe_records": [row]}
        )
        if answer.status_code == 200:
            version = answer.headers["Gatehouse-Version"]
            seen.answers.append((sent, version, answer.headers["Gatehouse-Prediction-Id"]))
        else:
            seen.failed.append(answer.text)
        # Closed-loop clients on two cores: a little thought, so that the portal gets its turn.
        await asyncio.sleep(0.05)


def _roll_back(played: Played) -> None:
    """One click; return once every gateway has acknowledged the table that carries it."""
    house, body = played.house, {"reason": "Complaints from the field."}
    house.ask("operator", "POST", f"deployments/{DEPLOYMENT}/rollback/", body)

    def acknowledged() -> bool | None:
        found: dict[str, Any] = house.ask("operator", "GET", f"deployments/{DEPLOYMENT}/")
        carried = found["revision"]["routing_revision"]
        seen_by = [gateway["routing_revision"] for gateway in found["gateways"]]
        return (carried > 0 and bool(seen_by) and min(seen_by) >= carried) or None

    house.until("the acknowledgement", acknowledged)


def _require_recorded(played: Played, answered: dict[str, str]) -> None:
    """Every answer stands in PostgreSQL once, with the version that gave it."""
    assert answered
    house = played.house

    def missing() -> set[str]:
        found = house.rows("SELECT id::text FROM deployments_prediction")
        return set(answered) - {identifier for (identifier,) in found}

    wait_for(lambda: not missing(), "every answer to be recorded", seconds=30)
    doubled = house.rows(
        "SELECT id::text FROM deployments_prediction GROUP BY id HAVING count(*) > 1"
    )
    assert doubled == []
    recorded = house.rows(
        "SELECT p.id::text, v.number::text FROM deployments_prediction p "
        "JOIN registry_modelversion v ON v.id = p.version_id WHERE p.status = 200"
    )
    assert {key: version for key, version in recorded if key in answered} == answered


def _is_none(house: Any, table: str, condition: str) -> bool | None:
    ((count,),) = house.rows(f"SELECT count(*) FROM {table} WHERE {condition}")
    return count == 0 or None
