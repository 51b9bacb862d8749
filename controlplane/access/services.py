"""May they? And: who may what, from whom, until when. The only door to grants."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, models, transaction
from django.db.models import Exists, OuterRef, Q

from controlplane.access import catalogue, decisions, memory
from controlplane.access.decisions import Decision
from controlplane.access.refusals import refusals
from controlplane.access.roles import ROLES, Role, system_verbs
from controlplane.accounts.models import Membership, User
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound, NotPermitted

Record = TypeVar("Record", bound=models.Model)


def can(actor: Actor, verb: str, obj: models.Model) -> Decision:
    """Return whether ``actor`` may do ``verb`` on ``obj``, and by which rule.

    Grants on the object and on all above it count, unexpired, in the actor's present workspace
    only; a token's scopes narrow them. ``is_superuser`` opens nothing.
    """
    return decisions.decide(actor, verb, obj)


def require(actor: Actor, verb: str, obj: models.Model) -> None:
    """Return when the actor may.

    Raises:
        NotFound: they may not even know that the object exists.
        NotPermitted: they see it; the sentence names the verb and who can grant it.
    """
    decision = decisions.decide(actor, verb, obj)
    if decision.allowed:
        return
    if not decisions.decide(actor, "view", obj).allowed:
        raise NotFound(f"There is no such {obj._meta.verbose_name}, or you may not see it.")
    raise NotPermitted(
        decision.reason, verb=verb, can_grant=[str(person) for person in grantors(obj)[:3]]
    )


def verbs_on(actor: Actor, obj: models.Model) -> frozenset[str]:
    """Return every verb that the actor may do on the object; one query."""
    return decisions.verbs_held(actor, obj)


def visible(
    queryset: models.QuerySet[Record], actor: Actor, verb: str = "view"
) -> models.QuerySet[Record]:
    """Return those rows of the actor's present workspace on which they may do ``verb``.

    Decided in SQL, inside the one query that reads the rows; who holds the verb on the workspace
    itself (asked once a request) has it on all of them.
    """
    model = queryset.model
    in_workspace = Q(**{catalogue.workspace_path(model): actor.workspace_id})
    if actor.is_system:
        if verb not in system_verbs(actor.id):
            return queryset.none()
        return queryset if actor.workspace_id is None else queryset.filter(in_workspace)
    wanted = decisions.narrowed(actor, verb)
    if not wanted or actor.user_id is None or actor.workspace_id is None:
        return queryset.none()
    if decisions.holds_in_workspace(actor, wanted):
        return queryset.filter(in_workspace)
    allowed = _by_global_role(actor, wanted)
    for source in catalogue.grant_tables_above(model):
        rows = source.table._default_manager.filter(
            decisions.unexpired(),
            decisions.belongs(actor),
            permission__codename__in=wanted,
            content_object=OuterRef(source.above.path),
            **{source.held_by: actor.user_id},
        )
        allowed |= Q(Exists(rows))
    return queryset.filter(in_workspace, allowed)


def people_with(verb: str, obj: models.Model) -> models.QuerySet[User]:
    """Return the active people and service accounts who may do ``verb`` on the object."""
    return decisions.holders(verb, obj)


def grants_of(user: User, *, on: models.Model) -> models.QuerySet[Any]:
    """Return the rows of the unexpired grants that a user holds directly on one object."""
    table = _tables(on).user
    return table._default_manager.filter(decisions.unexpired(), user=user, content_object=on)


def grantors(obj: models.Model) -> models.QuerySet[User]:
    """Return the people who can grant roles on the object."""
    return decisions.holders("admin_access", obj).filter(kind=User.Kind.HUMAN)


@transaction.atomic
def grant(
    *,
    actor: Actor,
    user: User,
    role: str,
    on: models.Model,
    reason: str,
    expires_at: datetime | None = None,
    origin: str = "manual",
) -> uuid.UUID:
    """Give an account a role on a workspace, model or environment; return the grant's id.

    Raises:
        NotPermitted: the actor does not administer access there.
        Invalid: no such role, not on this kind of object, or not for this account.
        Conflict: the account has that role there already.
    """
    with refusals("access.grant", actor=actor, obj=audit.ref(on)):
        found = _grantable(actor, role, on, reason, expires_at)
        if not user.is_active:
            raise Invalid(f"{user} was deactivated and can be given no role.")
        if found.needs_human and user.kind != User.Kind.HUMAN:
            raise Invalid(f"A service account never reviews: {user} cannot be {found.title}.")
        if not _belongs(user, on):
            raise Invalid(f"{user} does not belong to this workspace; add the account to it first.")
        table = _tables(on).user
        grant_id = _write(
            table, {"user": user}, found, on, actor, reason, expires_at, origin, holder=str(user)
        )
    _audit_given(grant_id, found, user.actor_id, on, actor, reason, expires_at)
    return grant_id


@transaction.atomic
def grant_to_group(
    *,
    actor: Actor,
    group: Group,
    role: str,
    on: models.Model,
    reason: str,
    expires_at: datetime | None = None,
) -> uuid.UUID:
    """Give everybody of a group a role; membership of the workspace is still asked of each."""
    with refusals("access.grant", actor=actor, obj=audit.ref(on)):
        found = _grantable(actor, role, on, reason, expires_at)
        grant_id = _write(
            _tables(on).group,
            {"group": group},
            found,
            on,
            actor,
            reason,
            expires_at,
            "manual",
            holder=f"The group {group.name}",
        )
    _audit_given(grant_id, found, f"group:{group.pk}", on, actor, reason, expires_at)
    return grant_id


@transaction.atomic
def revoke(grant_id: uuid.UUID | str, *, actor: Actor, reason: str) -> None:
    """End a grant at once.

    Raises:
        NotFound: there is none in a workspace that the actor sees.
        NotPermitted: the actor does not administer access there.
        Blocked: nobody would be left to administer the workspace.
    """
    table, rows = _rows_of(grant_id)
    on: models.Model = rows[0].content_object
    role = rows[0].role
    is_personal = table is _tables(on).user
    holder = f"user:{rows[0].user_id}" if is_personal else f"group:{rows[0].group_id}"
    with refusals("access.revoke", actor=actor, obj=audit.ref(on)):
        if not can(actor, "view", on).allowed:
            raise NotFound("There is no such grant.")
        require(actor, "admin_access", on)
        _require_reason(reason)
        table._default_manager.filter(grant_id=rows[0].grant_id).delete()
        memory.forget()
        if "admin_access" in ROLES[role].verbs and not grantors(on).exists():
            raise Blocked(
                "Cannot end this grant: nobody would be left who can administer access here. "
                "Grant the role to somebody else first."
            )
    audit.record(
        "access.revoke",
        actor=actor,
        obj=audit.ref(on),
        before={"role": role, "holder": holder, "grant": str(rows[0].grant_id)},
        reason=reason,
    )


@transaction.atomic
def set_global_role(*, actor: Actor, user: User, role: str, holds: bool, reason: str) -> None:
    """Give or take a role that holds in every workspace. Only set-up may: no workspace's
    administrator can open another's doors.

    Raises:
        NotPermitted: somebody else than set-up asks.
        Invalid: the role is not a global one.
    """
    target = audit.ObjectRef("user", str(user.pk), user.actor_id, None)
    action = "access.grant_everywhere" if holds else "access.revoke_everywhere"
    with refusals(action, actor=actor, obj=target):
        if role not in ROLES or not ROLES[role].is_global:
            raise Invalid(f"There is no global role {role!r}.", fields={"role": ["unknown"]})
        if not (actor.is_system and "admin_access" in system_verbs(actor.id)):
            raise NotPermitted(
                "A role in every workspace is given and ended on the server: manage.py auditor."
            )
        group = Group.objects.get(name=role)
        if holds == user.groups.filter(pk=group.pk).exists():
            raise Conflict(f"{user} {'has' if holds else 'does not have'} this role already.")
    if holds:
        user.groups.add(group)
    else:
        user.groups.remove(group)
    memory.forget()
    audit.record(action, actor=actor, obj=target, after={"role": role}, reason=reason)


def _grantable(
    actor: Actor, role: str, on: models.Model, reason: str, expires_at: datetime | None
) -> Role:
    require(actor, "admin_access", on)
    found = ROLES.get(role)
    if found is None or found.is_global:
        names = ", ".join(name for name, item in ROLES.items() if not item.is_global)
        raise Invalid(
            f"There is no role {role!r} to grant. There are: {names}.", fields={"role": ["unknown"]}
        )
    _require_reason(reason)
    if expires_at is not None and expires_at <= now():
        raise Invalid(
            "The grant would end before it begins.", fields={"expires_at": ["must lie ahead"]}
        )
    return found


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("Say why; the audit log keeps it.", fields={"reason": ["required"]})


def _write(
    table: type[models.Model],
    who: dict[str, Any],
    role: Role,
    on: models.Model,
    actor: Actor,
    reason: str,
    expires_at: datetime | None,
    origin: str,
    *,
    holder: str,
) -> uuid.UUID:
    same = table._default_manager.filter(role=role.name, content_object=on, **who)
    # What has run out no longer counts, but its rows would stand in the way.
    same.filter(expires_at__lte=now()).delete()
    first: Any = None
    rows = []
    for permission in _permissions(on, role.verbs):
        row: Any = table(
            permission=permission,
            content_object=on,
            role=role.name,
            origin=origin,
            reason=reason,
            granted_by_id=actor.user_id,
            expires_at=expires_at,
            **who,
        )
        first = first or row
        row.grant_id = first.grant_id
        rows.append(row)
    try:
        with transaction.atomic():
            table._default_manager.bulk_create(rows)
    except IntegrityError:
        raise Conflict(f"{holder} is {role.title} here already.") from None
    memory.forget()
    grant_id: uuid.UUID = first.grant_id
    return grant_id


def _permissions(on: models.Model, verbs: Iterable[str]) -> list[Permission]:
    wanted = frozenset(verbs)
    found = list(
        Permission.objects.filter(
            content_type=ContentType.objects.get_for_model(on), codename__in=wanted
        )
    )
    if len(found) != len(wanted):
        raise RuntimeError(
            f"{type(on).__name__} lacks permissions for its verbs; run the migrations."
        )
    return found


def _rows_of(grant_id: uuid.UUID | str) -> tuple[type[models.Model], list[Any]]:
    try:
        wanted = grant_id if isinstance(grant_id, uuid.UUID) else uuid.UUID(grant_id)
    except ValueError:
        raise NotFound("There is no such grant.") from None
    for tables in catalogue.tables().values():
        for table in (tables.user, tables.group):
            rows = list(
                table._default_manager.select_for_update(of=("self",))
                .filter(grant_id=wanted)
                .select_related("content_object")
            )
            if rows:
                return table, rows
    raise NotFound("There is no such grant.")


def _tables(on: models.Model) -> catalogue.Tables:
    tables = catalogue.tables_of(type(on))
    if tables is None:
        raise Invalid(f"Roles are not granted on a {on._meta.verbose_name}.")
    return tables


def _belongs(user: User, on: models.Model) -> bool:
    model = type(on)
    workspace = model._base_manager.filter(pk=on.pk).values(catalogue.workspace_path(model))
    return Membership.objects.filter(user=user, workspace__in=workspace).exists()


def _by_global_role(actor: Actor, wanted: frozenset[str]) -> Q:
    names = [name for name in decisions.GLOBAL_ROLES if ROLES[name].verbs & wanted]
    if not names:
        return Q(pk__in=[])
    return Q(
        Exists(
            User.groups.through._default_manager.filter(
                user=actor.user_id, user__is_active=True, group__name__in=names
            )
        )
    )


def _audit_given(
    grant_id: uuid.UUID,
    role: Role,
    holder: str,
    on: models.Model,
    actor: Actor,
    reason: str,
    expires_at: datetime | None,
) -> None:
    audit.record(
        "access.grant",
        actor=actor,
        obj=audit.ref(on),
        after={
            "role": role.name,
            "holder": holder,
            "grant": str(grant_id),
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
        reason=reason,
    )
