"""Which bytes lie under which path of which owner. The bytes themselves: ``registry.blobs``."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from controlplane.accounts.models import Workspace


class ArtifactBlob(models.Model):
    """One file of a run, logged model, dataset version or job, by content."""

    class OwnerType(models.TextChoices):
        RUN = "run"
        LOGGED_MODEL = "logged_model"
        TRACE = "trace"
        DATASET_VERSION = "dataset_version"
        JOB = "job"
        EVIDENCE = "evidence"

    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    owner_type = models.CharField(max_length=16, choices=OwnerType.choices)
    owner_id = models.CharField(max_length=64)
    path = models.CharField(max_length=1000)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    actor_id = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["owner_type", "owner_id", "path"], name="one_blob_per_path"
            )
        ]
        indexes = [models.Index(fields=["workspace", "sha256"], name="blob_by_content")]

    def __str__(self) -> str:
        return self.path
