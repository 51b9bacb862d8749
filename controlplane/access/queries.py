"""Grants as they are read: one entry per act of granting, whatever table keeps it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models

from controlplane.access import catalogue, decisions
from controlplane.access import services as access
from controlplane.access.decisions import Decision
from controlplane.access.roles import ROLES
from controlplane.accounts.models import Membership, User, Workspace
from controlplane.audit.scopes import AuditScope
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.clock import now
from controlplane.core.errors import Invalid, NotFound, NotPermitted


@dataclass(frozen=True, slots=True)
class Grant:
    """A role that a user or a group has on one object."""

    grant_id: uuid.UUID
    role: str
    role_title: str
    holder_kind: str
    holder_id: int
    holder: str
    object_type: str
    object_id: int
    object_label: str
    origin: str
    reason: str
    granted_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class Page:
    grants: list[Grant]
    next_cursor: str | None


def grants(
    actor: Actor,
    *,
    user_id: int | None = None,
    on: models.Model | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Return the grants of the actor's workspace, newest first; only their own to those who
    neither administer access nor read the audit log there.

    Raises:
        Invalid: the cursor is not one of ours.
    """
    if not _may_read_all(actor):
        if user_id not in (None, actor.user_id):
            raise NotPermitted(
                "You see your own grants only. Somebody else's are shown to workspace "
                "administrators and auditors."
            )
        user_id = actor.user_id
    before = _parsed(cursor)
    found: list[Grant] = []
    for model, tables in catalogue.tables().items():
        if on is not None and type(on) is not model:
            continue
        for table, holder in ((tables.user, "user"), (tables.group, "group")):
            rows = _rows(actor, model, table, holder, user_id=user_id, on=on, before=before)
            found.extend(_as_grant(row, holder) for row in rows[: limit + 1])
    found.sort(key=lambda item: item.grant_id, reverse=True)
    is_more = len(found) > limit
    page = found[:limit]
    return Page(page, str(page[-1].grant_id) if is_more else None)


def why(actor: Actor, *, user: User, verb: str, on: models.Model) -> Decision:
    """Return whether ``user`` may do ``verb`` on the object, by which rule; grants only, no token.

    Raises:
        NotFound: the asker may not see the object.
        NotPermitted: they ask about somebody else and neither administer access nor audit.
    """
    if not access.can(actor, "view", on).allowed:
        raise NotFound(f"There is no such {on._meta.verbose_name}, or you may not see it.")
    if user.pk != actor.user_id and not _may_read_all(actor):
        raise NotPermitted(
            "You can ask about yourself only. About others, workspace administrators and "
            "auditors can."
        )
    asked = Actor(
        id=user.actor_id,
        kind=ActorKind(user.kind),
        user_id=user.pk,
        workspace_id=actor.workspace_id,
        label=str(user),
    )
    return decisions.decide(asked, verb, on)


def people(actor: Actor, *, kind: str) -> models.QuerySet[User]:
    """Return the accounts of one kind in the actor's workspace; none to who does not see it."""
    workspace = access.visible(Workspace.objects.all(), actor)
    members = Membership.objects.filter(workspace__in=workspace).values("user")
    return User.objects.filter(pk__in=members, kind=kind).select_related("owner")


def account(actor: Actor, user_id: int | None) -> User:
    """Return an account of the actor's workspace; without an id, the actor's own.

    Raises:
        NotFound: it belongs to none that the actor sees.
    """
    if user_id is None or user_id == actor.user_id:
        return User.objects.select_related("owner").get(pk=actor.user_id or 0)
    members = Membership.objects.filter(
        workspace__in=access.visible(Workspace.objects.all(), actor)
    ).values("user")
    found = User.objects.filter(pk=user_id, pk__in=members).select_related("owner").first()
    if found is None:
        raise NotFound("There is no such account.")
    return found


