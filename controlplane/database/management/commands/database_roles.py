"""`manage.py database_roles`: what a database administrator runs once."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from controlplane.database import readiness
from controlplane.database.roles import LOGIN_ROLES, roles_sql


class Command(BaseCommand):
    help = "Check the database's roles, or print the SQL that makes them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--sql", action="store_true", help="print the SQL and change nothing")
        parser.add_argument(
            "--apply", metavar="URL", help="run the SQL through this administrator's address"
        )

    def handle(self, *args: Any, sql: bool, apply: str | None, **options: Any) -> None:
        """Print or run the statements; passwords come from GATEHOUSE_<ROLE>_PASSWORD."""
        passwords = {
            role: os.environ[name]
            for role in LOGIN_ROLES
            if (name := f"GATEHOUSE_{role.removeprefix('gh_').upper()}_PASSWORD") in os.environ
        }
        login = connection.settings_dict["USER"]
        statements = roles_sql(passwords=passwords, login=login or None)
        if sql:
            self.stdout.write(statements)
        elif apply:
            try:
                with psycopg.connect(apply, autocommit=True) as administrator:
                    administrator.execute(statements.encode())
            except psycopg.Error as error:
                raise CommandError(f"The roles could not be made: {error}") from error
            self.stdout.write("The roles and schemas are there.")
        else:
            try:
                readiness.require_roles()
            except readiness.DatabaseNotReady as error:
                raise CommandError(str(error)) from error
            self.stdout.write("The roles are there.")
