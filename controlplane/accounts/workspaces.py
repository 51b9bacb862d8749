"""Which workspaces an account may enter."""

from __future__ import annotations

from django.db import models
from django.db.models import Exists, OuterRef, Q

from controlplane.accounts.models import Membership, User, Workspace

# The auditors' group (``access.roles``) watches every workspace without belonging to any.
EVERYWHERE = "auditor"


def open_to(user: User) -> models.QuerySet[Workspace]:
    """Return the workspaces that the account belongs to; all of them for an auditor.

    Any other workspace cannot be told apart from one that does not exist.
    """
    belongs = Membership.objects.filter(user=user, workspace=OuterRef("pk"))
    watches = User.groups.through._default_manager.filter(user=user, group__name=EVERYWHERE)
    return Workspace.objects.filter(Q(Exists(belongs)) | Q(Exists(watches)))
