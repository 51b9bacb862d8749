"""The one question "may they?", answered with the rule that decided."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection, models
from django.db.models import CharField, DateTimeField, Exists, F, IntegerField, Q, UUIDField, Value

from controlplane.access import catalogue, memory
from controlplane.access.roles import (
    ANY_REVIEW,
    HUMAN_VERBS,
    REVIEW_VERBS,
    ROLES,
    readable,
    roles_with,
    system_verbs,
)
from controlplane.accounts.models import VERBS, Membership, User, Workspace
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.clock import now

GLOBAL_ROLES = tuple(role.name for role in ROLES.values() if role.is_global)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an actor may, with the rule in a sentence and the grant it rests on."""

    allowed: bool
    reason: str
    grant_id: uuid.UUID | None = None
    role: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """One verb that an actor holds on an object through one role.

    ``rule`` is the grant table's place in ``catalogue.grant_tables_above``; -1 is a global role.
    """

    verb: str
    role: str
    grant_id: uuid.UUID | None
    last_used_at: datetime | None
    rule: int


def decide(actor: Actor, verb: str, obj: models.Model) -> Decision:
    """Return whether ``actor`` may do ``verb`` on ``obj``: one query, none when asked before in
    this request about the same object.

    ``verb`` is one of the catalogue, or "review" for any of the four slots.
    """
    _check_verb(verb)
    barred = _barred(actor, verb, obj)
    if barred is not None:
        return barred
    held = holdings(actor, obj)
    found = _first(held, _wanted(verb, actor))
    if found is None:
        return Decision(False, _missing(verb, obj, held))
    _note_use(found, obj)
    title = ROLES[found.role].title if found.role in ROLES else found.role
    where = _place(obj, found.rule)
    return Decision(True, f"By the role {title} {where}.", found.grant_id, found.role)


def verbs_held(actor: Actor, obj: models.Model) -> frozenset[str]:
    """Return every verb of the catalogue that the actor may do on the object; one query."""
    if actor.is_system:
        return frozenset(verb for verb in VERBS if _of_system(actor, verb, obj).allowed)
    held = holdings(actor, obj)
    return frozenset(verb for verb in VERBS if _first(held, narrowed(actor, verb)))


def holdings(actor: Actor, obj: models.Model) -> list[Held]:
    """Return what the actor's grants give on the object, nearest grant first; tokens and the
    kind of actor are not considered here."""
    return _holdings(actor, type(obj), obj.pk)


def holds_in_workspace(actor: Actor, wanted: Collection[str]) -> bool:
    """Say whether a global role, or a grant on the workspace itself, gives one of the verbs.

    It then holds for everything in the workspace, and no row below needs to be asked about.
    """
    held = _holdings(actor, Workspace, actor.workspace_id)
    return any(item.verb in wanted for item in held)


def _holdings(actor: Actor, model: type[models.Model], pk: Any) -> list[Held]:
    if actor.user_id is None or actor.workspace_id is None:
        return []
    key = (actor.user_id, actor.workspace_id, model, pk)
    known: list[Held] | None = memory.recall(key)
    if known is not None:
        return known
    held: list[Held] = []
    for verb, role, grant_id, used, rule in _holding_rows(actor, model, pk):
        # A global role is a row without a verb: it gives all that the role does.
        verbs = [verb] if verb else sorted(ROLES[role].verbs)
        held.extend(Held(each, role, grant_id, used, rule) for each in verbs)
    held.sort(key=lambda item: (item.rule, item.role, item.verb))
    memory.keep(key, held)
    return held


def _holding_rows(actor: Actor, model: type[models.Model], pk: Any) -> list[tuple[Any, ...]]:
    sql, markers = _holding_sql(model)
    values = {
        _USER: actor.user_id,
        _WORKSPACE: actor.workspace_id,
        _MOMENT: now(),
        _marker_of_key(model): model._meta.pk.get_db_prep_value(pk, connection),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, [values.get(marker, marker) for marker in markers])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# Stand in the compiled statement where a question's own values go; no row has any of them.
_USER, _WORKSPACE, _KEY = -7_201_001, -7_201_002, -7_201_003
_KEY_UUID = uuid.UUID(int=7_201_003)
_MOMENT = datetime(1970, 1, 1, 7, 20, 1, tzinfo=UTC)


