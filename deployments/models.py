"""What serves where: deployments, their append-only revisions, rollouts, and what nodes report."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from controlplane.accounts.models import Workspace
from deployments.states import ACTIVE_ROLLOUT_STATES
from registry.models import Environment, Model, ModelVersion, PromotionRequest


class Deployment(models.Model):
    """One address of the gateway: a model in an environment."""

    class State(models.TextChoices):
        EMPTY = "empty"
        LIVE = "live"
        RETIRED = "retired"

    access_parents: ClassVar[tuple[str, ...]] = ("model", "environment")

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="deployments")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="deployments")
    environment = models.ForeignKey(
        Environment, on_delete=models.PROTECT, related_name="deployments"
    )
    name = models.SlugField(max_length=250, unique=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.EMPTY)
    deadline_ms = models.PositiveIntegerField(default=1000)
    unit_required = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=["model", "environment"], name="deployment_once")
        ]

    def __str__(self) -> str:
        return self.name


class DeploymentRevision(models.Model):
    """What the deployment ran from one moment to the next; a database trigger keeps it unchanged.

    ``owners`` is the table of 10 000 buckets as runs ``[[arm, count], …]``, arm 0 being stable.
    """

    access_parents: ClassVar[tuple[str, ...]] = ("deployment",)

    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    stable = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    candidate = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.PROTECT, related_name="+"
    )
    candidate_basis_points = models.PositiveIntegerField(default=0)
    owners = models.JSONField(default=list)
    salt = models.CharField(max_length=40)
    promotion = models.ForeignKey(
        PromotionRequest, null=True, on_delete=models.PROTECT, related_name="revisions"
    )
    cause = models.CharField(max_length=24)
    reason = models.TextField(blank=True)
    actor_id = models.CharField(max_length=60)
    routing_revision = models.BigIntegerField(default=0)
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["deployment", "number"], name="revision_once"),
            models.UniqueConstraint(
                fields=["deployment"],
                condition=models.Q(valid_to__isnull=True),
                name="one_current_revision",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deployment} revision {self.number}"

    @property
    def workspace_id(self) -> int:
        return self.deployment.workspace_id


class Rollout(models.Model):
    """One promotion on its way into service.

    ``salt`` is fixed for its life. ``guard`` holds the newest analysis: verdict, sentence, counts
    and interval as strings. ``step`` counts from 0.
    """

    class State(models.TextChoices):
        PREPARING = "preparing"
        RUNNING = "running"
        PAUSED = "paused"
        BAKING = "baking"
        SUCCEEDED = "succeeded"
        ROLLING_BACK = "rolling_back"
        ROLLED_BACK = "rolled_back"
        ROLLBACK_FAILED = "rollback_failed"

    access_parents: ClassVar[tuple[str, ...]] = ("deployment",)

    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="rollouts")
    promotion = models.OneToOneField(
        PromotionRequest, on_delete=models.PROTECT, related_name="rollout"
    )
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="rollouts")
    baseline = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.PROTECT, related_name="+"
    )
    strategy = models.CharField(max_length=16)
    plan = models.JSONField()
    salt = models.CharField(max_length=40)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PREPARING)
    step = models.PositiveSmallIntegerField(default=0)
    message = models.TextField(blank=True)
    guard = models.JSONField(default=dict)
    routing_revision = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    step_started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["deployment"],
                condition=models.Q(state__in=sorted(ACTIVE_ROLLOUT_STATES)),
                name="one_active_rollout",
            )
        ]

    def __str__(self) -> str:
        return f"rollout {self.pk} of {self.version}"

    @property
    def workspace_id(self) -> int:
        return self.deployment.workspace_id

    @property
    def share_basis_points(self) -> int:
        """Return the share of requests that reaches the new version now."""
        if self.state in {"running", "paused", "baking"}:
            return int(self.plan["steps_basis_points"][self.step])
        return 10_000 if self.state == "succeeded" else 0

    def responsible_ids(self) -> frozenset[str]:
        return frozenset({f"user:{self.promotion.requester_id}"}) | {
            item["id"]
            for item in self.promotion.contributors
            if item["did"] == "requested this promotion"
        }


class RoutingSnapshot(models.Model):
    """Everything a node needs to serve, ordered by (epoch, revision); see deployments.snapshot."""

    epoch = models.PositiveIntegerField(default=1)
    revision = models.BigIntegerField()
    body = models.TextField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["epoch", "revision"], name="routing_revision_once")
        ]

    def __str__(self) -> str:
        return f"{self.epoch}.{self.revision}"


class GatewayAck(models.Model):
    """A gateway routes by this snapshot from now on."""

    gateway = models.CharField(max_length=100)
    epoch = models.PositiveIntegerField()
    revision = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["gateway", "-at"], name="ack_newest")]

    def __str__(self) -> str:
        return f"{self.gateway} {self.epoch}.{self.revision}"


class NodeHeartbeat(models.Model):
    """A process on a node is alive."""

    node = models.CharField(max_length=100)
    process = models.CharField(max_length=100)
    at = models.DateTimeField(db_default=Now())
    detail = models.JSONField(default=dict)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["process", "-at"], name="heartbeat_newest")]

    def __str__(self) -> str:
        return f"{self.node} {self.process}"


class ArmStatus(models.Model):
    """What a node says of one model worker; the newest row counts."""

    node = models.CharField(max_length=100)
    worker_key = models.CharField(max_length=120)
    state = models.CharField(max_length=16)
    detail = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["worker_key", "-id"], name="arm_status_newest")]

    def __str__(self) -> str:
        return f"{self.worker_key} {self.state}"


class Prediction(models.Model):
    """One answered request with its features, loaded from the gateways' capture segments."""

    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    workspace_id = models.BigIntegerField()
    deployment = models.CharField(max_length=250)
    deployment_id = models.BigIntegerField()
    revision_id = models.BigIntegerField(null=True)
    revision = models.BigIntegerField(null=True)
    version_id = models.BigIntegerField(null=True)
    arm = models.CharField(max_length=16, blank=True)
    assignment = models.CharField(max_length=16, blank=True)
    bucket = models.IntegerField(null=True)
    unit = models.CharField(max_length=64, null=True)  # noqa: DJ001 absent is not empty
    status = models.IntegerField()
    error = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    row_count = models.IntegerField(default=0)
    features = models.JSONField(default=list)
    outputs = models.JSONField(default=list)
    queue_us = models.IntegerField(default=0)
    predict_us = models.IntegerField(default=0)
    total_us = models.IntegerField(default=0)
    cache = models.CharField(max_length=16, blank=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["deployment_id", "-at"], name="prediction_newest")]

    def __str__(self) -> str:
        return str(self.id)
