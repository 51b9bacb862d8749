from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class AuditConfig(AppConfig):
    name = "controlplane.audit"
    label = "audit"

    def ready(self) -> None:
        post_migrate.connect(_make_partitions, sender=self)


def _make_partitions(using: str, **_: Any) -> None:
    """Make the coming months' tables at every start: the sealer may have been off for long."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regprocedure('ledger.ensure_partitions(integer)') IS NOT NULL")
        (is_there,) = cursor.fetchone()
        if is_there and using == "migrate":
            cursor.execute("SELECT ledger.ensure_partitions(3)")
