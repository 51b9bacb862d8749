"""`manage.py gatehouse_migrate`: every schema of the product brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from controlplane.database import readiness

# Our tables and MLflow's are in schemas of their own: two processes may work side by side. The
# numbers are arbitrary and name "these tables are being changed" among the advisory locks.
_PARTS = {"migrate": 4_711_001, "mlflow_migrate": 4_711_002}


class Command(BaseCommand):
    help = "Bring all schemas up to date; several at a time wait for each other."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--part", choices=list(_PARTS), help="only this part")

    def handle(self, *args: Any, part: str | None, **options: Any) -> None:
        try:
            readiness.require_roles()
        except readiness.DatabaseNotReady as error:
            raise CommandError(str(error)) from error
        for command in [part] if part else _PARTS:
            with _alone(_PARTS[command]):
                call_command(command, verbosity=options["verbosity"])


@contextmanager
def _alone(lock_number: int) -> Iterator[None]:
    """Hold the lock in a connection of its own: migrations may close and reopen theirs."""
    lock = connections["migrate"].copy()
    try:
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [lock_number])
        yield
    finally:
        lock.close()
