"""The part of the verification that looks at events one by one."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from controlplane.audit import payloads
from controlplane.audit.connections import Connection
from controlplane.core.canonical_json import NotCanonical

if TYPE_CHECKING:
    from controlplane.audit.verify import Report

Leaf = tuple[int, uuid.UUID, datetime, bytes]
_PersonalRow = tuple[bytes, str]
# Events are ordered by id, which is their time to the millisecond, and stored by their time.
_SLACK = timedelta(hours=1)


class EntryCheck:
    """Compares leaves with their events, and events with their copies and personal values."""

    def __init__(self, connection: Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._erased = self._erasures()
        self._earliest: datetime | None = None

    def check(self, leaves: list[Leaf]) -> None:
        """Check one batch of leaves that follow each other."""
        ids = [event_id for _, event_id, _, _ in leaves]
        moments = [at for _, _, at, _ in leaves]
        if self._earliest is None:
            self._earliest = min(moments)
        events = self._events(ids, min(moments), max(moments))
        personal = self._personal(ids)
        for index, event_id, at, leaf in leaves:
            place = f"Entry number {index + 1}"
            found = events.get(event_id, [])
            if not found:
                self._report.add(f"{place}: the event {event_id} is missing.")
                continue
            if len(found) > 1:
                self._report.add(f"{place}: the event {event_id} is stored {len(found)} times.")
            if found[0][0] != at:
                self._report.add(f"{place}: the event's time is not the sealed one.")
            self._check_event(place, event_id, found[0], leaf, personal.get(event_id, {}))

    def check_the_rest(self, *, since: int) -> None:
        """Check what no leaf leads to: strays, doubles, and the queue."""
        values: dict[str, Any] = {"earliest": "-infinity"}
        if since and self._earliest is not None:
            values["earliest"] = self._earliest - _SLACK
        self._complain(
            "SELECT e.id FROM ledger.event e WHERE e.at >= %(earliest)s::timestamptz "
            "AND NOT EXISTS (SELECT FROM ledger.leaf l WHERE l.event_id = e.id) "
            "AND NOT EXISTS (SELECT FROM ledger.pending p WHERE p.event_id = e.id) "
            "ORDER BY e.id LIMIT 100",
            "The event {} is neither sealed nor waiting to be.",
            values,
        )
        self._complain(
            "SELECT e.id FROM ledger.event e WHERE e.at >= %(earliest)s::timestamptz "
            "GROUP BY e.id HAVING count(*) > 1 LIMIT 100",
            "The event {} is stored more than once.",
            values,
        )
        self._complain(
            "SELECT p.event_id FROM ledger.pending p WHERE EXISTS "
            "(SELECT FROM ledger.leaf l WHERE l.event_id = p.event_id) OR NOT EXISTS "
            "(SELECT FROM ledger.event e WHERE e.id = p.event_id AND e.at = p.at) LIMIT 100",
            "The queue holds {}, which is sealed already or does not exist.",
        )
        if not since:
            self._complain(
                "SELECT DISTINCT p.event_id FROM ledger.personal p WHERE NOT EXISTS "
                "(SELECT FROM ledger.event e WHERE e.id = p.event_id) LIMIT 100",
                "There are personal values of the event {}, which does not exist.",
            )

    def _check_event(
        self,
        place: str,
        event_id: uuid.UUID,
        event: tuple[Any, ...],
        leaf: bytes,
        personal: dict[str, _PersonalRow],
    ) -> None:
        at, payload, stored_leaf, *columns = event
        if payloads.leaf_hash(payload) != leaf:
            self._report.add(f"{place}: the event's bytes are not the sealed ones.")
        if bytes(stored_leaf) != leaf:
            self._report.add(f"{place}: the hash beside the event is not the sealed one.")
        try:
            content = payloads.parse(payload)
        except NotCanonical as error:
            self._report.add(f"{place}: the event's bytes are not canonical: {error}.")
            return
        said = _copies(content)
        if said != [str(event_id), payloads.timestamp(at), *columns]:
            self._report.add(f"{place}: the columns do not say what the event says.")
        self._check_personal(place, event_id, content, personal)

    def _check_personal(
        self,
        place: str,
        event_id: uuid.UUID,
        content: dict[str, Any],
        personal: dict[str, _PersonalRow],
    ) -> None:
        for path in payloads.PERSONAL:
            commitment = content.get(path)
            row = personal.pop(path, None)
            if commitment is None:
                if row is not None:
                    self._report.add(f"{place}: there is a {path} that the event does not hold.")
            elif row is None:
                if (str(event_id), path) not in self._erased:
                    self._report.add(f"{place}: its {path} is gone, and no erasure was recorded.")
            elif payloads.commitment(row[0], row[1].encode()) != commitment.get("commit"):
                self._report.add(f"{place}: its {path} is not the one that was recorded.")
        for path in personal:
            self._report.add(f"{place}: there is a {path} that the event does not hold.")

    def _events(
        self, ids: list[uuid.UUID], earliest: datetime, latest: datetime
    ) -> dict[uuid.UUID, list[tuple[Any, ...]]]:
        rows = self._connection.execute(
            "SELECT id, at, payload, leaf, actor, action, object_type, object_id, workspace, "
            "outcome FROM ledger.event WHERE id = ANY(%s) AND at BETWEEN %s AND %s",
            [ids, earliest - _SLACK, latest + _SLACK],
        )
        found: dict[uuid.UUID, list[tuple[Any, ...]]] = defaultdict(list)
        for event_id, *values in rows:
            found[event_id].append(tuple(values))
        return found

    def _personal(self, ids: list[uuid.UUID]) -> dict[uuid.UUID, dict[str, _PersonalRow]]:
        rows = self._connection.execute(
            "SELECT event_id, path, salt, value FROM ledger.personal WHERE event_id = ANY(%s)",
            [ids],
        )
        found: dict[uuid.UUID, dict[str, _PersonalRow]] = defaultdict(dict)
        for event_id, path, salt, value in rows:
            found[event_id][path] = (bytes(salt), value)
        return found

    def _erasures(self) -> set[tuple[str, str]]:
        """Return which values the ledger itself says were erased."""
        rows = self._connection.execute(
            "SELECT e.object_id, e.payload FROM ledger.event e WHERE action = 'privacy.erased' "
            "AND outcome = 'success'"
        )
        found = set()
        for object_id, payload in rows:
            try:
                after = payloads.parse(payload)["after"]
                found.add((object_id, after["path"]))
            except (NotCanonical, KeyError, TypeError):
                continue
        return found

    def _complain(self, query: str, sentence: str, values: dict[str, Any] | None = None) -> None:
        for (event_id,) in self._connection.execute(query.encode(), values or {}):
            self._report.add(sentence.format(event_id))


def _copies(content: dict[str, Any]) -> list[Any]:
    """Return what the columns must hold, by the event's own words."""
    actor, subject = content.get("actor"), content.get("object")
    actor = actor if isinstance(actor, dict) else {}
    subject = subject if isinstance(subject, dict) else {}
    return [
        content.get("id"),
        content.get("at"),
        actor.get("id"),
        content.get("action"),
        subject.get("type"),
        subject.get("id"),
        content.get("workspace"),
        content.get("outcome"),
    ]
