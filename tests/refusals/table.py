"""What a row of the table of refusals says, and what stands in the product before and after it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db import connection

if TYPE_CHECKING:
    from tests.refusals.scene import Scene

REFUSED, SUCCESS = "refused", "success"
# Why some refusals leave no event.
UNREAD = "What cannot be read asks for nothing, so nobody was refused anything."
ABSENT = "Looking for what does not exist is no act, and the answer tells nobody what does."
EDGE = "The gateway has no ledger; what it refuses is counted in its figures."

Event = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What the caller got: the status, the code for machines and the sentence for people."""

    status: int
    code: str
    says: str


Ask = Callable[["Scene"], Answer]


@dataclass(frozen=True)
class Row:
    """One refusal of the thread.

    ``given`` prepares what is asked about. ``events`` are the (action, outcome) pairs that the
    ledger has gained afterwards, or the reason why it gains none. Every table but those of
    ``leaves`` (name to rows gained) must be as it was, to the last column; so must the files.
    """

    name: str
    ask: Ask
    status: int
    code: str
    says: str
    events: tuple[Event, ...] | str
    given: Callable[[Scene], object] = lambda scene: None
    leaves: Mapping[str, int] = field(default_factory=dict)
    needs_processes: bool = False


def refused(action: str) -> tuple[Event, ...]:
    return ((action, REFUSED),)


def heard(response: Any) -> Answer:
    """Return the answer of any of the doors; on a page the sentence is all of its text."""
    if "json" not in response.headers.get("Content-Type", ""):
        shown = response.headers.get("Location") or response.content.decode()
        text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", shown)))
        return Answer(response.status_code, "", text)
    body = json.loads(response.content)
    code = body.get("code") or body.get("error_code") or ""
    return Answer(response.status_code, code, body.get("detail") or body.get("message") or "")


# Columns that only say when somebody was last here; a refused request may touch them.
_MARKS = {"last_used_at", "last_login", "seen_at"}
# The ledger is judged by its events; sessions and repeats belong to the door, a worker's row to it.
_APART = ("ledger", "django_session", "audit_repeatedrefusal", "jobs_worker")


@dataclass(frozen=True)
class Standing:
    """Every table's number of rows and digest, and the names of all stored files."""

    tables: Mapping[str, tuple[int, str]]
    files: frozenset[str]


def standing() -> Standing:
    """Read what the product holds now."""
    parts = []
    for table, columns in _tables().items():
        row = f"concat_ws('|', {', '.join(columns)})"
        parts.append(
            f"SELECT '{table}', count(*), coalesce(md5(string_agg(md5({row}), '' "
            f"ORDER BY md5({row}))), '') FROM {table} AS t"
        )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        tables = {
            name.replace('"', ""): (count, digest) for name, count, digest in cursor.fetchall()
        }
    root = Path(settings.BLOB_DIR)
    files = frozenset(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return Standing(tables, files)


def differences(before: Standing, after: Standing, leaves: Mapping[str, int]) -> list[str]:
    """Return in sentences what is not as it should be after a refusal."""
    found = []
    for table, (count, digest) in after.tables.items():
        was, digest_before = before.tables[table]
        gained = leaves.get(table)
        if gained is None and (count, digest) != (was, digest_before):
            found.append(f"{table} changed: {was} rows before, {count} after")
        elif gained is not None and count - was != gained:
            found.append(f"{table} gained {count - was} rows, not {gained}")
    found += [f"no table {name}" for name in leaves if name not in {*after.tables, "files"}]
    new = after.files - before.files
    if len(new) != leaves.get("files", 0):
        found.append(f"{len(new)} files are left: {sorted(new)}")
    return found


def _tables() -> dict[str, list[str]]:
    """Return each table of the product and of MLflow with the columns that must not change."""
    found: dict[str, list[str]] = {}
    for model in apps.get_models(include_auto_created=True):
        name = model._meta.db_table
        if model._meta.managed and not any(part in name for part in _APART):
            found[f'"{name}"'] = [
                f't."{column.column}"::text'
                for column in model._meta.concrete_fields
                if column.name not in _MARKS
            ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'mlflow'")
        for (name,) in cursor.fetchall():
            found[f'mlflow."{name}"'] = ["t::text"]
    return found
