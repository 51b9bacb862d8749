"""What the REST door remembers: which creating requests it has answered."""

from __future__ import annotations

from django.db import models


class AnsweredRequest(models.Model):
    """The answer to one request with an ``Idempotency-Key``, kept for a day.

    ``request_digest`` covers method, address, workspace and body.
    """

    actor_id = models.CharField(max_length=40)
    key = models.CharField(max_length=100)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["actor_id", "key"], name="answered_once")]

    def __str__(self) -> str:
        return f"{self.actor_id} {self.key}"
