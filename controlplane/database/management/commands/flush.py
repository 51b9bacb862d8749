"""Django's `flush`, as the role that owns the tables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.color import no_style
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal, sql_flush
from django.db import DatabaseError, connections
from django.db.backends.base.base import NO_DB_ALIAS


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        """Empty the product's tables; the ledger's are unmanaged and are left alone.

        The application's own login may not TRUNCATE, so the statements run as the owner, in a
        connection of their own: a test that is being cleaned up may be denied the alias.
        """
        if options["interactive"]:
            answer = input("This deletes all rows but the ledger's. Type 'yes' to continue: ")
            if answer != "yes":
                self.stdout.write("Nothing was deleted.")
                return
        database = options["database"]
        statements = sql_flush(
            no_style(),
            connections[database],
            reset_sequences=options.get("reset_sequences", True),
            allow_cascade=options.get("allow_cascade", False),
        )
        owner = connections["migrate"].copy(alias=NO_DB_ALIAS)
        try:
            with owner.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except DatabaseError as error:
            raise CommandError(f"The tables could not be emptied: {error}") from error
        finally:
            owner.close()
        if statements and not options.get("inhibit_post_migrate", False):
            emit_post_migrate_signal(options["verbosity"], options["interactive"], database)
