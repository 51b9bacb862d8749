"""The names of people, looked up for a page: the ledger itself holds opaque ids only."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.accounts.models import User

_PREFIX = "user:"


def names_of(actor_ids: Iterable[str]) -> dict[str, str]:
    """Return a name for every actor id, in one query."""
    ids = set(actor_ids)
    keys = {
        int(actor_id.removeprefix(_PREFIX)): actor_id
        for actor_id in ids
        if actor_id.startswith(_PREFIX) and actor_id.removeprefix(_PREFIX).isdigit()
    }
    names = {keys[user.pk]: str(user) for user in User.objects.filter(pk__in=list(keys))}
    return {actor_id: names.get(actor_id) or _without_row(actor_id) for actor_id in ids}


def _without_row(actor_id: str) -> str:
    if actor_id.startswith("system:"):
        return "Gatehouse"
    if actor_id == "anonymous":
        return "Somebody not signed in"
    return actor_id
