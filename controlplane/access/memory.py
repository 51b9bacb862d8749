"""What one request has already asked, and which grants it used.

Kept per request and never longer: a grant that ends must not live on in a process's memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q

from controlplane.core.clock import now

USE_NOTED_EVERY = timedelta(minutes=5)


@dataclass(slots=True)
class Memory:
    answers: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    used: dict[type[models.Model], set[uuid.UUID]] = field(default_factory=dict)


_memory: ContextVar[Memory | None] = ContextVar("access_memory", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Ask the database each question once inside; at the end, note which grants were used.

    The use is written after everything else, outside any transaction, so that no decision ever
    waits for the lock of a grant's row.
    """
    token = _memory.set(Memory())
    try:
        yield
        _write_uses()
    finally:
        _memory.reset(token)


def recall(key: tuple[Any, ...]) -> Any:
    memory = _memory.get()
    return None if memory is None else memory.answers.get(key)


def keep(key: tuple[Any, ...], answer: Any) -> None:
    memory = _memory.get()
    if memory is not None:
        memory.answers[key] = answer


def forget() -> None:
    """Drop every answer; called when grants change."""
    memory = _memory.get()
    if memory is not None:
        memory.answers.clear()


def note_use(table: type[models.Model], grant_id: uuid.UUID) -> None:
    memory = _memory.get()
    if memory is not None:
        memory.used.setdefault(table, set()).add(grant_id)


def _write_uses() -> None:
    memory = _memory.get()
    if memory is None:
        return
    moment = now()
    is_old = Q(last_used_at__isnull=True) | Q(last_used_at__lt=moment - USE_NOTED_EVERY)
    for table, grant_ids in memory.used.items():
        table._default_manager.filter(is_old, grant_id__in=grant_ids).update(last_used_at=moment)
