"""Datasets and their sealed versions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from controlplane.accounts.models import User, Workspace


class Dataset(models.Model):
    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="datasets")
    next_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="dataset_name_once")
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """The files, schema and profile of a dataset at one moment; sealed once, never changed.

    ``digest`` is the SHA-256 over the canonical list of its files. ``profile`` holds the column
    profiles that later drift is measured against.
    """

    class State(models.TextChoices):
        REGISTERING = "registering"
        SEALED = "sealed"
        REJECTED = "rejected"

    access_parents: ClassVar[tuple[str, ...]] = ("dataset",)

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.REGISTERING)
    note = models.TextField(blank=True)
    digest = models.CharField(max_length=64, blank=True)
    digest_strength = models.CharField(max_length=16, default="full")
    size_bytes = models.BigIntegerField(default=0)
    row_count = models.BigIntegerField(null=True, blank=True)
    schema = models.JSONField(default=list)
    profile = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    sealed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name}@{self.number}"

    @property
    def workspace_id(self) -> int:
        return self.dataset.workspace_id
