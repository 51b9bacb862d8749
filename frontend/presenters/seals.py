"""The visible seal of an act: ledger number, short hash, address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from controlplane.audit import queries
from controlplane.audit.entries import Entry


@dataclass(frozen=True)
class Sealed:
    """One ledger entry as a link; no number yet means that the sealer has not come by."""

    url: str
    number: int | None = None
    short_hash: str = ""


def sealed(workspace_key: str, event_ids: Iterable[UUID | None]) -> dict[UUID | None, Sealed]:
    """Return the seals of these events; one query."""
    wanted = {event_id for event_id in event_ids if event_id is not None}
    known = queries.seals_for(wanted) if wanted else {}
    found: dict[UUID | None, Sealed] = {}
    for event_id in wanted:
        seal = known.get(event_id)
        url = reverse("pages:audit_entry", args=[workspace_key, event_id])
        found[event_id] = Sealed(url, seal.number, seal.leaf_hash_short) if seal else Sealed(url)
    return found


def seal_of(workspace_key: str, entry: Entry) -> Sealed:
    """Return the seal of an entry that is read already."""
    url = reverse("pages:audit_entry", args=[workspace_key, entry.id])
    return Sealed(url, entry.number, entry.leaf_hash_short if entry.number else "")
