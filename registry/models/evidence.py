"""What is known about a version: evaluations, and where it is in use."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from registry.models.datasets import DatasetVersion
from registry.models.environments import Environment
from registry.models.models import Model, ModelVersion


class Evidence(models.Model):
    """One finished evaluation of one sealed version, never changed.

    ``body`` is canonical JSON: metrics (value, low, high, n as strings), differences from the
    baseline, slices, seed, draws. ``digest`` is the SHA-256 of body, manifest and dataset.
    """

    access_parents: ClassVar[tuple[str, ...]] = ("version",)

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evidence")
    kind = models.CharField(max_length=24, default="evaluation")
    suite = models.CharField(max_length=60, default="holdout")
    dataset_version = models.ForeignKey(
        DatasetVersion, null=True, on_delete=models.PROTECT, related_name="evidence"
    )
    baseline = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.PROTECT, related_name="+"
    )
    manifest_sha256 = models.CharField(max_length=64)
    body = models.JSONField()
    digest = models.CharField(max_length=64)
    job_id = models.UUIDField(null=True, db_index=True)
    attested_by_client = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=["job_id"],
                condition=models.Q(job_id__isnull=False),
                name="one_evidence_per_job",
            )
        ]
        indexes = [models.Index(fields=["version", "kind", "-created_at"], name="evidence_newest")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.version}"

    @property
    def workspace_id(self) -> int:
        return self.version.model.workspace_id


class VersionUse(models.Model):
    """The registry's own picture of what deployments run; deployments writes it by a service."""

    class Use(models.TextChoices):
        LIVE = "live"
        ROLLBACK_SET = "rollback_set"

    access_parents: ClassVar[tuple[str, ...]] = ("model",)

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="uses")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="uses")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="uses")
    use = models.CharField(max_length=16, choices=Use.choices)
    since = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["model", "environment"],
                condition=models.Q(use="live", ended_at__isnull=True),
                name="one_live_version",
            ),
            models.UniqueConstraint(
                fields=["version", "environment", "use"],
                condition=models.Q(ended_at__isnull=True),
                name="version_use_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} {self.use} in {self.environment}"
