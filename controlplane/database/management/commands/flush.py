"""Django's `flush`, as the role that owns the tables."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import flush


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        """Empty the product's tables; the ledger's are unmanaged and are left alone.

        Always through the alias `migrate`: the application's own login may not TRUNCATE.
        """
        super().handle(**{**options, "database": "migrate"})
