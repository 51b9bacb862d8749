"""Making a workspace usable from nothing: who administers it, where versions go."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from controlplane.access import services as access
from controlplane.accounts import services as accounts
from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from registry.services import environments


def setup_actor() -> Actor:
    """Return the actor as whom somebody acts who can run commands on this machine."""
    return Actor.system("setup")


@transaction.atomic
def open_workspace(
    *,
    actor: Actor,
    key: str,
    name: str,
    time_zone: str = "UTC",
    policies: Mapping[str, str] | None = None,
) -> Workspace:
    """Return the workspace of that key, with its environments; made where it is missing."""
    workspace = Workspace.objects.filter(key=key).first() or accounts.create_workspace(
        actor=actor, key=key, name=name, time_zone=time_zone
    )
    environments.ship_defaults(workspace, actor=actor, sources=policies)
    return workspace


def hold_role(*, actor: Actor, user: User, role: str, workspace: Workspace, reason: str) -> None:
    """The account has the role on the workspace afterwards, whether it had it before or not."""
    had = {grant.role for grant in access.grants_of(user, on=workspace)}
    if role not in had:
        access.grant(actor=actor, user=user, role=role, on=workspace, reason=reason, origin="setup")