@cache
def _holding_sql(model: type[models.Model]) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that finds what an actor holds on an object of this class.

    It is asked several times in every request, and building it costs many times what running it
    does, so it is built once for each class.
    """
    in_workspace = Q(**{catalogue.workspace_path(model): _WORKSPACE})
    here = model._base_manager.filter(in_workspace, pk=_marker_of_key(model))
    belongs_here = Exists(
        Membership.objects.filter(user=_USER, workspace=_WORKSPACE, user__is_active=True)
    )
    queries = [
        source.table._default_manager.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=_MOMENT),
            belongs_here,
            content_object__in=here.values(source.above.path),
            **{source.held_by: _USER},
        )
        .order_by()
        .values_list(
            "permission__codename",
            "role",
            "grant_id",
            "last_used_at",
            Value(rule, output_field=IntegerField()),
        )
        for rule, source in enumerate(catalogue.grant_tables_above(model))
    ]
    everywhere = (
        User.groups.through._default_manager.filter(
            Exists(here), user=_USER, user__is_active=True, group__name__in=GLOBAL_ROLES
        )
        .order_by()
        .values_list(
            Value("", output_field=CharField()),
            F("group__name"),
            Value(None, output_field=UUIDField()),
            Value(None, output_field=DateTimeField()),
            Value(-1, output_field=IntegerField()),
        )
    )
    sql, markers = everywhere.union(*queries, all=True).query.sql_with_params()
    return sql, tuple(markers)


def _marker_of_key(model: type[models.Model]) -> int | uuid.UUID:
    return _KEY_UUID if isinstance(model._meta.pk, UUIDField) else _KEY


def holders(verb: str, obj: models.Model) -> models.QuerySet[User]:
    """Return the active accounts that a grant lets do ``verb`` on the object.

    Global roles are not listed: they watch, they do not act.
    """
    _check_verb(verb)
    model = type(obj)
    wanted = REVIEW_VERBS if verb == ANY_REVIEW else {verb}
    here = model._base_manager.filter(pk=obj.pk)
    by_grant = Q()
    for source in catalogue.grant_tables_above(model):
        rows = source.table._default_manager.filter(
            unexpired(),
            permission__codename__in=wanted,
            content_object__in=here.values(source.above.path),
        )
        who = "pk" if source.holder == "user" else "groups"
        by_grant |= Q(**{f"{who}__in": rows.values(source.holder)})
    workspace = here.values(catalogue.workspace_path(model))
    people = User.objects.filter(
        by_grant,
        is_active=True,
        pk__in=Membership.objects.filter(workspace__in=workspace).values("user"),
    )
    if wanted & HUMAN_VERBS:
        people = people.filter(kind=User.Kind.HUMAN)
    return people.distinct()


def unexpired() -> Q:
    return Q(expires_at__isnull=True) | Q(expires_at__gt=now())


def belongs(actor: Actor) -> Exists:
    """A grant counts only while its holder is active and belongs to the workspace."""
    return Exists(
        Membership.objects.filter(
            user=actor.user_id, workspace=actor.workspace_id, user__is_active=True
        )
    )


def narrowed(actor: Actor, verb: str) -> frozenset[str]:
    """Return the codenames that would satisfy ``verb``, less what kind and token take away."""
    wanted = _wanted(verb, actor)
    if actor.kind is not ActorKind.HUMAN:
        wanted -= HUMAN_VERBS
    return wanted


def _barred(actor: Actor, verb: str, obj: models.Model) -> Decision | None:
    """Return the answer where no grant is asked, or None."""
    if actor.kind is ActorKind.ANONYMOUS:
        return Decision(False, "Sign in first.")
    if actor.is_system:
        return _of_system(actor, verb, obj)
    what = _what(obj)
    if actor.kind is ActorKind.SERVICE and verb in HUMAN_VERBS | {ANY_REVIEW}:
        return Decision(
            False, f"A service account may never {readable(verb)} {what}: only a person may."
        )
    if not _wanted(verb, actor):
        allowed = ", ".join(sorted(actor.scopes or ())) or "nothing"
        return Decision(
            False, f"This token may not {readable(verb)} {what}: it is narrowed to {allowed}."
        )
    return None


def _of_system(actor: Actor, verb: str, obj: models.Model) -> Decision:
    if verb not in system_verbs(actor.id):
        return Decision(False, f"Gatehouse itself may never {readable(verb)} {_what(obj)}.")
    if actor.workspace_id is not None and _workspace_of(obj) != actor.workspace_id:
        return Decision(
            False, f"This part of Gatehouse acts in another workspace than {_what(obj)}."
        )
    return Decision(True, "Gatehouse does this itself.")


def _workspace_of(obj: models.Model) -> int | None:
    model = type(obj)
    path = catalogue.workspace_path(model)
    found: int | None = model._base_manager.filter(pk=obj.pk).values_list(path, flat=True).first()
    return found


def _first(held: list[Held], wanted: frozenset[str]) -> Held | None:
    return next((item for item in held if item.verb in wanted), None)


def _wanted(verb: str, actor: Actor) -> frozenset[str]:
    wanted = REVIEW_VERBS if verb == ANY_REVIEW else frozenset({verb})
    return wanted if actor.scopes is None else wanted & actor.scopes


def _missing(verb: str, obj: models.Model, held: list[Held]) -> str:
    titles = [role.title for role in roles_with(verb) if not role.is_global]
    needed = " or ".join(titles) or "no role of this installation"
    mine = sorted({ROLES[item.role].title for item in held if item.role in ROLES})
    yours = f"you are {', '.join(mine)} here" if mine else "you have no role here"
    return (
        f"You may not {readable(verb)} {_what(obj)}: it takes the role {needed}, and {yours}. "
        "A workspace administrator can grant it."
    )


def _note_use(item: Held, obj: models.Model) -> None:
    if item.grant_id is None:
        return
    if item.last_used_at is not None and item.last_used_at > now() - memory.USE_NOTED_EVERY:
        return
    memory.note_use(catalogue.grant_tables_above(type(obj))[item.rule].table, item.grant_id)


def _place(obj: models.Model, rule: int) -> str:
    if rule < 0:
        return "in every workspace"
    above = catalogue.grant_tables_above(type(obj))[rule].above
    return f"on the {above.model._meta.verbose_name}"


def _what(obj: models.Model) -> str:
    return f"{obj._meta.verbose_name} {obj}"


def _check_verb(verb: str) -> None:
    if verb not in VERBS and verb != ANY_REVIEW:
        raise ValueError(f"{verb!r} is no verb of access.")
