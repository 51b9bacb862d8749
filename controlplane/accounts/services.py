"""Workspaces, people and service accounts: made, named and ended here."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from controlplane.access import services as access
from controlplane.access.refusals import refusals
from controlplane.access.roles import SETUP
from controlplane.accounts.models import ApiToken, Membership, User, Workspace
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound, NotPermitted


@transaction.atomic
def create_workspace(*, actor: Actor, key: str, name: str, time_zone: str = "UTC") -> Workspace:
    """Make a workspace, empty and with nobody in it. Only set-up may (``manage.py bootstrap``).

    Raises:
        NotPermitted: somebody else asks.
        Invalid: the key, name or time zone is not allowed.
        Conflict: the key is taken.
    """
    target = audit.ObjectRef("workspace", "", key, None)
    with refusals("workspace.create", actor=actor, obj=target):
        if actor.id != SETUP:
            raise NotPermitted("A workspace is made on the server, with manage.py bootstrap.")
        try:
            ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise Invalid(
                f"There is no time zone {time_zone!r}.", fields={"time_zone": ["unknown"]}
            ) from None
        workspace = Workspace(key=key, name=name.strip(), time_zone=time_zone)
        _check_fields(workspace)
        if Workspace.objects.filter(key=key).exists():
            raise Conflict(f"There is a workspace {key} already.")
    workspace.save(force_insert=True)
    audit.record(
        "workspace.create",
        actor=actor,
        obj=audit.ref(workspace),
        after={"key": key, "name": workspace.name},
    )
    return workspace


@transaction.atomic
def create_person(
    *,
    actor: Actor,
    username: str,
    display_name: str,
    password: str,
    workspace: Workspace,
    title: str = "",
    email: str = "",
) -> User:
    """Make a person whose home is the workspace; they may do nothing until granted a role.

    Raises:
        NotPermitted: the actor does not administer access there.
        Invalid: a field or the password is not allowed; ``fields`` says which.
        Conflict: the name is taken.
    """
    with refusals("person.create", actor=actor, obj=audit.ref(workspace)):
        access.require(actor, "admin_access", workspace)
        user = User(
            username=username, display_name=display_name.strip(), title=title.strip(), email=email
        )
        _check_password(password, user)
        user.set_password(password)
        _insert(user)
    Membership.objects.create(user=user, workspace=workspace, is_home=True)
    audit.record("person.create", actor=actor, obj=_ref(user, workspace))
    return user


@transaction.atomic
def create_service_account(
    *, actor: Actor, username: str, display_name: str, owner: User, workspace: Workspace
) -> User:
    """Make an account without a password, for which ``owner`` answers.

    Raises:
        NotPermitted, Invalid, Conflict: as for a person; the owner must be an active person of
            the workspace.
    """
    with refusals("service_account.create", actor=actor, obj=audit.ref(workspace)):
        access.require(actor, "admin_access", workspace)
        _check_owner(owner, workspace)
        user = User(
            username=username,
            display_name=display_name.strip(),
            kind=User.Kind.SERVICE,
            owner=owner,
        )
        user.set_unusable_password()
        _insert(user)
    Membership.objects.create(user=user, workspace=workspace, is_home=True)
    audit.record(
        "service_account.create",
        actor=actor,
        obj=_ref(user, workspace),
        after={"owner": owner.actor_id},
    )
    return user


@transaction.atomic
def hand_over(user_id: int, *, actor: Actor, owner: User, reason: str) -> User:
    """Let another person answer for a service account."""
    user, workspace = _administered(user_id, actor, "service_account.hand_over")
    with refusals("service_account.hand_over", actor=actor, obj=_ref(user, workspace)):
        if user.kind != User.Kind.SERVICE:
            raise Invalid(f"{user} is a person; only service accounts have owners.")
        _check_owner(owner, workspace)
    before = {"owner": f"user:{user.owner_id}"}
    user.owner = owner
    user.save(update_fields=["owner"])
    audit.record(
        "service_account.hand_over",
        actor=actor,
        obj=_ref(user, workspace),
        before=before,
        after={"owner": owner.actor_id},
        reason=reason,
    )
    return user


@transaction.atomic
def add_member(user_id: int, *, actor: Actor, workspace: Workspace) -> Membership:
    """Let an existing account enter a further workspace; roles are granted apart.

    The actor administers access there; that the account exists is what they knew already by
    naming it.
    """
    with refusals("membership.add", actor=actor, obj=audit.ref(workspace)):
        access.require(actor, "admin_access", workspace)
        user = User.objects.filter(pk=user_id, is_active=True).first()
        if user is None:
            raise NotFound("There is no such account.")
        if Membership.objects.filter(user=user, workspace=workspace).exists():
            raise Conflict(f"{user} belongs to this workspace already.")
    membership = Membership.objects.create(user=user, workspace=workspace)
    audit.record("membership.add", actor=actor, obj=_ref(user, workspace))
    return membership


@transaction.atomic
def deactivate(user_id: int, *, actor: Actor, reason: str) -> User:
    """Close an account: it can neither sign in nor use a token; what it did stays.

    Raises:
        NotFound: there is no such account in the actor's workspace.
        Blocked: it answers for service accounts, or nobody else could administer access.
    """
    user, workspace = _administered(user_id, actor, "person.deactivate")
    with refusals("person.deactivate", actor=actor, obj=_ref(user, workspace)):
        if not user.is_active:
            raise Conflict(f"{user} was deactivated already.")
        if not reason.strip():
            raise Invalid("Say why; the audit log keeps it.", fields={"reason": ["required"]})
        reasons = [
            f"{user} answers for the service account {account}: hand it over first."
            for account in user.service_accounts.filter(is_active=True)
        ]
        others = access.grantors(workspace).exclude(pk=user.pk)
        if access.grantors(workspace).filter(pk=user.pk).exists() and not others.exists():
            reasons.append("Nobody else could administer access to this workspace.")
        if reasons:
            raise Blocked(f"Cannot deactivate {user}: {reasons[0]}", reasons=reasons)
    user.is_active = False
    user.save(update_fields=["is_active"])
    ApiToken.objects.filter(user=user, revoked_at__isnull=True).update(revoked_at=now())
    audit.record(
        "person.deactivate",
        actor=actor,
        obj=_ref(user, workspace),
        before={"is_active": True},
        after={"is_active": False},
        reason=reason,
    )
    return user


@transaction.atomic
def change_password(*, actor: Actor, old: str, new: str) -> None:
    """Give the acting person a new password; their other sessions end.

    Raises:
        NotPermitted: the old one is wrong.
        Invalid: the new one is too weak.
    """
    user = User.objects.select_for_update().filter(pk=actor.user_id or 0).first()
    if user is None or not actor.is_human:
        raise NotPermitted("Only a person has a password.")
    target = audit.ObjectRef("user", str(user.pk), user.actor_id, actor.workspace_id)
    with refusals("password.change", actor=actor, obj=target):
        if not user.check_password(old):
            raise NotPermitted("The present password is wrong.", code="wrong_password")
        _check_password(new, user)
    user.set_password(new)
    user.save(update_fields=["password"])
    audit.record("password.change", actor=actor, obj=target)


@transaction.atomic
def reset_password(user_id: int, *, actor: Actor, new: str, reason: str) -> None:
    """Give a person a new password without the old one; all their sessions end. Only set-up may.

    Raises:
        NotPermitted: somebody else asks.
        Invalid: the new one is too weak.
    """
    user = User.objects.select_for_update().filter(pk=user_id, kind=User.Kind.HUMAN).first()
    if user is None:
        raise NotFound("There is no such person.")
    target = audit.ObjectRef("user", str(user.pk), user.actor_id, None)
    with refusals("password.change", actor=actor, obj=target):
        if actor.id != SETUP:
            raise NotPermitted("A password is reset on the server.")
        _check_password(new, user)
    user.set_password(new)
    user.save(update_fields=["password"])
    audit.record("password.change", actor=actor, obj=target, reason=reason)


def _administered(user_id: int, actor: Actor, action: str) -> tuple[User, Workspace]:
    """Return the account and the actor's workspace, where it is a member and they administer."""
    membership = (
        Membership.objects.select_related("user", "workspace")
        .filter(user=user_id, workspace=actor.workspace_id)
        .first()
    )
    if membership is None:
        raise NotFound("There is no such account.")
    user, workspace = membership.user, membership.workspace
    with refusals(action, actor=actor, obj=_ref(user, workspace)):
        access.require(actor, "admin_access", workspace)
        if not user.memberships.filter(workspace=workspace, is_home=True).exists():
            raise NotPermitted(
                f"{user} is at home in another workspace, whose administrators change the account."
            )
    return user, workspace


def _insert(user: User) -> None:
    _check_fields(user)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise Conflict(f"The name {user.username} is taken.") from None


def _check_fields(record: User | Workspace) -> None:
    try:
        record.clean_fields(exclude=["password", "owner"])
    except ValidationError as error:
        fields = {name: list(messages) for name, messages in error.message_dict.items()}
        name, messages = next(iter(fields.items()))
        raise Invalid(f"{name}: {messages[0]}", fields=fields) from None


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(
            f"This password is too weak. {error.messages[0]}", fields={"password": error.messages}
        ) from None


def _check_owner(owner: User, workspace: Workspace) -> None:
    is_member = Membership.objects.filter(user=owner, workspace=workspace).exists()
    if owner.kind != User.Kind.HUMAN or not owner.is_active or not is_member:
        raise Invalid(
            "The owner of a service account must be an active person of the workspace.",
            fields={"owner": ["must be an active person of the workspace"]},
        )


def _ref(user: User, workspace: Workspace) -> audit.ObjectRef:
    # People are opaque in the ledger: names are looked up by who shows it.
    return audit.ObjectRef("user", str(user.pk), user.actor_id, workspace.pk)
