"""The audit log: whether it holds, its entries, one entry in full."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from controlplane.access import services as access
from controlplane.audit import actions, queries
from controlplane.audit.entries import Entry, EntryDetail
from controlplane.audit.names import names_of
from controlplane.audit.scopes import AuditScope
from controlplane.core.actor import Actor
from frontend import words
from frontend.presenters.listing import Page, one_of
from registry.models import Dataset, Model, ModelVersion, PromotionRequest

PAGE_SIZE = 50
OUTCOMES = ("success", "refused", "failed")
_PAGE_OF_TYPE = {"rollout": "rollout", "job": "job"}


@dataclass(frozen=True)
class IntegrityBanner:
    tone: str
    icon: str
    strong: str
    words: str
    root: str
    notes: list[str]


@dataclass(frozen=True)
class Row:
    id: UUID
    url: str
    number: int | None
    at: datetime
    who: str
    is_machine: bool
    action: str
    object: str
    detail: str
    outcome: str
    short_hash: str


@dataclass(frozen=True)
class Person:
    id: str
    name: str


@dataclass(frozen=True)
class Filters:
    object: str
    actor: str
    action: str
    outcome: str
    since: str
    until: str


@dataclass(frozen=True)
class EntryPanel:
    id: UUID
    number: int | None
    who: str
    on_behalf_of: str
    sentence: str
    when: str
    outcome: str
    reason: str
    json: str
    leaf_hash: str
    object: str
    object_url: str
    close_url: str
    proof: str


def banner() -> IntegrityBanner:
    """Say how the ledger stands, against which checkpoint, and what a reader should know."""
    found = queries.integrity()
    verified = found.last_verify
    notes = []
    if not found.roles_separated:
        notes.append("Database roles are not separated by login on this installation.")
    if found.pending and not found.is_sealing:
        waited = words.duration(found.pending_age_seconds)
        notes.append(
            f"{words.plural(found.pending, 'entry', 'entries')} wait to be sealed, the oldest for "
            f"{waited}: the sealer is {'late' if found.is_sealer_running else 'not running'}."
        )
    entries = words.plural(found.count, "entry", "entries")
    if verified is not None and not verified.is_intact:
        at = _moment(verified.at)
        return IntegrityBanner(
            "bad",
            "bad",
            "The ledger does not verify.",
            f"The check of {at} found entries that do not match the signed tree. Nothing was "
            "repaired or hidden. Run the check on the server to see which.",
            verified.root,
            notes,
        )
    sealed = (
        f", checkpoint {found.size:,} signed {_moment(found.checkpoint_at)}" if found.size else ""
    )
    if verified is None:
        return IntegrityBanner(
            "warn",
            "clock",
            "The ledger has not been verified yet.",
            f"{entries}{sealed}.",
            found.root,
            notes,
        )
    tone = "warn" if any("sealer" in note for note in notes) else "ok"
    return IntegrityBanner(
        tone,
        "shield",
        "The ledger is intact.",
        f"{entries}{sealed}; verified {_moment(verified.at)} up to entry {verified.size:,}.",
        found.root,
        notes,
    )


def listed(
    query: QueryDict, scope: AuditScope, *, actor: Actor, workspace_key: str
) -> dict[str, Any]:
    """Return a page of entries as the filters ask, newest first."""
    filters = Filters(
        object=query.get("object", "").strip()[:100],
        actor=query.get("actor", "").strip()[:60],
        action=one_of(query.get("action", ""), list(_choices())),
        outcome=one_of(query.get("outcome", ""), OUTCOMES),
        since=_date_text(query.get("since", "")),
        until=_date_text(query.get("until", "")),
    )
    found = queries.page(
        scope,
        object=object_named(filters.object, actor=actor) if filters.object else None,
        actor_id=filters.actor or None,
        action=filters.action or None,
        outcome=filters.outcome or None,
        since=_day(filters.since),
        until=_day(filters.until, after=1),
        cursor=query.get("page") or None,
        limit=PAGE_SIZE,
    )
    people = names_of(queries.actor_ids_in(scope))
    return {
        "filters": filters,
        "actions": list(_choices()),
        "people": sorted(
            (Person(key, name) for key, name in people.items()), key=lambda item: item.name
        ),
        "rows": [_row(entry, workspace_key, query) for entry in found.entries],
        "page": Page(
            words=f"{words.plural(len(found.entries), 'entry', 'entries')} here. Numbers missing "
            "in between belong to entries that your filter or your roles hide.",
            older=found.next_cursor or "",
            is_later=bool(query.get("page")),
        ),
    }


def object_named(text: str, *, actor: Actor) -> tuple[str, str]:
    """Return (type, id) of the object that people call so; what nobody calls so matches nothing."""
    upper = text.upper()
    if upper.startswith("PR-") and upper[3:].isdecimal():
        requests = access.visible(PromotionRequest.objects.filter(number=int(upper[3:9])), actor)
        found = requests.values_list("pk", flat=True).first()
        return "promotionrequest", str(found or "")
    models = access.visible(Model.objects.filter(name=text), actor)
    model = models.values_list("pk", flat=True).first()
    if model is not None:
        return "model", str(model)
    name, _, number = text.rpartition(" ")
    if name and number.removeprefix("v").isdecimal():
        versions = ModelVersion.objects.filter(model__name=name, number=int(number[-6:].strip("v")))
        version = access.visible(versions, actor).values_list("pk", flat=True).first()
        return "modelversion", str(version or "")
    dataset = access.visible(Dataset.objects.filter(name=text), actor)
    return "dataset", str(dataset.values_list("pk", flat=True).first() or "")


def panel(detail: EntryDetail, *, workspace_key: str, query: QueryDict) -> EntryPanel:
    """Return one entry in full: its sentence, its canonical JSON, its place in the tree."""
    entry = detail.entry
    proof = ""
    if detail.checkpoint_size:
        proof = f"in the tree of {detail.checkpoint_size:,}, signed {_moment(detail.checkpoint_at)}"
    address = reverse("pages:audit", args=[workspace_key])
    return EntryPanel(
        id=entry.id,
        number=entry.number,
        who=entry.actor_name,
        on_behalf_of=entry.on_behalf_of_name,
        sentence=entry.sentence,
        when=f"{timezone.localtime(entry.at):%d %b %Y %H:%M:%S %Z}",
        outcome=entry.outcome,
        reason=entry.reason,
        json=detail.payload_readable,
        leaf_hash=entry.leaf_hash,
        object=entry.object_label,
        object_url=_object_url(entry, workspace_key),
        close_url=f"{address}?{query.urlencode()}" if query else address,
        proof=proof,
    )


def _row(entry: Entry, workspace_key: str, query: QueryDict) -> Row:
    url = reverse("pages:audit_entry", args=[workspace_key, entry.id])
    return Row(
        id=entry.id,
        url=f"{url}?{query.urlencode()}" if query else url,
        number=entry.number,
        at=entry.at,
        who=entry.actor_name,
        is_machine=entry.actor_kind != "human",
        action=entry.action,
        object=entry.object_label,
        detail=_detail(entry),
        outcome=entry.outcome,
        short_hash=words.hash_short(entry.leaf_hash) if entry.number else "",
    )


def _detail(entry: Entry) -> str:
    """Say in a line what changed, or why it was refused."""
    if entry.reason:
        return entry.reason if len(entry.reason) <= 120 else f"{entry.reason[:117]}…"
    before, after = entry.before or {}, entry.after or {}
    if isinstance(after, dict) and "state" in after:
        was = before.get("state") if isinstance(before, dict) else None
        return f"{was or 'new'} → {after['state']}".replace("_", " ")
    if entry.code:
        return entry.code.replace("_", " ")
    if not isinstance(after, dict):
        return ""
    said = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in after.items()
        if isinstance(value, str | int) and value != "" and not _is_digest(value)
    ]
    return ", ".join(said)[:120]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _object_url(entry: Entry, workspace_key: str) -> str:
    """Return the page of what the entry is about, where it has one that its label or id names."""
    kind, label = entry.object_type, entry.object_label
    if kind == "promotionrequest" and label.startswith("PR-") and label[3:].isdigit():
        return reverse("pages:promotion", args=[workspace_key, int(label[3:])])
    if kind == "model":
        return reverse("pages:model", args=[workspace_key, label])
    name, _, number = label.rpartition(" ")
    if kind == "modelversion" and name and number.isdigit():
        return reverse("pages:version", args=[workspace_key, name, int(number)])
    if kind in _PAGE_OF_TYPE and entry.object_id:
        return reverse(f"pages:{_PAGE_OF_TYPE[kind]}", args=[workspace_key, entry.object_id])
    return ""


def _choices() -> list[str]:
    """Return every noun as a group, then every action, as the filter offers them."""
    known = list(actions.known())
    nouns = list(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in known))
    return [*nouns, *known]


def _date_text(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return ""


def _day(text: str, *, after: int = 0) -> datetime | None:
    """Return the start of that day in the reader's zone, `after` days later."""
    if not text:
        return None
    moment = date.fromisoformat(text) + timedelta(days=after)
    return timezone.make_aware(datetime.combine(moment, time.min))


def _moment(value: datetime | None) -> str:
    if value is None:
        return "never"
    said = words.moment(timezone.localtime(value))
    return f"at {said}" if ":" in said and len(said) == 5 else said
