"""The ledger's tables as PostgreSQL has them (made by SQL, never by Django), and the count of
repeated refusals."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """One thing that happened or was refused; ``payload`` is what is hashed, the rest copies."""

    class Outcome(models.TextChoices):
        SUCCESS = "success"
        REFUSED = "refused"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    actor = models.TextField()
    action = models.TextField()
    object_type = models.TextField()
    object_id = models.TextField()
    workspace = models.BigIntegerField(null=True)
    outcome = models.TextField(choices=Outcome.choices)
    payload = models.TextField()
    leaf = models.BinaryField()

    class Meta:
        managed = False
        db_table = '"ledger"."event"'
        default_permissions = ()


class Pending(models.Model):
    """An event that waits for its number."""

    event_id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = '"ledger"."pending"'
        default_permissions = ()


class Leaf(models.Model):
    """An event's place in the Merkle tree; people see ``leaf_index + 1``."""

    leaf_index = models.BigIntegerField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    event_at = models.DateTimeField()
    leaf_hash = models.BinaryField()

    class Meta:
        managed = False
        db_table = '"ledger"."leaf"'
        default_permissions = ()


class Checkpoint(models.Model):
    """The signed root over the first ``tree_size`` events."""

    tree_size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField()
    note = models.TextField()
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = '"ledger"."checkpoint"'
        default_permissions = ()


class PersonalValue(models.Model):
    """What a commitment in an event stands for; may be erased, the proofs hold without it."""

    pk = models.CompositePrimaryKey("event_id", "path")
    event_id = models.UUIDField()
    path = models.TextField()
    salt = models.BinaryField()
    value = models.TextField()

    class Meta:
        managed = False
        db_table = '"ledger"."personal"'
        default_permissions = ()


class RepeatedRefusal(models.Model):
    """How often the same refusal came again since the one that is in the ledger.

    ``payload`` holds what the counting event will say of actor and object.
    """

    key = models.CharField(max_length=64, primary_key=True)
    started_at = models.DateTimeField()
    repeats = models.PositiveIntegerField(default=0)
    payload = models.JSONField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["started_at"], name="repeated_refusal_started")]

    def __str__(self) -> str:
        return f"{self.repeats} more since {self.started_at:%H:%M}"
