"""`manage.py sealer`: the process that numbers and signs the ledger."""

from __future__ import annotations

import functools
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from controlplane.audit import connections, sealer
from controlplane.audit.sealer_files import FilesUnusable, SealerFiles


class Command(BaseCommand):
    help = "Number and sign the ledger's events until stopped."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; end with an error when the ledger must not be signed."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            sealer.run(
                functools.partial(connections.connect, "sealer"),
                SealerFiles(settings.LEDGER_STATE_DIR),
                stop,
            )
        except (sealer.LedgerDiffers, FilesUnusable) as error:
            raise CommandError(f"The ledger is not signed. {error}") from error
