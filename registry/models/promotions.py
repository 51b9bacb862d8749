"""The request to let a version through, what was found, and who said what."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from controlplane.accounts.models import User, Workspace
from registry.models.environments import Environment, Policy
from registry.models.evidence import Evidence
from registry.models.models import Model, ModelVersion
from registry.states import OPEN_PROMOTION_STATES


class PromotionRequest(models.Model):
    """One version asks for one environment.

    ``subject`` is what is decided on, ``subject_digest`` its SHA-256; a review counts only while
    its digest is this one. ``contributors`` are actor ids that may not approve; the set only
    grows. ``plan`` is the rollout as it would run.
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        CHECKING = "checking"
        BLOCKED = "blocked"
        IN_REVIEW = "in_review"
        CHANGES_REQUESTED = "changes_requested"
        APPROVED = "approved"
        EXECUTING = "executing"
        COMPLETED = "completed"
        ROLLED_BACK = "rolled_back"
        REJECTED = "rejected"
        WITHDRAWN = "withdrawn"
        EXPIRED = "expired"

    access_parents: ClassVar[tuple[str, ...]] = ("model", "environment")

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="promotions")
    number = models.PositiveIntegerField()
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    environment = models.ForeignKey(
        Environment, on_delete=models.PROTECT, related_name="promotions"
    )
    replaces = models.ForeignKey(
        ModelVersion,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The version that was live when the request was opened.",
    )
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="promotions")
    state = models.CharField(max_length=20, choices=State.choices, default=State.DRAFT)
    requester = models.ForeignKey(User, on_delete=models.PROTECT, related_name="promotions")
    reason = models.TextField(blank=True)
    link = models.URLField(blank=True)
    contributors = models.JSONField(default=list)
    plan = models.JSONField(default=dict)
    subject = models.JSONField(default=dict)
    subject_digest = models.CharField(max_length=64, blank=True)
    closed_because = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_until = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["workspace", "number"], name="promotion_number_once"),
            models.UniqueConstraint(
                fields=["model", "environment"],
                condition=models.Q(state__in=sorted(OPEN_PROMOTION_STATES)),
                name="one_open_promotion",
            ),
            models.UniqueConstraint(
                fields=["version", "environment"],
                condition=models.Q(state="draft"),
                name="one_draft_per_version",
            ),
        ]
        indexes = [models.Index(fields=["workspace", "state", "-number"], name="promotion_list")]

    def __str__(self) -> str:
        return f"PR-{self.number}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_PROMOTION_STATES

    def responsible_ids(self) -> frozenset[str]:
        return frozenset({f"user:{self.requester_id}", f"user:{self.model.owner_id}"})


class GateResult(models.Model):
    """The outcome of one check of one promotion, with the sentence a person reads.

    ``facts`` holds the numbers behind it as strings: value, low, high, limit, baseline, n.
    """

    class Outcome(models.TextChoices):
        PENDING = "pending"
        PASS = "pass"  # noqa: S105
        FAIL = "fail"
        INCONCLUSIVE = "inconclusive"

    promotion = models.ForeignKey(PromotionRequest, on_delete=models.PROTECT, related_name="gates")
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=24)
    title = models.CharField(max_length=120)
    order = models.PositiveSmallIntegerField(default=0)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, default=Outcome.PENDING)
    sentence = models.TextField(blank=True)
    facts = models.JSONField(default=dict)
    evidence = models.ForeignKey(Evidence, null=True, on_delete=models.PROTECT, related_name="+")
    computed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("order", "name")
        constraints = [
            models.UniqueConstraint(fields=["promotion", "name"], name="gate_once_per_promotion")
        ]

    def __str__(self) -> str:
        return self.title


class Review(models.Model):
    """One person's word on one subject, never edited; a new word supersedes the old one."""

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REQUEST_CHANGES = "request_changes"
        REJECT = "reject"
        COMMENT = "comment"

    promotion = models.ForeignKey(
        PromotionRequest, on_delete=models.PROTECT, related_name="reviews"
    )
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="reviews")
    reviewer_kind = models.CharField(max_length=8)
    slot = models.CharField(max_length=16, blank=True)
    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    subject_digest = models.CharField(max_length=64)
    text = models.TextField(blank=True)
    acknowledged = models.JSONField(default=list)
    event_id = models.UUIDField(null=True)
    voted_at = models.DateTimeField(auto_now_add=True)
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("voted_at", "id")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(reviewer_kind="human"), name="only_people_review"
            ),
            models.UniqueConstraint(
                fields=["promotion", "reviewer"],
                condition=models.Q(superseded_at__isnull=True) & ~models.Q(verdict="comment"),
                name="one_standing_review_per_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.reviewer}"
