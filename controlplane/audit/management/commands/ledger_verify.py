"""`manage.py ledger_verify`: 0 intact, 1 tampered with, 126 could not be checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from controlplane.audit import connections, verification
from controlplane.audit.sealer_files import VERIFIER_FILE, FilesUnusable, read_trusted_keys
from controlplane.audit.verify import NOT_EXCLUDED, CouldNotVerify, Report, verify
from controlplane.core.actor import Actor

INTACT, TAMPERED, NOT_CHECKED = 0, 1, 126


class Command(BaseCommand):
    help = "Check every claim of the ledger: 0 intact, 1 tampered with, 126 could not be checked."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=int, default=0, metavar="SIZE")
        parser.add_argument(
            "--keys",
            type=Path,
            default=settings.LEDGER_STATE_DIR / VERIFIER_FILE,
            help="file of trusted verifier keys",
        )
        parser.add_argument(
            "--no-record", action="store_true", help="do not record the result as an event"
        )

    def handle(self, *args: Any, since: int, keys: Path, no_record: bool, **options: Any) -> None:
        """Print a sentence for every finding, and end with the exit code that says the result."""
        sys.exit(self._verify(max(since, 0), keys, is_recorded=not no_record))

    def _verify(self, since: int, keys: Path, *, is_recorded: bool) -> int:
        try:
            trusted = read_trusted_keys(keys)
            with connections.connect_to_read() as connection:
                report = verify(connection, trusted, since=since)
            if is_recorded:
                verification.record(report, actor=Actor.system("ledger-verify"))
        except (CouldNotVerify, FilesUnusable) as error:
            self.stderr.write(f"The ledger could not be checked. {error}")
            return NOT_CHECKED
        except (psycopg.Error, DatabaseError) as error:
            self.stderr.write(f"The ledger could not be checked: {str(error).strip()}")
            return NOT_CHECKED
        except Exception as error:
            # Python would end with 1, which here means "tampered with".
            self.stderr.write(f"The check itself failed: {type(error).__name__}: {error}")
            return NOT_CHECKED
        self._print(report)
        return INTACT if report.is_intact else TAMPERED

    def _print(self, report: Report) -> None:
        for finding in report.findings:
            self.stdout.write(finding)
        if report.findings_not_listed:
            self.stdout.write(f"… and {report.findings_not_listed} more findings.")
        checked = report.size - report.since
        self.stdout.write(
            f"{report.origin}: {checked:,} of {report.size:,} entries and {report.checkpoints:,} "
            f"checkpoints checked in {report.seconds:.1f} s, {report.pending} waiting to be "
            f"sealed. Root {report.root}."
        )
        verdict = "intact" if report.is_intact else "NOT intact"
        self.stdout.write(f"The ledger is {verdict}. {NOT_EXCLUDED}")
