"""``manage.py build_environment LOCK``: build a job's environment before anybody waits for it."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from controlplane.jobs import environments, sandbox


class Command(BaseCommand):
    help = "Builds the Python environment of a lock with hashes, unless it is there already."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("lock", type=Path)
        parser.add_argument("--python", default="3.11")

    def handle(self, *_: Any, lock: Path, python: str, **__: Any) -> None:
        """Print the environment's Python."""
        try:
            found = environments.ensure(
                lock.read_text(), root=Path(settings.ENVIRONMENT_DIR), python=python
            )
        except (OSError, environments.EnvironmentUnbuildable, sandbox.SandboxError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(found))
