"""What the scheduler calls every two seconds: one service per concern, by name.

Concerns of this app are registered in its ``AppConfig``, those of others in the wiring.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import close_old_connections

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Concern:
    function: Callable[[], object]
    every: timedelta
    due_at: float = 0.0


_concerns: dict[str, _Concern] = {}
_SLOW_SECONDS = 1.0


def register(name: str, function: Callable[[], object], *, every: timedelta = timedelta(0)) -> None:
    """Call ``function`` on every tick, or on the first one after ``every`` has passed.

    It must be safe to call at any time and return soon.
    """
    _concerns[name] = _Concern(function, every)


def names() -> list[str]:
    return list(_concerns)


def run() -> list[str]:
    """Call every concern once and return the names of those that failed.

    One concern that fails, is slow or loses the database does not keep the others from their turn.
    """
    failed = []
    for name, concern in list(_concerns.items()):
        started = time.monotonic()
        if started < concern.due_at:
            continue
        concern.due_at = started + concern.every.total_seconds()
        try:
            concern.function()
        except Exception:
            # Any error: a tick is the last caller, and the next concern has to have its turn.
            logger.exception("tick_failed concern=%s", name)
            failed.append(name)
            close_old_connections()
        spent = time.monotonic() - started
        if spent > _SLOW_SECONDS:
            logger.warning("tick_slow concern=%s seconds=%.1f", name, spent)
    return failed
