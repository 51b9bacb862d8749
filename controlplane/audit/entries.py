"""What a page or the API shows of an event."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from controlplane.audit import actions
from controlplane.audit.models import Checkpoint, Event, Leaf, PersonalValue
from controlplane.audit.names import names_of

OUTCOME_WORDS = {"success": "done", "refused": "denied", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Seal:
    """An event's number in the ledger and the first characters of its leaf hash."""

    number: int
    leaf_hash_short: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, ready to be read. ``number`` is None while it is being sealed."""

    id: uuid.UUID
    number: int | None
    at: datetime
    sentence: str
    action: str
    outcome: str
    outcome_word: str
    actor_id: str
    actor_kind: str
    actor_name: str
    on_behalf_of: str | None
    on_behalf_of_name: str
    object_type: str
    object_id: str
    object_label: str
    workspace_id: int | None
    cause: str
    code: str
    request_id: str
    before: Any
    after: Any
    digests: Mapping[str, str]
    leaf_hash: str
    leaf_hash_short: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EntryDetail:
    """An entry with the bytes that are hashed and where they are included.

    ``payload`` is what is hashed, byte for byte; ``payload_readable`` has line breaks.
    ``checkpoint_size`` is the smallest signed tree that includes the entry, and ``note`` that
    checkpoint; both are missing until it is sealed. ``erased`` names personal values that the
    event commits to and that are gone.
    """

    entry: Entry
    payload: str
    payload_readable: str
    personal: Mapping[str, str] = field(default_factory=dict)
    erased: tuple[str, ...] = ()
    leaf_index: int | None = None
    checkpoint_size: int | None = None
    checkpoint_root: str = ""
    checkpoint_at: datetime | None = None
    note: str = ""


def entries_of(events: Sequence[Event]) -> list[Entry]:
    """Return the events as entries, with three queries however many there are."""
    ids = [event.id for event in events]
    contents = [json.loads(event.payload) for event in events]
    actor_ids = {content["actor"]["id"] for content in contents}
    actor_ids |= {content["actor"]["on_behalf_of"] or "anonymous" for content in contents}
    users = {event.object_id for event in events if event.object_type == "user"}
    names = names_of(actor_ids | {f"user:{user}" for user in users})
    numbers = {leaf.event_id: leaf.leaf_index + 1 for leaf in Leaf.objects.filter(event_id__in=ids)}
    reasons = _personal(ids, paths=["reason"])
    return [
        _entry(event, content, names, numbers.get(event.id), reasons.get((event.id, "reason"), ""))
        for event, content in zip(events, contents, strict=True)
    ]


def detail_of(event: Event) -> EntryDetail:
    """Return one event with its bytes, personal values and place in the tree."""
    (entry,) = entries_of([event])
    content = json.loads(event.payload)
    personal = {path: text for (_, path), text in _personal([event.id]).items()}
    committed = [name for name, value in content.items() if _is_commitment(value)]
    checkpoint = None
    if entry.number is not None:
        checkpoint = (
            Checkpoint.objects.filter(tree_size__gte=entry.number).order_by("tree_size").first()
        )
    return EntryDetail(
        entry=entry,
        payload=event.payload,
        payload_readable=json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True),
        personal=personal,
        erased=tuple(name for name in committed if name not in personal),
        leaf_index=None if entry.number is None else entry.number - 1,
        checkpoint_size=checkpoint.tree_size if checkpoint else None,
        checkpoint_root=bytes(checkpoint.root).hex() if checkpoint else "",
        checkpoint_at=checkpoint.at if checkpoint else None,
        note=checkpoint.note if checkpoint else "",
    )


def _entry(
    event: Event, content: Any, names: Mapping[str, str], number: int | None, reason: str
) -> Entry:
    actor = content["actor"]
    label = content["object"]["label"]
    if event.object_type == "user":
        label = names.get(f"user:{event.object_id}", label)
    leaf = bytes(event.leaf).hex()
    behalf = actor["on_behalf_of"]
    return Entry(
        id=event.id,
        number=number,
        at=event.at,
        sentence=actions.sentence(event.action, event.outcome, actor=names[actor["id"]], obj=label),
        action=event.action,
        outcome=event.outcome,
        outcome_word=OUTCOME_WORDS[event.outcome],
        actor_id=actor["id"],
        actor_kind=actor["kind"],
        actor_name=names[actor["id"]],
        on_behalf_of=behalf,
        on_behalf_of_name=names[behalf] if behalf else "",
        object_type=event.object_type,
        object_id=event.object_id,
        object_label=label,
        workspace_id=event.workspace,
        cause=content["cause"],
        code=content["code"],
        request_id=content["request"],
        before=content["before"],
        after=content["after"],
        digests=content["digests"],
        leaf_hash=leaf,
        leaf_hash_short=leaf[:8],
        reason=reason,
    )


def _personal(
    ids: Sequence[uuid.UUID], *, paths: Sequence[str] | None = None
) -> dict[tuple[uuid.UUID, str], str]:
    values = PersonalValue.objects.filter(event_id__in=ids)
    if paths is not None:
        values = values.filter(path__in=paths)
    return {(value.event_id, value.path): str(json.loads(value.value)) for value in values}


def _is_commitment(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"commit"}
