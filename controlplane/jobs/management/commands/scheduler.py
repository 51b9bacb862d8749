"""``manage.py scheduler``: tick every two seconds, one scheduler at a time."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from controlplane.jobs import ticks

logger = logging.getLogger(__name__)
# Any number, but the same for every scheduler of an installation.
LOCK = 0x67617465
_SECONDS = 2.0


class Command(BaseCommand):
    help = "Runs what is due: lost jobs, waiting tasks, rollouts, expiries. Any number may run."
    # They walk every address, and so load every page and MLflow.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="One tick, then end.")

    def handle(self, *_: Any, once: bool = False, **__: Any) -> None:
        """Tick until SIGTERM or SIGINT. Only the holder of the database's lock does anything."""
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        while True:
            try:
                if _is_ours():
                    ticks.run()
            except DatabaseError as problem:
                # The lock went with the connection; the next round asks for it again.
                logger.warning("scheduler_without_database error=%s", problem)
                connection.close()
            if once or stopping.wait(_SECONDS):
                return


def _is_ours() -> bool:
    """Return whether this process is the scheduler: it holds a lock for as long as it lives."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s "
            "AND classid = 0 AND pid = pg_backend_pid() AND granted)",
            [LOCK],
        )
        if cursor.fetchone()[0]:
            return True
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])
