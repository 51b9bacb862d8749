"""Makers of objects for tests, through the services; a test asks only for what it needs."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import models

from controlplane.access import services as access
from controlplane.accounts import services as accounts
from controlplane.accounts import tokens
from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor, ActorKind

PASSWORD = "correct-horse-battery-staple"


def a_name(prefix: str) -> str:
    """Return a name that no other test has."""
    return f"{prefix}-{secrets.token_hex(4)}"


def setup() -> Actor:
    """Return the actor as whom ``manage.py bootstrap`` acts."""
    return Actor.system("setup")


def workspace(key: str = "", *, name: str = "") -> Workspace:
    key = key or a_name("ws")
    return accounts.create_workspace(actor=setup(), key=key, name=name or key.capitalize())


def person(
    *roles: str,
    workspace: Workspace,
    role: str = "",
    username: str = "",
    display_name: str = "",
    on: models.Model | None = None,
) -> User:
    """Return a person with these roles on the workspace, or on ``on``; "auditor" is global."""
    username = username or a_name("person")
    user = accounts.create_person(
        actor=setup(),
        username=username,
        display_name=display_name or username.replace("-", " ").title(),
        password=PASSWORD,
        workspace=workspace,
    )
    for each in (*roles, *([role] if role else [])):
        give(user, each, on or workspace)
    return user


def service_account(
    *roles: str, workspace: Workspace, owner: User | None = None, role: str = "", username: str = ""
) -> User:
    """Return a service account with these roles; its owner is made where none is given."""
    user = accounts.create_service_account(
        actor=setup(),
        username=username or a_name("robot"),
        display_name="Robot",
        owner=owner or person(workspace=workspace),
        workspace=workspace,
    )
    for each in (*roles, *([role] if role else [])):
        give(user, each, workspace)
    return user


def give(user: User, role: str, on: models.Model, **more: Any) -> Any:
    """Grant a role as set-up; return the grant's id (None for the global role)."""
    if role == "auditor":
        access.set_global_role(actor=setup(), user=user, role=role, holds=True, reason="test")
        return None
    return access.grant(actor=setup(), user=user, role=role, on=on, reason="for a test", **more)


def acting(
    user: User, workspace: Workspace | None = None, *, scopes: Collection[str] | None = None
) -> Actor:
    """Return the user as an actor, signed in, in that workspace or at home."""
    here = workspace or user.memberships.get(is_home=True).workspace
    return Actor(
        id=user.actor_id,
        kind=ActorKind(user.kind),
        user_id=user.pk,
        workspace_id=here.pk,
        auth="session",
        scopes=None if scopes is None else frozenset(scopes),
        on_behalf_of=f"user:{user.owner_id}" if user.owner_id else None,
        request_id="test",
        ip="127.0.0.1",
        agent="pytest",
        label=str(user),
    )


def token(
    user: User, workspace: Workspace | None = None, *, scopes: Collection[str] | None = None
) -> str:
    """Return the secret of a new token of the user's."""
    home = workspace or user.memberships.get(is_home=True).workspace
    _, secret = tokens.issue(
        actor=setup(),
        user=user,
        workspace=home,
        name="for a test",
        kind=user.kind,
        lifetime=timedelta(days=1),
        scopes=scopes,
    )
    return secret


def bearer(secret: str) -> dict[str, str]:
    """Return the header of a request with this token, for Django's test client."""
    return {"Authorization": f"Bearer {secret}"}


def user_of(actor: Actor) -> User:
    """Return the account behind an actor."""
    return User.objects.get(pk=actor.user_id or 0)


def audited(record: models.Model, action: str, outcome: str = "success") -> int:
    """Return how many events of this action and outcome the ledger holds about the record."""
    from controlplane.audit import services as audit
    from controlplane.audit.models import Event

    target = audit.ref(record)
    return Event.objects.filter(
        object_type=target.type, object_id=target.id, action=action, outcome=outcome
    ).count()
