"""Append to the ledger: in the caller's transaction, or, for refusals, beside it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models, transaction

from controlplane.audit.entries import Seal
from controlplane.audit.models import RepeatedRefusal
from controlplane.audit.payloads import NewEvent, ObjectRef, compose
from controlplane.audit.queries import seals_for
from controlplane.core import clock
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.errors import DomainError

__all__ = [
    "NewEvent",
    "ObjectRef",
    "Seal",
    "compose",
    "flush_refusals",
    "record",
    "record_refusal",
    "ref",
    "seals_for",
]

APPEND = "SELECT ledger.audit_append(%s, %s::jsonb)"
# The alias is the same login in a connection of its own: what it writes survives our rollback.
_BESIDE = "ledger"
_COUNTED_FOR = timedelta(minutes=1)


def record(
    action: str,
    *,
    actor: Actor,
    obj: ObjectRef,
    outcome: str = "success",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    cause: str = "",
    digests: Mapping[str, str] | None = None,
    code: str = "",
    workspace_id: int | None = None,
) -> uuid.UUID:
    """Append one event in the caller's transaction and return its id.

    The event exists exactly if the change does. ``reason`` and the actor's address and agent
    are kept apart and can be erased; the event commits to them.

    Raises:
        UnknownAction: add the action to ``controlplane.audit.actions`` first.
    """
    event = compose(
        action,
        actor=actor,
        obj=obj,
        outcome=outcome,
        before=before,
        after=after,
        reason=reason,
        cause=cause,
        digests=digests,
        code=code,
        workspace_id=workspace_id,
    )
    _append(event, "default")
    return event.id


def record_refusal(
    action: str,
    *,
    actor: Actor,
    obj: ObjectRef,
    error: DomainError,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    cause: str = "",
    digests: Mapping[str, str] | None = None,
    workspace_id: int | None = None,
) -> uuid.UUID | None:
    """Record that somebody was refused; it stays when the caller's transaction is rolled back.

    The first refusal of a kind (actor, action, object, code) is an event at once. Repeats
    within a minute are counted and become one event with their number; then None is returned.
    Strangers' refusals are one kind per action and code, whatever object they ask for.
    """
    is_stranger = actor.kind is ActorKind.ANONYMOUS
    kind = [actor.id, action, *([] if is_stranger else [obj.type, obj.id]), error.error_code]
    key = hashlib.sha256("\x00".join(kind).encode()).hexdigest()
    now = clock.now()
    since = now - _COUNTED_FOR
    with transaction.atomic(using=_BESIDE):
        if _count_repeat(key, since=since):
            return None
        windows = RepeatedRefusal.objects.using(_BESIDE).select_for_update()
        # By time again: a window that began after the count belongs to somebody beside us.
        for ended in windows.filter(pk=key, started_at__lte=since):
            _write_repeats(ended)
        event = compose(
            action,
            actor=actor,
            obj=obj,
            outcome="refused",
            before=before,
            after=after,
            reason=error.message,
            cause=cause,
            digests=digests,
            code=error.error_code,
            workspace_id=workspace_id,
        )
        _, is_first = RepeatedRefusal.objects.using(_BESIDE).get_or_create(
            key=key,
            defaults={
                "started_at": now,
                "payload": _what_repeats(event),
            },
        )
        if not is_first:
            # Somebody else's refusal of this kind came between: theirs is the first.
            _count_repeat(key, since=since)
            return None
        _append(event, _BESIDE)
    return event.id


def flush_refusals() -> int:
    """Write the counts of repeated refusals whose minute is over; return how many events.

    The scheduler calls this; safe to call at any time and from several processes.
    """
    written = 0
    with transaction.atomic(using=_BESIDE):
        ended = (
            RepeatedRefusal.objects.using(_BESIDE)
            .select_for_update(skip_locked=True)
            .filter(started_at__lte=clock.now() - _COUNTED_FOR)
            .order_by("started_at")[:500]
        )
        for window in ended:
            written += _write_repeats(window)
    return written


def ref(obj: models.Model) -> ObjectRef:
    """Return how events name this record; its workspace is found through what stands above it."""
    return ObjectRef(
        type=str(obj._meta.model_name), id=str(obj.pk), label=str(obj), workspace_id=_workspace(obj)
    )


def _append(event: NewEvent, alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(APPEND, [event.payload, event.personal])


def _count_repeat(key: str, *, since: datetime) -> bool:
    """Whether a window of this kind is open; the refusal is then counted in it."""
    return bool(
        RepeatedRefusal.objects.using(_BESIDE)
        .filter(pk=key, started_at__gt=since)
        .update(repeats=models.F("repeats") + 1)
    )


def _what_repeats(event: NewEvent) -> dict[str, Any]:
    content = json.loads(event.payload)
    return {name: content[name] for name in ("action", "actor", "object", "workspace", "code")}


def _write_repeats(window: RepeatedRefusal) -> bool:
    """Close the window; whether it had repeats, which are now one event."""
    window.delete(using=_BESIDE)
    if not window.repeats:
        return False
    kept = window.payload
    event = compose(
        kept["action"],
        actor=Actor(**{**kept["actor"], "kind": ActorKind(kept["actor"]["kind"])}),
        obj=ObjectRef(**kept["object"], workspace_id=kept["workspace"]),
        outcome="refused",
        after={"repeats": window.repeats, "since": window.started_at},
        code=kept["code"],
    )
    _append(event, _BESIDE)
    return True


def _workspace(obj: models.Model) -> int | None:
    if obj._meta.label == "accounts.Workspace":
        return int(obj.pk)
    own = getattr(obj, "workspace_id", None)
    if isinstance(own, int):
        return own
    for path in getattr(obj, "access_parents", ()):
        parent: Any = obj
        for name in path.replace("__", ".").split("."):
            parent = getattr(parent, name, None)
        if isinstance(parent, models.Model):
            found = _workspace(parent)
            if found is not None:
                return found
    return None
