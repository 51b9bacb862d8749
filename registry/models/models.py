"""Models, their versions and the aliases that point at them."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.db import models

from controlplane.accounts.models import VERB_PERMISSIONS, User, Workspace
from registry.models.datasets import DatasetVersion


class Model(models.Model):
    """A registered model: the name under which versions are offered, and who answers for it."""

    class State(models.TextChoices):
        ACTIVE = "active"
        DEPRECATED = "deprecated"
        RETIRED = "retired"

    class RiskTier(models.TextChoices):
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"
        CRITICAL = "critical"

    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=200)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="models")
    risk_tier = models.CharField(max_length=8, choices=RiskTier.choices, default=RiskTier.MEDIUM)
    state = models.CharField(max_length=12, choices=State.choices, default=State.ACTIVE)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    is_prompt = models.BooleanField(default=False)
    next_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ()
        permissions = VERB_PERMISSIONS
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="model_name_once")
        ]
        indexes = [GinIndex(fields=["tags"], opclasses=["jsonb_path_ops"], name="model_tags")]

    def __str__(self) -> str:
        return self.name

    def responsible_ids(self) -> frozenset[str]:
        return frozenset({f"user:{self.owner_id}"})


class ModelVersion(models.Model):
    """One sealed set of files of a model, and where they came from.

    ``manifest`` lists ``{path, size, sha256}`` sorted by path; ``manifest_sha256`` is the digest
    of its canonical JSON. ``contributors`` are actor ids whose approval never counts.
    """

    class State(models.TextChoices):
        UPLOADING = "uploading"
        SEALED = "sealed"
        FAILED = "failed"
        QUARANTINED = "quarantined"
        RETIRED = "retired"

    access_parents: ClassVar[tuple[str, ...]] = ("model",)

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.UPLOADING)
    error = models.TextField(blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    source = models.CharField(max_length=1000, blank=True)
    run_id = models.CharField(max_length=32, blank=True, db_index=True)
    logged_model_id = models.CharField(max_length=64, blank=True, db_index=True)
    job_id = models.UUIDField(null=True, blank=True, db_index=True)
    semantic_version = models.CharField(max_length=40, blank=True)
    manifest = models.JSONField(default=list)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    signature = models.JSONField(default=dict, blank=True)
    flavours = models.JSONField(default=list, blank=True)
    lock_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Digest of the environment lock, stored as a blob."
    )
    commit = models.CharField(max_length=64, blank=True)
    file_verdict = models.CharField(max_length=24, default="not scanned")
    registrant = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    contributors = models.JSONField(default=list)
    datasets = models.ManyToManyField(
        DatasetVersion, through="VersionDataset", related_name="model_versions"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    sealed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="model_version_once"),
            models.UniqueConstraint(
                fields=["model", "job_id"],
                condition=models.Q(job_id__isnull=False),
                name="one_version_per_job",
            ),
        ]
        indexes = [
            GinIndex(fields=["tags"], opclasses=["jsonb_path_ops"], name="version_tags"),
            models.Index(fields=["model", "-updated_at"], name="version_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.number}"

    @property
    def workspace_id(self) -> int:
        return self.model.workspace_id

    def responsible_ids(self) -> frozenset[str]:
        return self.model.responsible_ids()


class VersionDataset(models.Model):
    """A dataset version went into a model version, in one role (training, validation, …)."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="inputs")
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=24, default="training")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["version", "dataset_version", "role"], name="version_dataset_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.dataset_version} ({self.role})"


class Alias(models.Model):
    """A free alias and its history; guarded aliases follow what is live and have no row."""

    access_parents: ClassVar[tuple[str, ...]] = ("model",)

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=100)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")
    set_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["model", "name"],
                condition=models.Q(ended_at__isnull=True),
                name="alias_points_once",
            )
        ]

    def __str__(self) -> str:
        return f"@{self.name}"
