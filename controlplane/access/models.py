"""Grants: one row per verb, on the object itself, with who gave it, why and until when.

Only this package imports guardian; the apps declare their concrete tables from the two abstract
classes here and register them in ``controlplane.access.catalogue``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from controlplane.accounts.models import User, Workspace
from controlplane.core.identifiers import uuid7


class GrantFields(models.Model):
    """What both kinds of grant have beside who, which verb and on what.

    The rows that one act of granting made share ``grant_id``, which sorts by time.
    """

    class Origin(models.TextChoices):
        MANUAL = "manual"
        SETUP = "setup"
        OWNERSHIP = "ownership"

    grant_id = models.UUIDField(default=uuid7, db_index=True)
    role = models.CharField(max_length=40)
    origin = models.CharField(max_length=16, choices=Origin.choices, default=Origin.MANUAL)
    reason = models.TextField(blank=True)
    granted_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True


class UserGrant(GrantFields, UserObjectPermissionBase):
    """A verb that one user holds on one object. Subclasses add ``content_object``."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()  # type: ignore[assignment]

    class Meta:
        abstract = True
        default_permissions = ()
        # Two roles may give the same verb; ending one must leave the other.
        unique_together = (("user", "permission", "content_object", "role"),)
        indexes = (
            models.Index(fields=["user", "permission", "content_object"], name="%(class)s_who"),
            models.Index(fields=["content_object", "user", "permission"], name="%(class)s_what"),
        )


class GroupGrant(GrantFields, GroupObjectPermissionBase):
    """A verb that everybody of one group holds on one object."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()  # type: ignore[assignment]

    class Meta:
        abstract = True
        default_permissions = ()
        unique_together = (("group", "permission", "content_object", "role"),)
        indexes = (
            models.Index(fields=["group", "permission", "content_object"], name="%(class)s_who"),
            models.Index(fields=["content_object", "group", "permission"], name="%(class)s_what"),
        )


class WorkspaceUserGrant(UserGrant):
    content_object = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="user_grants"
    )


class WorkspaceGroupGrant(GroupGrant):
    content_object = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="group_grants"
    )
