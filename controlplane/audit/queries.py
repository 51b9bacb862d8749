"""Reading the ledger: pages of entries, one entry, and how well the ledger is."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Min, Q, QuerySet

from controlplane.audit import actions
from controlplane.audit.connections import SEALER_LOCK
from controlplane.audit.entries import Entry, EntryDetail, Seal, detail_of, entries_of
from controlplane.audit.models import Checkpoint, Event, Leaf, Pending
from controlplane.audit.scopes import AuditScope
from controlplane.core import clock
from controlplane.core.errors import Invalid, NotFound
from controlplane.database.readiness import roles_are_separated

LONGEST_PAGE = 200
# Waiting longer than this, an event makes the integrity banner warn.
SEALED_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Page:
    """Newest entries first; ``next_cursor`` continues with older ones, None at the end."""

    entries: list[Entry]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class LastVerify:
    """The newest recorded verification."""

    at: datetime
    is_intact: bool
    size: int
    since: int
    root: str


@dataclass(frozen=True, slots=True)
class Integrity:
    """How the ledger stands now.

    ``count`` is all events, ``size`` those that are sealed. ``sealer_age_seconds`` is the age of
    the newest checkpoint, which grows while nothing happens; the sealer is late only when
    ``pending_age_seconds`` passes 30, and absent when ``is_sealer_running`` is False.
    """

    origin: str
    count: int
    size: int
    root: str
    checkpoint_at: datetime | None
    sealer_age_seconds: float | None
    pending: int
    pending_age_seconds: float
    is_sealer_running: bool
    roles_separated: bool
    last_verify: LastVerify | None

    @property
    def is_sealing(self) -> bool:
        return self.is_sealer_running and self.pending_age_seconds <= SEALED_WITHIN.total_seconds()


def page(
    scope: AuditScope,
    *,
    object: tuple[str, str] | None = None,
    actor_id: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    workspace_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Return one page of what the scope may see and the filters ask for.

    ``object`` is (type, id); ``action`` is one action or a noun with ``.*``; ``until`` is
    exclusive.

    Raises:
        Invalid: the cursor, the outcome or the limit is not one of ours.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        raise Invalid(f"A page has 1 to {LONGEST_PAGE} entries.")
    events = Event.objects.filter(scope.condition())
    if object is not None:
        events = events.filter(object_type=object[0], object_id=object[1])
    if actor_id:
        events = events.filter(actor=actor_id)
    if action:
        events = _of_action(events, action)
    if outcome:
        if outcome not in Event.Outcome.values:
            raise Invalid(f"An outcome is one of {', '.join(Event.Outcome.values)}.")
        events = events.filter(outcome=outcome)
    if workspace_id is not None:
        events = events.filter(workspace=workspace_id)
    if since:
        events = events.filter(at__gte=since)
    if until:
        events = events.filter(at__lt=until)
    if cursor:
        at, event_id = _read_cursor(cursor)
        events = events.filter(Q(at__lt=at) | Q(at=at, id__lt=event_id), at__lte=at)
    found = list(events.order_by("-at", "-id")[: limit + 1])
    following = _cursor(found[limit - 1]) if len(found) > limit else None
    return Page(entries_of(found[:limit]), following)


def for_object(scope: AuditScope, object_type: str, object_id: str, limit: int = 20) -> list[Entry]:
    """Return the newest entries about one record."""
    return page(scope, object=(object_type, str(object_id)), limit=limit).entries


def entry(scope: AuditScope, id_or_number: uuid.UUID | str | int) -> EntryDetail:
    """Return one entry by its event id or by the number that people see.

    Raises:
        NotFound: there is none that the scope may see.
    """
    event_id = _event_id(id_or_number)
    event = None
    if event_id is not None:
        event = Event.objects.filter(scope.condition(), id=event_id).first()
    if event is None:
        raise NotFound(f"There is no entry {id_or_number} in the audit log.")
    return detail_of(event)


def seals_for(event_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Seal]:
    """Return the seals of those events that have one; the others are still being sealed."""
    leaves = Leaf.objects.filter(event_id__in=list(event_ids))
    return {
        leaf.event_id: Seal(leaf.leaf_index + 1, bytes(leaf.leaf_hash).hex()[:8]) for leaf in leaves
    }


def actor_ids_in(scope: AuditScope, *, limit: int = 200) -> list[str]:
    """Return who has entries in the scope, for a filter's choices."""
    actors = Event.objects.filter(scope.condition()).order_by("actor").values_list("actor")
    return [actor for (actor,) in actors.distinct()[:limit]]


def integrity() -> Integrity:
    """Return the ledger's size, newest checkpoint and queue, and whether it is being sealed."""
    newest = Checkpoint.objects.order_by("-tree_size").first()
    now = clock.now()
    waiting = Pending.objects.aggregate(first=Min("at"))["first"]
    pending = Pending.objects.count()
    size = newest.tree_size if newest else 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT origin FROM ledger.log")
        row = cursor.fetchone()
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND classid = 0 AND objid = %s AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()))",
            [SEALER_LOCK],
        )
        (is_running,) = cursor.fetchone()
    return Integrity(
        origin=row[0] if row else "",
        count=size + pending,
        size=size,
        root=bytes(newest.root).hex() if newest else "",
        checkpoint_at=newest.at if newest else None,
        sealer_age_seconds=(now - newest.at).total_seconds() if newest else None,
        pending=pending,
        pending_age_seconds=max((now - waiting).total_seconds(), 0.0) if waiting else 0.0,
        is_sealer_running=is_running,
        roles_separated=roles_are_separated(),
        last_verify=last_verify(),
    )


def last_verify(*, since: int | None = None) -> LastVerify | None:
    """Return the newest verification, or the newest that began at entry ``since``."""
    events = (
        Event.objects.filter(action="ledger.verify")
        .exclude(outcome="refused")
        .order_by("-at", "-id")
    )
    for event in events.values("at", "outcome", "payload")[: 1 if since is None else 100]:
        after = json.loads(event["payload"])["after"]
        if not {"since", "size", "root"} <= after.keys():
            continue
        if since is None or after["since"] == since:
            return LastVerify(
                at=event["at"],
                is_intact=event["outcome"] == Event.Outcome.SUCCESS,
                size=after["size"],
                since=after["since"],
                root=after["root"],
            )
    return None


def _of_action(events: QuerySet[Event], action: str) -> QuerySet[Event]:
    if not action.endswith(".*"):
        return events.filter(action=action)
    noun = action.removesuffix("*")
    return events.filter(action__in=[name for name in actions.known() if name.startswith(noun)])


def _event_id(id_or_number: uuid.UUID | str | int) -> uuid.UUID | None:
    if isinstance(id_or_number, uuid.UUID):
        return id_or_number
    text = str(id_or_number)
    if text.isascii() and text.isdigit():
        number = int(text)
        # Numbers beyond a bigint name no entry.
        if number >= 2**63:
            return None
        leaf = Leaf.objects.filter(leaf_index=number - 1).first()
        return leaf.event_id if leaf else None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _cursor(event: Event) -> str:
    content = f"{event.at.isoformat()} {event.id}"
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, event_id = content.partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(at)
        return moment, uuid.UUID(event_id)
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise Invalid("The cursor is not one that this list gave out.") from None
