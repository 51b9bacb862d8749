"""Jobs, their attempts, and the workers that take them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models

from controlplane.accounts.models import Workspace
from controlplane.core.identifiers import uuid7
from controlplane.jobs import states


class Job(models.Model):
    """Work for a worker: who holds it is decided here, by lease, and by no message broker."""

    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    id: models.UUIDField[uuid.UUID, uuid.UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)
    queue = models.CharField(max_length=40)
    state = models.CharField(max_length=16, default=states.QUEUED)
    spec = models.JSONField()
    priority = models.SmallIntegerField(default=0, help_text="The higher, the earlier.")
    gpus = models.PositiveSmallIntegerField(default=0)
    memory_mb = models.PositiveIntegerField()
    timeout_seconds = models.PositiveIntegerField()

    attempt = models.PositiveSmallIntegerField(default=0, help_text="0 until first claimed.")
    max_attempts = models.PositiveSmallIntegerField(default=3)
    fencing_token = models.PositiveBigIntegerField(
        default=0, help_text="Grows with every claim; who holds an older one is refused."
    )
    worker = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    hinted_at = models.DateTimeField(null=True, blank=True)

    run_id = models.CharField(max_length=64, blank=True, db_index=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The human who answers for it.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    exit_code = models.SmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="A sentence, when it did not succeed.")
    last_lines = models.TextField(blank=True, help_text="The end of the log, when it failed.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-id",)
        indexes = [
            models.Index(
                fields=["queue", "-priority", "id"],
                name="job_waiting",
                condition=models.Q(state="queued"),
            ),
            models.Index(
                fields=["lease_until"],
                name="job_held",
                condition=models.Q(state__in=["dispatched", "running"]),
            ),
            models.Index(fields=["workspace", "-id"], name="job_of_workspace"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=sorted(states.JOB.states)), name="job_state"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_final(self) -> bool:
        return self.state in states.FINAL

    def responsible_ids(self) -> frozenset[str]:
        """Return who may stop it without operating the workspace: who answers for it."""
        return frozenset({f"user:{self.owner_id}", f"user:{self.created_by_id}"})


class JobAttempt(models.Model):
    """One claim of a job by a worker, and how it ended."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    fencing_token = models.PositiveBigIntegerField()
    worker = models.CharField(max_length=200)
    claimed_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, blank=True)
    exit_code = models.SmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("job", "number")
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="one_row_per_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.job} attempt {self.number}"


class Worker(models.Model):
    """A worker process that takes jobs, as it last said of itself."""

    name = models.CharField(max_length=200, primary_key=True)
    queues = models.JSONField(default=list)
    slots = models.PositiveSmallIntegerField()
    gpus = models.PositiveSmallIntegerField(default=0)
    memory_mb = models.PositiveIntegerField()
    sandbox = models.CharField(max_length=8)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
