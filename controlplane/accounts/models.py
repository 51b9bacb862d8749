"""Workspaces, people, service accounts and their tokens."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.validators import RegexValidator
from django.db import models

from controlplane.core.identifiers import uuid7

VERBS = (
    "view",
    "contribute",
    "propose",
    "review_ml",
    "review_risk",
    "review_business",
    "review_ops",
    "operate",
    "break_glass",
    "configure",
    "admin_access",
    "audit_read",
)
VERB_PERMISSIONS: list[tuple[str, Any]] = [
    (verb, f"May {verb.replace('_', ' ')}") for verb in VERBS
]


class Workspace(models.Model):
    """The wall around everything else: each record belongs to exactly one workspace."""

    class State(models.TextChoices):
        ACTIVE = "active"
        ARCHIVED = "archived"

    access_parents: ClassVar[tuple[str, ...]] = ()

    key = models.SlugField(
        max_length=40,
        unique=True,
        validators=[RegexValidator(r"^[a-z][a-z0-9-]{1,38}$")],
        help_text="Stands in every address: lower case letters, digits and hyphens.",
    )
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=16, choices=State.choices, default=State.ACTIVE)
    time_zone = models.CharField(max_length=64, default="UTC")
    retention_days = models.PositiveIntegerField(default=365)
    next_promotion_number = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        permissions = VERB_PERMISSIONS
        ordering = ("key",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["active", "archived"]), name="workspace_state"
            )
        ]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        """Make a person or service account; without a password nobody can sign in as it."""
        user = self.model(username=username, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> User:
        """Refuse: rights come from grants; ``manage.py bootstrap`` gives the first ones."""
        raise ValueError("Superusers open nothing here. Use: manage.py bootstrap")


class User(AbstractBaseUser, PermissionsMixin):
    """A human being or a service account. Rights come from grants, never from this row."""

    class Kind(models.TextChoices):
        HUMAN = "human"
        SERVICE = "service"

    username = models.CharField(
        max_length=100, unique=True, validators=[UnicodeUsernameValidator()]
    )
    display_name = models.CharField(max_length=100, blank=True)
    title = models.CharField(max_length=100, blank=True)
    email = models.EmailField(blank=True)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.HUMAN)
    owner = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="service_accounts",
        help_text="The human who answers for a service account.",
    )
    is_active = models.BooleanField(default=True)
    single_keys = models.BooleanField(
        default=True, help_text="Single-letter keyboard shortcuts on pages."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        default_permissions = ()
        ordering = ("username",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind="human") | models.Q(owner__isnull=False),
                name="service_account_has_owner",
            )
        ]

    def __str__(self) -> str:
        return self.display_name or self.username

    @property
    def actor_id(self) -> str:
        """Return the opaque id under which the ledger knows this user."""
        return f"user:{self.pk}"

    @property
    def is_staff(self) -> bool:
        """Django's admin asks for this; its doors ask the access service instead."""
        return self.is_active and self.kind == self.Kind.HUMAN


class Membership(models.Model):
    """A user belongs to a workspace. What they may do there is said by grants."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="memberships")
    is_home = models.BooleanField(default=False)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "workspace"], name="membership_once"),
            models.UniqueConstraint(
                fields=["user"], condition=models.Q(is_home=True), name="one_home_workspace"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace}"


class ApiToken(models.Model):
    """A key for the REST and MLflow doors, or for predictions; only its SHA-256 is kept."""

    class Kind(models.TextChoices):
        HUMAN = "human"
        SERVICE = "service"
        JOB = "job"
        PREDICT = "predict"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=24, help_text="The first characters, to recognise it.")
    scopes = models.JSONField(
        null=True, blank=True, help_text="Verbs it is narrowed to; empty means the owner's own."
    )
    deployments = models.JSONField(default=list, blank=True)
    job_id = models.UUIDField(null=True, blank=True, db_index=True)
    on_behalf_of = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"


class Signature(models.Model):
    """A password given again for one act on one subject; spent by the act, or void after 60 s."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="signatures")
    subject_digest = models.CharField(max_length=64)
    method = models.CharField(max_length=20, default="password")
    given_at = models.DateTimeField(auto_now_add=True)
    spent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user} for {self.subject_digest[:8]}"
