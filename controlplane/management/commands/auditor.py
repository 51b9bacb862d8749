"""`manage.py auditor`: let a person watch every workspace, or end that."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane import installing
from controlplane.access import services as access
from controlplane.accounts.models import User
from controlplane.core.errors import DomainError


class Command(BaseCommand):
    help = "Give a person the role Auditor in every workspace, or take it away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reason", required=True)
        parser.add_argument("--end", action="store_true", help="take the role away")

    def handle(self, *args: Any, username: str, reason: str, end: bool, **options: Any) -> None:
        user = User.objects.filter(username=username, kind=User.Kind.HUMAN).first()
        if user is None:
            raise CommandError(f"There is no person {username}.")
        try:
            access.set_global_role(
                actor=installing.setup_actor(),
                user=user,
                role="auditor",
                holds=not end,
                reason=reason,
            )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user} is {'no longer' if end else 'now'} an auditor.")
