"""Do something after the commit, surely: the row is the promise, the Celery message only a hint."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import F, Q
from kombu.exceptions import OperationalError

from controlplane.core.clock import now
from controlplane.core.errors import DomainError, Unavailable
from controlplane.outbox.models import OutboxMessage

logger = logging.getLogger(__name__)
DELIVER = "outbox.deliver"
# A hint that was not acted on within this time is given again, ever more rarely after failures.
RESEND_AFTER = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=5)
# A task that has started is left alone for so long; then its worker is taken for dead.
LONGEST_RUN = timedelta(minutes=10)
KEEP_DONE = timedelta(days=7)
_BATCH = 200


def after_commit(task: str | Callable[..., Any], *args: Any, queue: str = "default") -> None:
    """Run the task once this transaction has committed; if it rolls back, never.

    ``args`` are ids, JSON-ready. The task must be safe to run twice: a worker may die after the
    work and before it is noted as done.
    """
    name = task if isinstance(task, str) else str(task.name)  # type: ignore[attr-defined]
    message = OutboxMessage.objects.create(task=name, args=list(args), queue=queue)
    transaction.on_commit(partial(_hint, message.pk, queue), robust=True)


def resend_waiting() -> int:
    """Give the hint again for what should have been done by now; return how many."""
    moment = now()
    waiting = OutboxMessage.objects.filter(
        Q(started_at__isnull=True) | Q(started_at__lt=moment - LONGEST_RUN), done_at__isnull=True
    ).order_by("id")
    due = [
        message
        for message in waiting[:_BATCH]
        if (message.sent_at or message.created_at) <= moment - _patience(message.attempts)
    ]
    return sum(_hint(message.pk, message.queue) for message in due)


def forget_done() -> int:
    """Delete what was done long ago; return how many rows went."""
    old = OutboxMessage.objects.filter(done_at__lt=now() - KEEP_DONE)
    deleted, _ = old.delete()
    return deleted


def deliver(message_id: uuid.UUID | str) -> bool:
    """Run the task of a message unless it is done or running; return whether it ran.

    A refusal is an answer (and stands in the ledger), so it ends the message; asking again would
    not change it.

    Raises:
        Exception: whatever else the task raises; the message stays and is sent again later.
    """
    message = _take(message_id)
    if message is None:
        return False
    task = current_app.tasks[message.task]
    try:
        task.run(*message.args)
    except DomainError as error:
        if isinstance(error, Unavailable):
            _put_back(message, error)
            raise
        logger.info("outbox_refused task=%s error=%s", message.task, error.message)
        OutboxMessage.objects.filter(pk=message.pk).update(
            done_at=now(), error=error.message[:2000]
        )
        return True
    except Exception as error:
        _put_back(message, error)
        raise
    OutboxMessage.objects.filter(pk=message.pk).update(done_at=now(), error="")
    return True


def _put_back(message: OutboxMessage, error: Exception) -> None:
    OutboxMessage.objects.filter(pk=message.pk).update(
        started_at=None, error=f"{type(error).__name__}: {error}"[:2000]
    )


def _take(message_id: uuid.UUID | str) -> OutboxMessage | None:
    """Mark the message as running; None if another worker did or it is done."""
    moment = now()
    taken = OutboxMessage.objects.filter(
        Q(started_at__isnull=True) | Q(started_at__lt=moment - LONGEST_RUN),
        pk=message_id,
        done_at__isnull=True,
    ).update(started_at=moment, attempts=F("attempts") + 1)
    return OutboxMessage.objects.get(pk=message_id) if taken else None


def _patience(attempts: int) -> timedelta:
    doubled: int = 2 ** min(attempts, 10)
    return min(RESEND_AFTER * doubled, LONGEST_WAIT)


def _hint(message_id: uuid.UUID, queue: str) -> bool:
    """Tell a worker; a broker that cannot be reached is no error, because the row waits."""
    OutboxMessage.objects.filter(pk=message_id).update(sent_at=now())
    try:
        current_app.send_task(DELIVER, args=[str(message_id)], queue=queue, retry=False)
    except OperationalError as error:
        logger.warning("outbox_hint_failed message=%s error=%s", message_id, error)
        return False
    return True
