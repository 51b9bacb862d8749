"""The agent's two conversations with PostgreSQL: what to serve, and what happened.

Both go on when the database is away: the node serves what it has, and what must be told waits.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from deployments.agent.disk import Stored, verified
from deployments.agent.settings import Settings
from deployments.snapshot import SnapshotInvalid

log = logging.getLogger("gatehouse.agent")

CHANNEL = "gatehouse_routing"
POLL_SECONDS = 1.0
RETRY_SECONDS = 1.0
_LONGEST_BACKLOG = 10_000

_NEWEST = """
    SELECT epoch, revision, body, sha256 FROM deployments_routingsnapshot
    ORDER BY epoch DESC, revision DESC LIMIT 1
"""
_NEWEST_ORDER = """
    SELECT epoch, revision FROM deployments_routingsnapshot
    ORDER BY epoch DESC, revision DESC LIMIT 1
"""


def connect(settings: Settings, name: str) -> psycopg.Connection[Any]:
    """Return a connection as the node's role, in autocommit."""
    return psycopg.connect(
        settings.database_url,
        autocommit=True,
        connect_timeout=5,
        application_name=f"gatehouse-agent-{name}",
        options=settings.database_options,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )


class Watcher(threading.Thread):
    """Calls `changed(stored)` with every newer snapshot, by notification or after at most 1 s."""

    def __init__(
        self, settings: Settings, known: tuple[int, int], changed: Callable[[Stored], None]
    ) -> None:
        super().__init__(name="watcher", daemon=True)
        self._settings = settings
        self._known = known
        self._changed = changed
        self._stop_asked = threading.Event()
        self._refused: tuple[int, int] | None = None
        self.is_connected = False
        self.is_database_older = False

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                with connect(self._settings, "watcher") as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.is_connected = True
                    while not self._stop_asked.is_set():
                        self._look(connection)
                        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
            except psycopg.Error as error:
                log.warning("database_away error=%s", str(error).strip().splitlines()[:1])
            self.is_connected = False
            self._stop_asked.wait(RETRY_SECONDS)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(_NEWEST_ORDER).fetchone()
        if row is None:
            return
        newest = (int(row[0]), int(row[1]))
        older = newest < self._known
        if older and not self.is_database_older:
            # Restored from a backup: it may not take back what this node already serves.
            log.error("database_older database=%s node=%s", newest, self._known)
        self.is_database_older = older
        if newest <= self._known or newest == self._refused:
            return
        found = connection.execute(_NEWEST).fetchone()
        if found is None:
            return
        try:
            stored = verified(found[2], found[3])
            if stored.order != (int(found[0]), int(found[1])):
                raise SnapshotInvalid("The row and its text name different revisions.")
        except SnapshotInvalid as error:
            self._refused = newest
            log.error("snapshot_refused order=%s reason=%s", newest, error)
            return
        self._known = stored.order
        self._changed(stored)


class Reporter(threading.Thread):
    """Writes acknowledgements, worker states and heartbeats in the order they happened."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="reporter", daemon=True)
        self._settings = settings
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_LONGEST_BACKLOG)
        self._something = threading.Condition()
        self._stopping = False

    def acknowledge(self, gateway: str, order: tuple[int, int]) -> None:
        """Tell that a gateway answers by this snapshot."""
        self._put(
            "INSERT INTO deployments_gatewayack (gateway, epoch, revision, at) "
            "VALUES (%s, %s, %s, clock_timestamp())",
            (gateway, *order),
        )

    def worker_state(self, worker_key: str, state: str, detail: str) -> None:
        """Tell how a worker of this node is: loading, ready, failed or degraded."""
        log.info("worker_state worker=%s state=%s detail=%s", worker_key, state, detail)
        self._put(
            "INSERT INTO deployments_armstatus (node, worker_key, state, detail, at) "
            "VALUES (%s, %s, %s, %s, clock_timestamp())",
            (self._settings.node, worker_key, state, detail[:2_000]),
        )

    def heartbeat(self, process: str, detail: dict[str, Any]) -> None:
        """Tell that a process of this node lives, with its figures."""
        self._put(
            "INSERT INTO deployments_nodeheartbeat (node, process, at, detail) "
            "VALUES (%s, %s, clock_timestamp(), %s)",
            (self._settings.node, process, Jsonb(detail, dumps=json.dumps)),
        )

    def stop(self) -> None:
        """Write what waits, if the database lets it happen within two seconds, and end."""
        with self._something:
            self._stopping = True
            self._something.notify()
        self.join(timeout=2)

    def run(self) -> None:
        while not self._stopping:
            try:
                with connect(self._settings, "reporter") as connection:
                    self._write(connection)
            except psycopg.Error as error:
                log.warning("report_waits error=%s", str(error).strip().splitlines()[:1])
                time.sleep(RETRY_SECONDS)

    def _put(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._something:
            self._waiting.append((statement, values))
            self._something.notify()

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        while True:
            with self._something:
                while not self._waiting and not self._stopping:
                    self._something.wait()
                if not self._waiting:
                    return
                statement, values = self._waiting[0]
            try:
                connection.execute(statement.encode(), values)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                # Trying again would give the same answer and hold up everything behind it.
                log.error("report_refused error=%s", error)
            with self._something:
                if self._waiting and self._waiting[0] == (statement, values):
                    self._waiting.popleft()
