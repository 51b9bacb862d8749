"""What the ledger holds about one object, as sentences for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Model

from controlplane.access import services as access
from controlplane.audit import queries
from controlplane.audit.entries import Entry
from controlplane.audit.scopes import AuditScope
from controlplane.core.actor import Actor
from frontend.presenters.seals import Sealed, seal_of

_TONE_OF_VERB = {
    "approve": "ok",
    "complete": "ok",
    "go_live": "ok",
    "pass_checks": "ok",
    "seal": "ok",
    "succeed": "ok",
    "block": "warn",
    "pause": "warn",
    "request_changes": "warn",
    "fail": "bad",
    "reject": "bad",
    "roll_back": "bad",
    "advance": "run",
    "execute": "run",
    "start": "run",
}


@dataclass(frozen=True)
class Happening:
    who: str
    sentence: str
    at: datetime
    tone: str
    seal: Sealed


def scope_on(actor: Actor, obj: Model) -> AuditScope:
    """Return what of the log the reader may see about an object: all of it, or their own acts."""
    own = AuditScope(actor_id=actor.id)
    if actor.workspace_id is None or not access.can(actor, "audit_read", obj).allowed:
        return own
    return AuditScope(workspaces=frozenset({actor.workspace_id}), actor_id=actor.id)


def about(actor: Actor, workspace_key: str, obj: Model, *, limit: int = 12) -> list[Happening]:
    """Return the newest entries about one object that the reader may see."""
    found = queries.for_object(
        scope_on(actor, obj), str(obj._meta.model_name), str(obj.pk), limit=limit
    )
    return told(workspace_key, found)


def told(workspace_key: str, entries: Iterable[Entry]) -> list[Happening]:
    """Return entries as lines of a timeline: the name in bold, then what was done."""
    return [
        Happening(
            who=entry.actor_name,
            sentence=entry.sentence.removeprefix(entry.actor_name).strip(),
            at=entry.at,
            tone=tone_of(entry.action, entry.outcome),
            seal=seal_of(workspace_key, entry),
        )
        for entry in entries
    ]


def tone_of(action: str, outcome: str) -> str:
    if outcome != "success":
        return "bad"
    return _TONE_OF_VERB.get(action.rpartition(".")[2], "")
