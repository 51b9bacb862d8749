"""Give every event its number and sign what the ledger holds.

One sealer works at a time. It never goes on from a database that is not the one it signed last:
a restored backup that is written on would be a second history under the same name.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from controlplane.audit import notes
from controlplane.audit.connections import SEALER_LOCK, Connection
from controlplane.audit.merkle import EMPTY_ROOT, Frontier
from controlplane.audit.payloads import ObjectRef, compose, leaf_hash
from controlplane.audit.sealer_files import SealerFiles, State
from controlplane.audit.tree_reading import TreeIncomplete, frontier_at
from controlplane.core import clock
from controlplane.core.actor import Actor

logger = logging.getLogger(__name__)

BATCH = 5_000
TICK = timedelta(milliseconds=100)
HEARTBEAT_EVERY = timedelta(hours=1)
MONTHS_AHEAD = 3
_RECONNECT_AFTER = timedelta(seconds=2)
_HOUSEKEEPING_EVERY = timedelta(minutes=1)


class LedgerDiffers(Exception):
    """The database is not the one that was signed last; nothing may be signed."""


class Sealer:
    """Seals through one connection of the role gh_sealer (autocommit) and one folder of files."""

    def __init__(self, connection: Connection, files: SealerFiles) -> None:
        self._connection = connection
        self._files = files
        self._actor = Actor.system("sealer")
        self._origin = ""
        self._frontier = Frontier()

    @property
    def size(self) -> int:
        return self._frontier.size

    def is_alone(self) -> bool:
        """Whether this connection has become, or already is, the one sealer."""
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [SEALER_LOCK]).fetchone()
        return bool(row and row[0])

    def open(self) -> None:
        """Compare the database with what was signed last; the sealer is ready afterwards.

        On the very first start the key is made and the ledger's first event appended.

        Raises:
            LedgerDiffers: the database is smaller or different, or belongs to another key.
            FilesUnusable: the key or the state cannot be read.
        """
        row = self._connection.execute("SELECT origin FROM ledger.log").fetchone()
        if row is None:
            raise LedgerDiffers("The ledger has no name: its log table is empty.")
        self._origin = str(row[0])
        state = self._files.load_state()
        if state is None or not self._files.has_key():
            self._begin(state)
            state = State.empty(self._origin)
        self._key = self._files.signing_key()
        self._frontier = self._compare(state)
        self.make_partitions()
        if not self.size and not self._queued():
            self._say("ledger.created", {"origin": self._origin, "key": self._vkey()})

    def seal(self, limit: int = BATCH) -> int:
        """Order, hash and sign up to ``limit`` waiting events; return how many.

        All of it is one transaction; the state file follows the commit.

        Raises:
            LedgerDiffers: the database changed under the sealer, or an event was altered.
        """
        frontier = self._frontier.copy()
        with self._connection.transaction():
            queued = self._connection.execute(
                "DELETE FROM ledger.pending WHERE event_id IN "
                "(SELECT event_id FROM ledger.pending ORDER BY event_id LIMIT %s) "
                "RETURNING event_id, at",
                [limit],
            ).fetchall()
            if not queued:
                return 0
            self._require_unchanged()
            leaves = self._leaves(queued)
            completed = [node for _, _, leaf in leaves for node in frontier.append(leaf)]
            self._store(leaves, completed, frontier)
        self._frontier = frontier
        self._files.save_state(State(self._origin, frontier.size, frontier.root().hex()))
        return len(leaves)

    def beat(self) -> bool:
        """Append a heartbeat if the last one is an hour old: silence would look like truncation."""
        row = self._connection.execute(
            "SELECT at FROM ledger.event WHERE action = 'ledger.heartbeat' ORDER BY at DESC LIMIT 1"
        ).fetchone()
        if row and clock.now() - row[0] < HEARTBEAT_EVERY:
            return False
        self._say("ledger.heartbeat", {"size": self.size})
        return True

    def make_partitions(self) -> int:
        """Make the tables of the coming months; return how many were missing."""
        row = self._connection.execute(
            "SELECT ledger.ensure_partitions(%s)", [MONTHS_AHEAD]
        ).fetchone()
        return int(row[0]) if row else 0

    def _begin(self, state: State | None) -> None:
        """Make the files of a ledger that nobody has signed yet."""
        row = self._connection.execute(
            "SELECT EXISTS (SELECT FROM ledger.leaf) OR EXISTS (SELECT FROM ledger.checkpoint)"
        ).fetchone()
        if (row and row[0]) or (state and state.tree_size):
            raise LedgerDiffers(
                f"The ledger {self._origin} has been signed before, but its key or state is not "
                f"in {self._files.folder}. Give the sealer its folder back."
            )
        if self._files.has_key():
            raise LedgerDiffers(
                f"{self._files.folder} holds a signing key without a state. Bring the state back, "
                "or move the key away to begin a new ledger."
            )
        self._files.save_state(State.empty(self._origin))
        self._files.make_key(self._origin)

    def _compare(self, state: State) -> Frontier:
        if state.origin != self._origin:
            raise LedgerDiffers(
                f"This sealer signs {state.origin}; the database holds {self._origin}."
            )
        size, root = self._newest_checkpoint()
        (leaves,) = self._one("SELECT coalesce(max(leaf_index) + 1, 0) FROM ledger.leaf")
        if size < state.tree_size or leaves < state.tree_size:
            raise LedgerDiffers(
                f"The database holds {min(size, leaves)} sealed entries, but {state.tree_size} "
                "have been signed. A restored or truncated ledger must not be continued."
            )
        if leaves != size:
            raise LedgerDiffers(
                f"The newest checkpoint covers {size} entries, but {leaves} are sealed."
            )
        try:
            signed = frontier_at(self._connection, state.tree_size)
            frontier = frontier_at(self._connection, size)
        except TreeIncomplete as error:
            raise LedgerDiffers(str(error)) from error
        if signed.root().hex() != state.root or frontier.root() != root:
            raise LedgerDiffers("The sealed entries are not the ones that have been signed.")
        return frontier

    def _require_unchanged(self) -> None:
        size, root = self._newest_checkpoint()
        if (size, root) != (self.size, self._frontier.root()):
            raise LedgerDiffers(
                f"The newest checkpoint covers {size} entries; {self.size} were signed last. "
                "The ledger has been changed under the sealer."
            )

    def _newest_checkpoint(self) -> tuple[int, bytes]:
        row = self._connection.execute(
            "SELECT tree_size, root FROM ledger.checkpoint ORDER BY tree_size DESC LIMIT 1"
        ).fetchone()
        return (int(row[0]), bytes(row[1])) if row else (0, EMPTY_ROOT)

    def _leaves(self, queued: list[tuple[Any, ...]]) -> list[tuple[uuid.UUID, datetime, bytes]]:
        """Return id, time and hash of the queued events, in the order of their ids."""
        moments = [at for _, at in queued]
        rows = self._connection.execute(
            "SELECT id, at, payload, leaf FROM ledger.event "
            "WHERE id = ANY(%s) AND at BETWEEN %s AND %s ORDER BY id",
            [[event_id for event_id, _ in queued], min(moments), max(moments)],
        ).fetchall()
        if len(rows) != len(queued):
            raise LedgerDiffers(f"{len(queued)} events wait, but {len(rows)} of them exist.")
        leaves = []
        for event_id, at, payload, stored in rows:
            computed = leaf_hash(payload)
            if computed != bytes(stored):
                raise LedgerDiffers(f"The event {event_id} was altered before it was sealed.")
            leaves.append((event_id, at, computed))
        return leaves

    def _store(
        self,
        leaves: list[tuple[uuid.UUID, datetime, bytes]],
        completed: list[tuple[int, int, bytes]],
        frontier: Frontier,
    ) -> None:
        self._connection.execute(
            "INSERT INTO ledger.leaf (leaf_index, event_id, event_at, leaf_hash) "
            "SELECT %s + number - 1, event_id, event_at, leaf_hash FROM "
            "unnest(%s::uuid[], %s::timestamptz[], %s::bytea[]) "
            "WITH ORDINALITY AS given (event_id, event_at, leaf_hash, number)",
            [self.size, *(list(column) for column in zip(*leaves, strict=True))],
        )
        if completed:
            self._connection.execute(
                "INSERT INTO ledger.node (level, idx, hash) SELECT * FROM "
                "unnest(%s::smallint[], %s::bigint[], %s::bytea[])",
                [list(column) for column in zip(*completed, strict=True)],
            )
        root = frontier.root()
        note = notes.sign(notes.Checkpoint(self._origin, frontier.size, root), self._key)
        self._connection.execute(
            "INSERT INTO ledger.checkpoint (tree_size, root, note, at) VALUES (%s, %s, %s, %s)",
            [frontier.size, root, note, datetime.now(UTC)],
        )

    def _say(self, action: str, after: dict[str, Any]) -> None:
        event = compose(
            action,
            actor=self._actor,
            obj=ObjectRef("ledger", self._origin, self._origin, None),
            after=after,
            cause="schedule",
        )
        self._connection.execute(
            "SELECT ledger.audit_append(%s, %s::jsonb)", [event.payload, event.personal]
        )

    def _queued(self) -> bool:
        (exists,) = self._one("SELECT EXISTS (SELECT FROM ledger.pending)")
        return bool(exists)

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._connection.execute(query.encode()).fetchone()
        if row is None:
            raise LedgerDiffers(f"No answer to: {query}")
        return row

    def _vkey(self) -> str:
        public = self._key.public_key().public_bytes_raw()
        return notes.VerifierKey(self._origin, public).vkey


def run(connect: Callable[[], Connection], files: SealerFiles, stop: threading.Event) -> None:
    """Seal until ``stop`` is set; a lost database is waited for, a changed one ends the run.

    Raises:
        LedgerDiffers, FilesUnusable: nothing may be signed; a person has to look.
    """
    while not stop.is_set():
        try:
            with connect() as connection:
                _work(Sealer(connection, files), stop)
        except psycopg.OperationalError as error:
            logger.warning("ledger.sealer.database_lost: %s", str(error).strip())
            stop.wait(_RECONNECT_AFTER.total_seconds())


def _work(sealer: Sealer, stop: threading.Event) -> None:
    waited = False
    while not sealer.is_alone():
        if not waited:
            logger.info("ledger.sealer.waits: another sealer is at work")
            waited = True
        if stop.wait(1):
            return
    sealer.open()
    logger.info("ledger.sealer.ready size=%d", sealer.size)
    next_housekeeping = datetime.now(UTC)
    while not stop.is_set():
        if datetime.now(UTC) >= next_housekeeping:
            sealer.make_partitions()
            sealer.beat()
            next_housekeeping = datetime.now(UTC) + _HOUSEKEEPING_EVERY
        if sealer.seal() < BATCH:
            stop.wait(TICK.total_seconds())
