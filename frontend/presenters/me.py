"""A person's own page: tokens, and roles with where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from controlplane.access import queries
from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.core import clock
from controlplane.core.actor import Actor
from frontend import words


@dataclass(frozen=True)
class TokenRow:
    id: UUID
    name: str
    hint: str
    scope_words: str
    last_used_at: datetime | None
    expires_at: datetime
    is_live: bool
    ended_words: str


@dataclass(frozen=True)
class GrantRow:
    role: str
    on: str
    words: str


def tokens(user: User, workspace: Workspace) -> list[TokenRow]:
    """Return the person's tokens of this workspace, good ones first."""
    now = clock.now()
    rows = [
        TokenRow(
            id=token.pk,
            name=token.name,
            hint=token.hint,
            scope_words=", ".join(token.scopes).replace("_", " ")
            if token.scopes is not None
            else "everything you may",
            last_used_at=token.last_used_at,
            expires_at=token.expires_at,
            is_live=token.revoked_at is None and token.expires_at > now,
            ended_words="revoked" if token.revoked_at else "ended",
        )
        for token in ApiToken.objects.filter(user=user, workspace=workspace)[:100]
    ]
    return sorted(rows, key=lambda row: not row.is_live)


def grants(actor: Actor, user: User) -> list[GrantRow]:
    """Return the person's roles here with who gave them, why, and until when."""
    return [
        GrantRow(
            role=item.role_title,
            on=f"{item.object_type} {item.object_label}",
            words=_grant_words(item),
        )
        for item in queries.grants(actor, user_id=user.pk).grants
        if not item.is_over
    ]


def _grant_words(item: queries.Grant) -> str:
    until = item.expires_at
    ends = f", until {words.moment(timezone.localtime(until))}" if until else ""
    by = f"by {item.granted_by}" if item.granted_by else "at set-up"
    return f"given {by}{ends}. {item.reason}".strip()
