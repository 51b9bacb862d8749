"""Recompute everything that the ledger claims, from the stored bytes up.

What cannot be seen from inside the database (a whole ledger cut back to an older signed state,
or rewritten with a stolen key) takes anchors kept elsewhere; the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import IsolationLevel

from controlplane.audit import notes, posture
from controlplane.audit.connections import Connection
from controlplane.audit.merkle import CACHED_LEVELS, Frontier
from controlplane.audit.sealer_files import TrustedKey
from controlplane.audit.tree_reading import TreeIncomplete, frontier_at
from controlplane.audit.verify_entries import EntryCheck

NOT_EXCLUDED = "Without anchors kept elsewhere, truncation and restore are not excluded."
_BATCH = 10_000
_MOST_FINDINGS = 200


class CouldNotVerify(Exception):
    """The check could not be made, which says nothing about the ledger; the message says why."""


@dataclass(slots=True)
class Report:
    """What was found. ``findings`` are sentences; without any the ledger is intact."""

    origin: str = ""
    since: int = 0
    size: int = 0
    root: str = ""
    checkpoints: int = 0
    pending: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    findings_not_listed: int = 0

    @property
    def is_intact(self) -> bool:
        return not self.findings

    def add(self, *sentences: str) -> None:
        for sentence in sentences:
            if len(self.findings) < _MOST_FINDINGS:
                self.findings.append(sentence)
            else:
                self.findings_not_listed += 1


def verify(connection: Connection, keys: Sequence[TrustedKey], *, since: int = 0) -> Report:
    """Check the ledger from entry ``since`` on (0: all of it), in one snapshot.

    The connection must not be in a transaction. Entries below ``since`` are trusted through the
    signed checkpoint that covers them.

    Raises:
        CouldNotVerify: the database does not answer, or ``since`` is beyond the ledger.
    """
    started = time.monotonic()
    try:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            report = _Verification(connection, keys, since).run()
    except psycopg.Error as error:
        raise CouldNotVerify(f"The database could not be read: {str(error).strip()}") from error
    report.seconds = time.monotonic() - started
    return report


class _Verification:
    def __init__(self, connection: Connection, keys: Sequence[TrustedKey], since: int) -> None:
        self._connection = connection
        self._keys = keys
        self._report = Report(since=since)

    def run(self) -> Report:
        report = self._report
        report.add(*posture.findings(self._connection))
        report.origin = self._origin()
        frontier = self._start(report.since)
        first = frontier.size
        entries = EntryCheck(self._connection, report)
        self._walk(frontier, entries)
        report.size, report.root = frontier.size, frontier.root().hex()
        entries.check_the_rest(since=first)
        (report.pending,) = self._rows("SELECT count(*) FROM ledger.pending")[0]
        return report

    def _origin(self) -> str:
        rows = self._rows("SELECT origin FROM ledger.log")
        if len(rows) != 1:
            self._report.add("The ledger's name is missing.")
            return ""
        origin = str(rows[0][0])
        if all(key.key.name != origin for key in self._keys):
            self._report.add(f"The ledger is called {origin}, which no trusted key signs for.")
        return origin

    def _start(self, since: int) -> Frontier:
        """Return the frontier at ``since``, vouched for by a signed checkpoint."""
        if not since:
            return Frontier()
        rows = self._rows(
            "SELECT tree_size, root, note FROM ledger.checkpoint WHERE tree_size <= %s "
            "ORDER BY tree_size DESC LIMIT 1",
            [since],
        )
        (leaves,) = self._rows(
            "SELECT count(*) FROM ledger.leaf WHERE leaf_index = %s - 1", [since]
        )[0]
        if not rows or not leaves:
            raise CouldNotVerify(f"The ledger has no {since} entries, or no checkpoint below that.")
        size, root, note = rows[0]
        try:
            frontier = frontier_at(self._connection, size)
        except TreeIncomplete as error:
            self._report.add(str(error))
            return Frontier()
        self._check_note(size, bytes(root), note, frontier.root())
        self._report.since = size
        return frontier

    def _walk(self, frontier: Frontier, entries: EntryCheck) -> None:
        """Grow the tree leaf by leaf beside the checkpoints and cached subtrees."""
        report = self._report
        first = frontier.size
        checkpoints = self._checkpoints(first)
        waiting = next(checkpoints, None)
        completed: dict[tuple[int, int], bytes] = {}
        for leaves in self._leaves(first):
            entries.check(leaves)
            for index, _, _, leaf in leaves:
                if index != frontier.size:
                    report.add(f"Entry number {frontier.size + 1} is missing.")
                    return
                for level, position, node in frontier.append(leaf):
                    completed[level, position] = node
                while waiting and waiting[0] <= frontier.size:
                    self._check_note(*waiting, frontier.root())
                    waiting = next(checkpoints, None)
        newest = self._rows("SELECT max(tree_size) FROM ledger.checkpoint")[0][0] or 0
        if newest != frontier.size:
            report.add(
                f"The newest checkpoint covers {newest} entries, the ledger holds {frontier.size}."
            )
        self._check_nodes(completed, first)

    def _check_note(self, size: int, root: bytes, note: str, computed: bytes) -> None:
        report, place = self._report, f"The checkpoint of {size} entries"
        report.checkpoints += 1
        if root != computed:
            report.add(f"{place} has a root that its entries do not give.")
        keys = [key for key in self._keys if key.covers(size)]
        if not keys:
            report.add(f"{place} falls outside every trusted key.")
            return
        for trusted in keys:
            try:
                opened = notes.open_note(note, trusted.key)
            except notes.BadNote as error:
                report.add(f"{place} is not signed as it should be: {error}")
                continue
            if (opened.origin, opened.tree_size, opened.root) != (report.origin, size, computed):
                report.add(f"{place} carries a note that says something else.")

    def _check_nodes(self, completed: dict[tuple[int, int], bytes], first: int) -> None:
        for level in CACHED_LEVELS:
            rows = self._rows(
                "SELECT idx, hash FROM ledger.node WHERE level = %s AND idx >= %s",
                [level, first >> level],
            )
            stored = {(level, int(index)): bytes(node) for index, node in rows}
            expected = {place: node for place, node in completed.items() if place[0] == level}
            for place in sorted(stored.keys() | expected.keys()):
                if stored.get(place) != expected.get(place):
                    self._report.add(
                        f"The cached subtree {place[1]} of level {level} is not what "
                        f"its entries give."
                    )

    def _leaves(self, first: int) -> Iterator[list[tuple[int, Any, Any, bytes]]]:
        """Yield the leaves from ``first`` on, in batches of ascending index."""
        while True:
            rows = self._rows(
                "SELECT leaf_index, event_id, event_at, leaf_hash FROM ledger.leaf "
                "WHERE leaf_index >= %s ORDER BY leaf_index LIMIT %s",
                [first, _BATCH],
            )
            if not rows:
                return
            yield [(int(index), event, at, bytes(leaf)) for index, event, at, leaf in rows]
            first = int(rows[-1][0]) + 1

    def _checkpoints(self, above: int) -> Iterator[tuple[int, bytes, str]]:
        while True:
            rows = self._rows(
                "SELECT tree_size, root, note FROM ledger.checkpoint WHERE tree_size > %s "
                "ORDER BY tree_size LIMIT %s",
                [above, _BATCH],
            )
            if not rows:
                return
            for size, root, note in rows:
                yield int(size), bytes(root), str(note)
            above = int(rows[-1][0])

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), values).fetchall()
