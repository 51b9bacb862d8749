"""The visible seal of an act: ledger number, short hash, address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from controlplane.accounts.models import User
from controlplane.audit import services as audit


@dataclass(frozen=True)
class Sealed:
    """One ledger entry as a link; no number yet means that the sealer has not come by."""

    url: str
    number: int | None = None
    short_hash: str = ""


def sealed(workspace_key: str, event_ids: Iterable[UUID | None]) -> dict[UUID, Sealed]:
    """Return the seals of these events; one query."""
    wanted = {event_id for event_id in event_ids if event_id is not None}
    known = audit.seals_for(wanted) if wanted else {}
    found = {}
    for event_id in wanted:
        seal = known.get(event_id)
        url = reverse("pages:audit_entry", args=[workspace_key, event_id])
        found[event_id] = Sealed(url, seal.number, seal.leaf_hash_short) if seal else Sealed(url)
    return found


def names_of(actor_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of people and service accounts; the ledger itself keeps only their ids."""
    numbers = {
        int(actor_id.removeprefix("user:"))
        for actor_id in actor_ids
        if actor_id.startswith("user:") and actor_id[5:].isdigit()
    }
    found = {user.actor_id: str(user) for user in User.objects.filter(pk__in=numbers)}
    return {actor_id: found.get(actor_id) or _machine(actor_id) for actor_id in set(actor_ids)}


def _machine(actor_id: str) -> str:
    if actor_id.startswith("system:"):
        return "Gatehouse"
    return "Somebody not signed in" if actor_id == "anonymous" else actor_id
