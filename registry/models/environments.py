"""Where versions go, and what is asked of them on the way."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from controlplane.accounts.models import VERB_PERMISSIONS, User, Workspace
from registry.models.models import Model


class Environment(models.Model):
    class Kind(models.TextChoices):
        DEV = "dev"
        STAGING = "staging"
        PROD = "prod"

    class State(models.TextChoices):
        ACTIVE = "active"
        FROZEN = "frozen"
        RETIRED = "retired"

    access_parents: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="environments")
    key = models.SlugField(max_length=40)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    guarded_alias = models.CharField(max_length=100)
    order = models.PositiveSmallIntegerField(default=0)

    class Meta:
        default_permissions = ()
        permissions = VERB_PERMISSIONS
        ordering = ("order", "key")
        constraints = [
            models.UniqueConstraint(fields=["workspace", "key"], name="environment_key_once"),
            models.UniqueConstraint(
                fields=["workspace", "guarded_alias"], name="guarded_alias_once"
            ),
        ]

    def __str__(self) -> str:
        return self.key


class Policy(models.Model):
    """One immutable version of what an environment asks of models of one risk tier.

    ``body`` is the parsed YAML (gates, reviews, times, rollout); ``registry.policies`` says what
    may stand in it. A change is a new row.
    """

    class State(models.TextChoices):
        ACTIVE = "active"
        SUPERSEDED = "superseded"

    access_parents: ClassVar[tuple[str, ...]] = ("environment",)

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="policies")
    risk_tier = models.CharField(max_length=8, choices=Model.RiskTier.choices)
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.ACTIVE)
    source = models.TextField(help_text="The YAML as it was sent.")
    body = models.JSONField()
    digest = models.CharField(max_length=64)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ("environment", "risk_tier", "-number")
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "risk_tier", "number"], name="policy_version_once"
            ),
            models.UniqueConstraint(
                fields=["environment", "risk_tier"],
                condition=models.Q(state="active"),
                name="one_active_policy",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment} {self.risk_tier} policy v{self.number}"

    @property
    def workspace_id(self) -> int:
        return self.environment.workspace_id
