"""Empty the database after a test that commits, as quickly as it can be done.

Django's flush truncates every table of every alias and makes all permissions anew, which costs
seconds a test. Here the tables that hold rows are truncated, once, and permissions stay.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connections
from django.test import TransactionTestCase

_KEPT = {"auth_permission", "django_content_type"}


def instead_of_flush() -> None:
    """From now on a test that commits is cleaned up by ``empty``."""
    TransactionTestCase._fixture_teardown = _tear_down  # type: ignore[attr-defined]


def empty() -> None:
    """No managed table has rows any more, but for permissions.

    Sequences go on: the ledger keeps its entries, and the next test's records must not be taken
    for those that an earlier one's entries are about.
    """
    tables = sorted(
        {
            model._meta.db_table
            for model in apps.get_models(include_auto_created=True)
            if model._meta.managed
        }
        - _KEPT
    )
    owner = connections["migrate"].copy(alias="emptying")
    try:
        with owner.cursor() as cursor:
            cursor.execute(
                " UNION ALL ".join(
                    f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM \"{table}\")" for table in tables
                )
            )
            filled = [row[0] for row in cursor.fetchall()]
            if filled:
                names = ", ".join(f'"{table}"' for table in filled)
                cursor.execute(f"TRUNCATE {names} CASCADE")
    finally:
        owner.close()


def _tear_down(case: Any) -> None:
    empty()
