"""Erasing a personal value: the event stays and proves as before, the value is gone."""

from __future__ import annotations

import uuid

from controlplane.audit import connections
from controlplane.audit.payloads import PERSONAL, ObjectRef, compose
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound


def erase(event_id: uuid.UUID, path: str, *, actor: Actor, reason: str) -> uuid.UUID:
    """Delete the event's reason, address or agent, and record that it was erased.

    Runs in a transaction of its own, as the one role that may delete such a value.

    Raises:
        Invalid: events have no such personal value.
        NotFound: the event has none, or it has been erased.
    """
    if path not in PERSONAL:
        raise Invalid(f"Only {', '.join(PERSONAL)} of an event can be erased.")
    event = compose(
        "privacy.erased",
        actor=actor,
        obj=ObjectRef("event", str(event_id), str(event_id), None),
        after={"path": path},
        reason=reason,
    )
    with connections.connect("eraser", autocommit=False) as connection:
        deleted = connection.execute(
            "DELETE FROM ledger.personal WHERE event_id = %s AND path = %s", [event_id, path]
        )
        if not deleted.rowcount:
            raise NotFound(f"The event {event_id} has no {path} that could be erased.")
        connection.execute(
            "SELECT ledger.audit_append(%s, %s::jsonb)", [event.payload, event.personal]
        )
    return event.id
