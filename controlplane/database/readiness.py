"""Refusing to start on a database that is not prepared, with the sentence that says why."""

from __future__ import annotations

import psycopg
from django.conf import settings
from django.db import connection

from controlplane.database.roles import ALL_ROLES, APP, missing_roles, sentence_about_missing


class DatabaseNotReady(Exception):
    """The database cannot be used yet; the message says what to do."""


def require_roles() -> None:
    """Return when the database answers and has all roles.

    Uses a connection of its own and closes it: a process that forks later must not share one.

    Raises:
        DatabaseNotReady: it cannot be reached, or lacks a role.
    """
    try:
        with psycopg.connect(settings.DATABASE_URL, connect_timeout=10) as own:
            rows = own.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(ALL_ROLES)]
            ).fetchall()
    except psycopg.OperationalError as error:
        raise DatabaseNotReady(f"The database cannot be reached: {error}") from error
    missing = missing_roles([name for (name,) in rows])
    if missing:
        raise DatabaseNotReady(sentence_about_missing(missing))


def roles_are_separated() -> bool:
    """Whether the application's login is unable to take on any other role of ours.

    Asked of the database, not of the configuration: it is what the database would allow.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(pg_has_role(session_user, rolname, 'MEMBER')) FROM pg_roles "
            "WHERE rolname = ANY(%s)",
            [[role for role in ALL_ROLES if role != APP]],
        )
        (is_member,) = cursor.fetchone()
    return not is_member
