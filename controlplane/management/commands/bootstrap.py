"""`manage.py bootstrap`: a workspace and its first administrator."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from controlplane import installing
from controlplane.accounts import services as accounts
from controlplane.core.errors import DomainError

PASSWORD_VARIABLE = "GATEHOUSE_ADMIN_PASSWORD"  # noqa: S105 - the name, not the password


class Command(BaseCommand):
    help = "Make a workspace and the person who administers it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workspace", required=True, metavar="KEY")
        parser.add_argument("--workspace-name", default="", metavar="NAME")
        parser.add_argument("--time-zone", default="UTC")
        parser.add_argument("--username", required=True)
        parser.add_argument("--display-name", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask for the password, or take it from the environment; make both, or neither."""
        password = os.environ.get(PASSWORD_VARIABLE) or getpass.getpass(
            f"Password of {options['username']} (12 characters at least): "
        )
        actor = installing.setup_actor()
        try:
            with transaction.atomic():
                workspace = installing.open_workspace(
                    actor=actor,
                    key=options["workspace"],
                    name=options["workspace_name"] or options["workspace"].capitalize(),
                    time_zone=options["time_zone"],
                )
                admin = accounts.create_person(
                    actor=actor,
                    username=options["username"],
                    display_name=options["display_name"] or options["username"],
                    password=password,
                    workspace=workspace,
                )
                installing.hold_role(
                    actor=actor,
                    user=admin,
                    role="workspace_admin",
                    workspace=workspace,
                    reason="First administrator of the workspace",
                )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(
            f"{admin} administers the workspace {workspace.name}. Sign in as {admin.username}."
        )
