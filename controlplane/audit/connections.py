"""Plain psycopg connections under the ledger's own database roles."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from django.conf import settings
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]

# An arbitrary number that names "I am the sealer" among the advisory locks.
SEALER_LOCK = 7_236_100


def parameters(role: str) -> dict[str, Any]:
    """Return psycopg's arguments for one of the roles migrate, sealer, auditor, eraser, node."""
    return _parameters(settings.ROLE_DATABASES[role])


def connect(role: str, *, autocommit: bool = True) -> Connection:
    """Return a connection that acts as ``gh_<role>``."""
    return _connect(parameters(role), role, autocommit=autocommit)


def connect_to_read() -> Connection:
    """Return the auditor's connection where it has a login, else the application's.

    Both may read the whole ledger; neither may change it.
    """
    if os.environ.get("GATEHOUSE_AUDITOR_DATABASE_URL"):
        return connect("auditor")
    return _connect(_parameters(settings.DATABASES["default"]), "reader", autocommit=True)


def _connect(values: dict[str, Any], name: str, *, autocommit: bool) -> Connection:
    connection = psycopg.connect(
        **values, autocommit=autocommit, application_name=f"gatehouse-{name}"
    )
    # Times are compared as text: in UTC whatever the server's own zone is.
    connection.execute("SET TIME ZONE 'UTC'")
    if not autocommit:
        connection.commit()
    return connection


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    given = {
        "dbname": values["NAME"],
        "user": values["USER"],
        "password": values["PASSWORD"],
        "host": values["HOST"],
        "port": values["PORT"],
    }
    return {name: value for name, value in given.items() if value} | dict(values["OPTIONS"])
