"""What must happen after a commit, written in the same transaction as the change."""

from __future__ import annotations

import uuid

from django.db import models

from controlplane.core.identifiers import uuid7


class OutboxMessage(models.Model):
    """One letter: a task's name and arguments. It is done when ``done_at`` is set, and sent
    again until then; a lost broker loses nothing."""

    id: models.UUIDField[uuid.UUID, uuid.UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    queue = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        indexes = [
            models.Index(
                fields=["sent_at"],
                name="outbox_waiting",
                condition=models.Q(done_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.task}{tuple(self.args)}"
