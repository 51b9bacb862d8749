"""What was promised in a transaction happens after it, once done, and never for a rollback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from celery import shared_task
from django.conf import settings
from django.db import transaction

from controlplane.celery import app
from controlplane.core.clock import now
from controlplane.core.errors import Blocked
from controlplane.outbox import services
from controlplane.outbox.models import OutboxMessage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
ROOM = Path(__file__).resolve().parents[3]
calls: list[tuple[object, ...]] = []


@shared_task(name="test.note")
def note(*args: object) -> None:
    calls.append(args)


@shared_task(name="test.fail")
def fail() -> None:
    raise RuntimeError("not yet")


@shared_task(name="test.refuse")
def refuse() -> None:
    raise Blocked("The version is retired.")


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def only_message() -> OutboxMessage:
    return OutboxMessage.objects.get()


def test_a_task_runs_once_however_often_it_is_delivered() -> None:
    services.after_commit(note, 7, "x")
    message = only_message()
    assert (message.task, message.args, message.queue) == ("test.note", [7, "x"], "default")
    assert [services.deliver(message.pk) for _ in range(3)] == [True, False, False]
    assert calls == [(7, "x")]


def test_nothing_is_promised_by_a_transaction_that_rolls_back() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.after_commit("test.note", 1)
        _ = 1 / 0
    assert not OutboxMessage.objects.exists()


def test_a_task_that_fails_stays_and_is_tried_again_later() -> None:
    services.after_commit(fail)
    with pytest.raises(RuntimeError):
        services.deliver(only_message().pk)
    message = only_message()
    assert (message.attempts, message.error, message.done_at) == (1, "RuntimeError: not yet", None)
    assert services.resend_waiting() == 0
    OutboxMessage.objects.update(sent_at=now() - timedelta(seconds=25))
    assert services.resend_waiting() == 1


def test_a_refusal_is_an_answer_and_is_not_asked_for_again() -> None:
    services.after_commit(refuse)
    assert services.deliver(only_message().pk)
    assert only_message().error == "The version is retired."
    OutboxMessage.objects.update(sent_at=now() - timedelta(hours=1))
    assert services.resend_waiting() == 0


def test_a_task_whose_worker_died_is_taken_up_again() -> None:
    services.after_commit(note, 1)
    OutboxMessage.objects.update(started_at=now())
    assert not services.deliver(only_message().pk)
    long_ago = now() - services.LONGEST_RUN - timedelta(seconds=1)
    OutboxMessage.objects.update(started_at=long_ago, sent_at=long_ago)
    assert services.resend_waiting() == 1
    assert services.deliver(only_message().pk)


def test_what_was_done_long_ago_is_forgotten() -> None:
    services.after_commit(note)
    services.after_commit(note)
    done = OutboxMessage.objects.order_by("id").first()
    assert done is not None
    OutboxMessage.objects.filter(pk=done.pk).update(done_at=now() - timedelta(days=8))
    assert services.forget_done() == 1
    assert OutboxMessage.objects.count() == 1


@pytest.fixture
def broker_away() -> Iterator[None]:
    def use(address: str) -> None:
        app.conf.update(broker_write_url=address)
        vars(app.amqp)["_producer_pool"] = None

    use("redis+socket:///nowhere/redis.sock")
    yield
    use(settings.CELERY_BROKER_URL)


def test_a_broker_that_is_away_neither_fails_nor_delays_the_change(broker_away: None) -> None:
    began = time.monotonic()
    services.after_commit(note, 1)
    assert time.monotonic() - began < 3
    assert only_message().done_at is None


@pytest.mark.processes
def test_a_real_worker_runs_what_was_promised(tmp_path: Path) -> None:
    services.after_commit("outbox.deliver", "00000000-0000-7000-8000-000000000000")
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "controlplane.celery", "worker"),
                *("--pool", "threads", "-Q", "default", "--without-mingle", "--without-gossip"),
            ],
            cwd=ROOM,
            env=dict(os.environ),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 40
        while only_message().done_at is None:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            time.sleep(0.1)
    finally:
        worker.kill()
        worker.wait()
