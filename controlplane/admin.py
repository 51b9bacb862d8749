"""What stands in the admin: people, groups, grants, tokens. Every change goes through a service."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest

from controlplane.access import queries
from controlplane.access import services as access
from controlplane.access.models import WorkspaceGroupGrant, WorkspaceUserGrant
from controlplane.access.roles import ROLES
from controlplane.access.service_admin import Act, Addition, ServiceAdmin
from controlplane.accounts import services as accounts
from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken, User
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from registry.models import (
    Environment,
    EnvironmentGroupGrant,
    EnvironmentUserGrant,
    Model,
    ModelGroupGrant,
    ModelUserGrant,
)

_ROLE_CHOICES = [(role.name, role.title) for role in ROLES.values() if not role.is_global]


def _members(actor: Actor) -> models.QuerySet[User]:
    return User.objects.filter(memberships__workspace=actor.workspace_id, is_active=True)


class PersonForm(forms.Form):
    username = forms.CharField(max_length=100)
    display_name = forms.CharField(max_length=100)
    title = forms.CharField(max_length=100, required=False)
    email = forms.EmailField(required=False)
    password = forms.CharField(
        max_length=200, strip=False, widget=forms.PasswordInput, help_text="12 characters at least."
    )

    def __init__(self, *args: Any, actor: Actor) -> None:
        super().__init__(*args)


class ServiceAccountForm(forms.Form):
    username = forms.CharField(max_length=100)
    display_name = forms.CharField(max_length=100)
    owner = forms.ModelChoiceField(
        User.objects.none(), help_text="The person who answers for the account."
    )

    def __init__(self, *args: Any, actor: Actor) -> None:
        super().__init__(*args)
        self.fields["owner"].queryset = _members(actor).filter(  # type: ignore[attr-defined]
            kind=User.Kind.HUMAN
        )


class TokenForm(forms.Form):
    user = forms.ModelChoiceField(
        User.objects.none(), help_text="A service account; people issue their own tokens."
    )
    name = forms.CharField(max_length=100)
    days = forms.IntegerField(min_value=1, max_value=365, initial=90)

    def __init__(self, *args: Any, actor: Actor) -> None:
        super().__init__(*args)
        self.fields["user"].queryset = _members(actor).filter(  # type: ignore[attr-defined]
            kind=User.Kind.SERVICE
        )


class GrantForm(forms.Form):
    user = forms.ModelChoiceField(User.objects.none())
    role = forms.ChoiceField(choices=_ROLE_CHOICES)
    reason = forms.CharField(max_length=2000)
    expires_at = forms.DateTimeField(
        required=False, help_text="UTC, such as 2030-01-31 18:00. Empty: until it is revoked."
    )
    on: ClassVar[type[models.Model] | None] = None

    def __init__(self, *args: Any, actor: Actor) -> None:
        super().__init__(*args)
        self.fields["user"].queryset = _members(actor)  # type: ignore[attr-defined]
        if self.on is not None:
            choices = access.visible(self.on._default_manager.all(), actor, "admin_access")
            self.fields["on"] = forms.ModelChoiceField(choices)


class ModelGrantForm(GrantForm):
    on = Model


class EnvironmentGrantForm(GrantForm):
    on = Environment


def _create_person(*, actor: Actor, **fields: Any) -> None:
    accounts.create_person(actor=actor, workspace=queries.workspace_of(actor), **fields)


def _create_service_account(*, actor: Actor, **fields: Any) -> None:
    accounts.create_service_account(actor=actor, workspace=queries.workspace_of(actor), **fields)


def _deactivate(user: User, *, actor: Actor, reason: str) -> None:
    accounts.deactivate(user.pk, actor=actor, reason=reason)


def _issue(*, actor: Actor, user: User, name: str, days: int) -> str:
    _, secret = tokens.issue(
        actor=actor,
        user=user,
        workspace=queries.workspace_of(actor),
        name=name,
        kind=user.kind,
        lifetime=timedelta(days=days),
    )
    return secret


def _revoke_token(token: ApiToken, *, actor: Actor, reason: str) -> None:
    tokens.revoke(token.pk, actor=actor, reason=reason)


def _grant(*, actor: Actor, on: models.Model | None = None, **fields: Any) -> None:
    access.grant(actor=actor, on=on or queries.workspace_of(actor), **fields)


def _revoke_grant(row: Any, *, actor: Actor, reason: str) -> None:
    access.revoke(row.grant_id, actor=actor, reason=reason)


@admin.register(User)
class UserAdmin(ServiceAdmin):
    workspace_path = "memberships__workspace"
    list_display = ("username", "display_name", "kind", "owner", "is_active", "created_at")
    list_filter = ("kind", "is_active")
    search_fields = ("username", "display_name")
    list_select_related = ("owner",)
    fields = ("username", "display_name", "title", "email", "kind", "owner", "is_active", "groups")
    additions = (
        Addition("person", "Add a person", PersonForm, _create_person),
        Addition(
            "service-account", "Add a service account", ServiceAccountForm, _create_service_account
        ),
    )
    acts = (Act("deactivate", "Deactivate", _deactivate, lambda user: user.is_active),)


@admin.register(ApiToken)
class TokenAdmin(ServiceAdmin):
    workspace_path = "workspace"
    list_display = ("name", "hint", "kind", "user", "expires_at", "revoked_at", "last_used_at")
    list_filter = ("kind",)
    list_select_related = ("user",)
    fields = (
        *("name", "hint", "kind", "user", "workspace", "scopes", "deployments", "on_behalf_of"),
        *("created_at", "expires_at", "revoked_at", "last_used_at"),
    )
    additions = (
        Addition(
            "issue",
            "Issue a token",
            TokenForm,
            _issue,
            shown_once="Copy it now: it is kept nowhere and shown never again.",
        ),
    )
    acts = (Act("revoke", "Revoke", _revoke_token, lambda token: token.revoked_at is None),)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ApiToken]:
        return super().get_queryset(request).exclude(kind=ApiToken.Kind.JOB)


class GrantAdmin(ServiceAdmin):
    """One line per grant: every role includes `view`, so that row stands for the others."""

    list_display = ("holder", "role_title", "content_object", "origin", "granted_by", "is_over")
    list_filter = ("role", "origin")
    fields = (
        *("holder", "role_title", "content_object", "reason", "origin", "granted_by"),
        *("created_at", "expires_at", "last_used_at", "grant_id"),
    )
    acts = (Act("revoke", "Revoke", _revoke_grant),)
    holder_field: ClassVar[str] = "user"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request).filter(permission__codename="view")
        return rows.select_related(self.holder_field, "content_object", "granted_by")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("holder", "role_title")

    @admin.display(description="Who")
    def holder(self, row: Any) -> str:
        return str(getattr(row, self.holder_field))

    @admin.display(description="Role")
    def role_title(self, row: Any) -> str:
        role = ROLES.get(row.role)
        return role.title if role else str(row.role)

    @admin.display(description="Over", boolean=True)
    def is_over(self, row: Any) -> bool:
        return row.expires_at is not None and row.expires_at <= now()


def _grant_admin(
    table: type[models.Model], *, workspace: str, holder: str, form: type[GrantForm] | None
) -> None:
    additions = (Addition("give", "Grant a role", form, _grant),) if form else ()
    admin.site.register(
        table,
        type(
            f"{table.__name__}Admin",
            (GrantAdmin,),
            {"workspace_path": workspace, "holder_field": holder, "additions": additions},
        ),
    )


_grant_admin(WorkspaceUserGrant, workspace="content_object", holder="user", form=GrantForm)
_grant_admin(WorkspaceGroupGrant, workspace="content_object", holder="group", form=None)
_BELOW = "content_object__workspace"
_grant_admin(ModelUserGrant, workspace=_BELOW, holder="user", form=ModelGrantForm)
_grant_admin(EnvironmentUserGrant, workspace=_BELOW, holder="user", form=EnvironmentGrantForm)
_grant_admin(ModelGroupGrant, workspace=_BELOW, holder="group", form=None)
_grant_admin(EnvironmentGroupGrant, workspace=_BELOW, holder="group", form=None)

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(ServiceAdmin):
    """Groups with a role in every workspace; who is in them is decided on the server."""

    list_display = ("name",)
    fields = ("name",)
