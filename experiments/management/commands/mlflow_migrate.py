"""`manage.py mlflow_migrate`: make MLflow's tables, or bring them up to the installed MLflow."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from experiments.mlflow_api import store


class Command(BaseCommand):
    help = "Make or upgrade MLflow's tables in their own schema."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        revision = store.migrate()
        if options["verbosity"]:
            self.stdout.write(f"MLflow's tables are at revision {revision}.")
