"""Reading the ledger."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.audit.models import Leaf


@dataclass(frozen=True, slots=True)
class Seal:
    """An event's number in the ledger and the first characters of its leaf hash."""

    number: int
    leaf_hash_short: str


def seals_for(event_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Seal]:
    """Return the seals of those events that have one; the others are still being sealed."""
    leaves = Leaf.objects.filter(event_id__in=list(event_ids))
    return {
        leaf.event_id: Seal(leaf.leaf_index + 1, bytes(leaf.leaf_hash).hex()[:8]) for leaf in leaves
    }
