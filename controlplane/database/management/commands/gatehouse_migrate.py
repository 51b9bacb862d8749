"""`manage.py gatehouse_migrate`: every schema of the product brought up to date."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from controlplane.database import readiness

# Any fixed number; it names "the schemas are being changed" among the advisory locks.
_LOCK = 7_236_001


class Command(BaseCommand):
    help = "Bring all schemas up to date; several at a time wait for each other."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            readiness.require_roles()
        except readiness.DatabaseNotReady as error:
            raise CommandError(str(error)) from error
        verbosity = options["verbosity"]
        # The lock has a connection of its own: migrations may close and reopen theirs.
        lock = connections["migrate"].copy()
        try:
            with lock.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            call_command("migrate", verbosity=verbosity, interactive=False)
            if "mlflow_migrate" in get_commands():
                call_command("mlflow_migrate", verbosity=verbosity)
        finally:
            lock.close()
