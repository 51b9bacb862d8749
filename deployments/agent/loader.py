"""Captured predictions from the disk of the node into PostgreSQL, each exactly once.

A segment is deleted after its transaction has committed. A crash between the two loads it again,
and the prediction's id keeps it from counting twice.
"""

import contextlib
import fcntl
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from deployments.gateway.capture import read_segment

log = logging.getLogger("gatehouse.loader")

LOOK_SECONDS = 0.5
ROWS_AT_ONCE = 1_000
RETRY_SECONDS = 2.0
# An open segment that nobody holds any more and that is this old belongs to a dead gateway.
ABANDONED_SECONDS = 10.0

COLUMNS = {
    "id": "uuid",
    "at": "timestamptz",
    "workspace_id": "bigint",
    "deployment": "text",
    "deployment_id": "bigint",
    "revision_id": "bigint",
    "revision": "bigint",
    "version_id": "bigint",
    "arm": "text",
    "assignment": "text",
    "bucket": "int",
    "unit": "text",
    "status": "int",
    "error": "text",
    "request_id": "text",
    "row_count": "int",
    "features": "jsonb",
    "outputs": "jsonb",
    "queue_us": "int",
    "predict_us": "int",
    "total_us": "int",
    "cache": "text",
}
_INSERT = sql.SQL(
    "INSERT INTO deployments_prediction ({names}) "
    "SELECT {names} FROM jsonb_to_recordset({records}) AS r({typed}) ON CONFLICT DO NOTHING"
).format(
    names=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    records=sql.Placeholder(),
    typed=sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in COLUMNS.items()
    ),
)


def load(connection: psycopg.Connection[Any], segment: Path) -> int:
    """Insert the records of one segment and delete it; return how many were new.

    Records that PostgreSQL cannot hold are kept beside it with the ending `.refused`, and a
    segment with a torn record is kept with the ending `.torn`.
    """
    found, is_whole = read_segment(segment)
    try:
        added = _insert(connection, found)
    except psycopg.DataError:
        added = 0
        for record in found:
            try:
                added += _insert(connection, [record])
            except psycopg.DataError as error:
                log.error("record_refused id=%s error=%s", record.get("id"), error)
                with segment.with_suffix(".refused").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
    if is_whole:
        segment.unlink()
    else:
        log.error("segment_torn path=%s records=%s", segment.name, len(found))
        segment.rename(segment.with_suffix(".torn"))
    return added


def _insert(connection: psycopg.Connection[Any], found: list[dict[str, Any]]) -> int:
    # One parameter for all: the node's role may not make the temporary table that COPY needs.
    with connection.transaction(), connection.cursor() as cursor:
        added = 0
        for start in range(0, len(found), ROWS_AT_ONCE):
            cursor.execute(_INSERT, (Jsonb(found[start : start + ROWS_AT_ONCE]),))
            added += cursor.rowcount
        return added


def adopt(folder: Path) -> None:
    """Finish the segments of gateways that were killed."""
    for path in folder.glob("*.open"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < ABANDONED_SECONDS:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.rename(path.with_suffix(".seg"))
                log.warning("segment_adopted path=%s", path.name)


def waiting(folder: Path) -> Iterator[Path]:
    """Yield the finished segments, oldest first."""
    yield from sorted(folder.glob("*.seg"))


class Loader(threading.Thread):
    """Loads segments as they are finished; waits when the database is away."""

    def __init__(self, folder: Path, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        super().__init__(name="loader", daemon=True)
        self.loaded = 0
        self._folder = folder
        self._connect = connect
        self._stop_asked = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def backlog(self) -> int:
        """Return how many finished segments are not in the database yet."""
        return sum(1 for _ in waiting(self._folder))

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                with self._connect() as connection:
                    while not self._stop_asked.wait(LOOK_SECONDS):
                        self._load_all(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("loader_waits error=%s", str(error).strip().splitlines()[:1])
                self._stop_asked.wait(RETRY_SECONDS)

    def _load_all(self, connection: psycopg.Connection[Any]) -> None:
        adopt(self._folder)
        for segment in waiting(self._folder):
            started = time.monotonic()
            size = segment.stat().st_size
            added = load(connection, segment)
            self.loaded += added
            log.info(
                "segment_loaded rows=%s bytes=%s ms=%d",
                added,
                size,
                (time.monotonic() - started) * 1_000,
            )
