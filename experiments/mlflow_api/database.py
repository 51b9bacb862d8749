"""Where MLflow's own tables live, and whether they are the ones this MLflow expects."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

SCHEMA = "mlflow"


def engine_url(alias: str = "default") -> str:
    """Return the SQLAlchemy address of schema ``mlflow`` under the login of a Django alias.

    psycopg2, because MLflow compares integers with text in places where psycopg 3 does not cast.
    """
    own = settings.DATABASES[alias]
    query, user, password, address = _parts(own)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    return (
        f"postgresql+psycopg2://{login}{address}/{quote(own['NAME'], safe='')}?{urlencode(query)}"
    )


def current_revision() -> str | None:
    """Return the alembic revision of the schema, over a connection that is closed again.

    A process that forks later must not share one, hence none of Django's is used.
    """
    with psycopg.connect(settings.DATABASE_URL, connect_timeout=10) as connection:
        try:
            row = connection.execute("SELECT version_num FROM mlflow.alembic_version").fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None
    return str(row[0]) if row else None


def require_revision(expected: str) -> None:
    """Return when the schema is at the revision that the installed MLflow was written for.

    Raises:
        ImproperlyConfigured: it is not; the sentence says which command puts it right.
    """
    found = current_revision()
    if found != expected:
        raise ImproperlyConfigured(
            f"MLflow's tables are at revision {found or 'none'}, and MLflow "
            f"{settings.MLFLOW_VERSION} needs {expected}. Run: manage.py mlflow_migrate"
        )


def _parts(own: dict[str, Any]) -> tuple[dict[str, str], str, str, str]:
    options = dict(own.get("OPTIONS", {}))
    flags = f"{options.pop('options', '')} -c search_path={SCHEMA}".strip()
    query = {key: str(value) for key, value in options.items()}
    host, port = own.get("HOST", ""), own.get("PORT", "")
    address = ""
    if host.startswith("/"):
        query["host"] = host
        if port:
            query["port"] = port
    else:
        address = f"{host}:{port}" if port else host
    return {**query, "options": flags}, own.get("USER", ""), own.get("PASSWORD", ""), address