def carrier(actor: Actor, kind: str, object_id: int) -> models.Model:
    """Return the object that carries grants, by kind and id, if the actor sees it.

    Raises:
        Invalid: no such kind carries grants.
        NotFound: there is none that the actor sees.
    """
    model = catalogue.carrier_named(kind)
    if model is None:
        kinds = ", ".join(str(item._meta.model_name) for item in catalogue.tables())
        raise Invalid(f"Grants stand on one of: {kinds}.", fields={"on": ["unknown kind"]})
    found = access.visible(model._default_manager.all(), actor).filter(pk=object_id).first()
    if found is None:
        raise NotFound(f"There is no such {model._meta.verbose_name}, or you may not see it.")
    return found


def workspace_of(actor: Actor) -> Workspace:
    """Return the workspace that the actor stands in, if they may see anything of it.

    Raises:
        NotFound: they may not.
    """
    found = access.visible(Workspace.objects.all(), actor).first()
    if found is None:
        raise NotFound("You have no role in this workspace.")
    return found


def workspace_or_none(actor: Actor) -> Workspace | None:
    """Return the workspace that the actor stands in, seen or not; for asking `can` about it."""
    if actor.workspace_id is None:
        return None
    return Workspace.objects.filter(pk=actor.workspace_id).first()


def audit_scope(actor: Actor) -> AuditScope:
    """Return which entries of the ledger the actor may read: all for an auditor, those of the
    present workspace with `audit_read` there, and in any case what they did themselves."""
    if actor.user_id is None:
        return AuditScope()
    workspace = workspace_or_none(actor)
    if workspace is None or not access.can(actor, "audit_read", workspace).allowed:
        return AuditScope(actor_id=actor.id)
    holds_everywhere = User.objects.filter(
        pk=actor.user_id, groups__name__in=decisions.GLOBAL_ROLES
    )
    if holds_everywhere.exists():
        return AuditScope.all()
    return AuditScope(workspaces=frozenset({workspace.pk}), actor_id=actor.id)


def _may_read_all(actor: Actor) -> bool:
    workspace = workspace_or_none(actor)
    if workspace is None:
        return False
    held = access.verbs_on(actor, workspace)
    return bool(held & {"admin_access", "audit_read"})


def _rows(
    actor: Actor,
    model: type[models.Model],
    table: type[models.Model],
    holder: str,
    *,
    user_id: int | None,
    on: models.Model | None,
    before: uuid.UUID | None,
) -> models.QuerySet[Any]:
    path = catalogue.workspace_path(model)
    place = "content_object" if path == "pk" else f"content_object__{path}"
    rows = table._default_manager.filter(**{place: actor.workspace_id})
    if user_id is not None:
        rows = rows.filter(**{"user" if holder == "user" else "group__user": user_id})
    if on is not None:
        rows = rows.filter(content_object=on.pk)
    if before is not None:
        rows = rows.filter(grant_id__lt=before)
    # One row per verb stands for the grant: which one does not matter.
    return (
        rows.order_by("-grant_id", "pk")
        .distinct("grant_id")
        .select_related("content_object", "granted_by", holder)
    )


def _as_grant(row: Any, holder: str) -> Grant:
    who: Any = getattr(row, holder)
    label = str(who) if holder == "user" else who.name
    role = ROLES.get(row.role)
    over = row.expires_at is not None and row.expires_at <= now()
    return Grant(
        grant_id=row.grant_id,
        role=row.role,
        role_title=role.title if role else row.role,
        holder_kind=holder,
        holder_id=who.pk,
        holder=label,
        object_type=str(row.content_object._meta.model_name),
        object_id=row.content_object.pk,
        object_label=str(row.content_object),
        origin=row.origin,
        reason=row.reason,
        granted_by=str(row.granted_by) if row.granted_by else "Gatehouse",
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        is_over=over,
    )


def _parsed(cursor: str | None) -> uuid.UUID | None:
    if not cursor:
        return None
    try:
        return uuid.UUID(cursor)
    except ValueError:
        raise Invalid(
            "This cursor was not made here.", fields={"cursor": ["not understood"]}
        ) from None
