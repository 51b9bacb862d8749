"""What the ledger holds about one object, as sentences for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controlplane.audit import actions, queries
from controlplane.core.actor import Actor
from frontend.presenters.seals import Sealed, names_of, sealed

_TONES = {"refused": "bad", "failed": "bad"}
_TONE_OF_VERB = {
    "approve": "ok",
    "complete": "ok",
    "seal": "ok",
    "succeed": "ok",
    "pass_checks": "ok",
    "block": "warn",
    "request_changes": "warn",
    "pause": "warn",
    "reject": "bad",
    "roll_back": "bad",
    "abort": "bad",
    "execute": "run",
    "start": "run",
    "advance": "run",
}


@dataclass(frozen=True)
class Happening:
    who: str
    sentence: str
    at: datetime
    tone: str
    seal: Sealed | None


def about(actor: Actor, workspace_key: str, object_type: str, object_id: str) -> list[Happening]:
    """Return the newest entries about one object, if the reader may read the log; two queries."""
    return told(workspace_key, queries.for_object(actor, object_type, object_id, limit=12))


def told(workspace_key: str, events: list[queries.Entry]) -> list[Happening]:
    """Return entries as lines of a timeline."""
    names = names_of(event.actor_id for event in events)
    seals = sealed(workspace_key, (event.id for event in events))
    return [
        Happening(
            who=names[event.actor_id],
            sentence=actions.sentence(event),
            at=event.occurred_at,
            tone=tone_of(event.action, event.outcome),
            seal=seals.get(event.id),
        )
        for event in events
    ]


def tone_of(action: str, outcome: str) -> str:
    return _TONES.get(outcome) or _TONE_OF_VERB.get(action.rpartition(".")[2], "")
