"""`manage.py bootstrap_demo`: the demo's workspace, its people and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane import demo
from controlplane.core.errors import DomainError


class Command(BaseCommand):
    help = "Make the demo's people; a second run keeps their passwords and tokens."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", required=True)
        parser.add_argument("--gateway-url", required=True)
        parser.add_argument("--output", required=True, type=Path, metavar="FILE")
        parser.add_argument(
            "--policies", type=Path, metavar="FOLDER", help="first policies, <tier>.yaml each"
        )

    def handle(
        self,
        *args: Any,
        url: str,
        gateway_url: str,
        output: Path,
        policies: Path | None,
        **options: Any,
    ) -> None:
        sources = None
        if policies is not None:
            sources = {file.stem: file.read_text() for file in sorted(policies.glob("*.yaml"))}
        try:
            demo.prepare(url=url, gateway_url=gateway_url, output=output, policies=sources)
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"The people of the demo and their keys stand in {output}.")
