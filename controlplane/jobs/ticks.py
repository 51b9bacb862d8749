"""What the scheduler calls every two seconds: one service per concern, by name.

Concerns of this app are registered in its ``AppConfig``, those of others in the wiring.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import close_old_connections

logger = logging.getLogger(__name__)
_concerns: dict[str, Callable[[], object]] = {}
_SLOW_SECONDS = 1.0


def register(name: str, function: Callable[[], object]) -> None:
    """Call ``function`` on every tick. It must be safe to call at any time and return soon."""
    _concerns[name] = function


def names() -> list[str]:
    return list(_concerns)


def run() -> list[str]:
    """Call every concern once and return the names of those that failed.

    One concern that fails, is slow or loses the database does not keep the others from their turn.
    """
    failed = []
    for name, function in list(_concerns.items()):
        started = time.monotonic()
        try:
            function()
        except Exception:
            # Any error: a tick is the last caller, and the next concern has to have its turn.
            logger.exception("tick_failed concern=%s", name)
            failed.append(name)
            close_old_connections()
        spent = time.monotonic() - started
        if spent > _SLOW_SECONDS:
            logger.warning("tick_slow concern=%s seconds=%.1f", name, spent)
    return failed
