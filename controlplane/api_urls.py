"""Every address under /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from controlplane.api.v1 import access, accounts, audit, description, jobs
from controlplane.doors import door

urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", description.Description.as_view(), name="schema"),
    path("me/", accounts.Me.as_view({"get": "retrieve"}), name="me"),
    path("tokens/", accounts.Tokens.as_view({"get": "list", "post": "create"}), name="tokens"),
    path(
        "tokens/<uuid:token_id>/revoke/",
        accounts.Tokens.as_view({"post": "revoke"}),
        name="token-revoke",
    ),
    path("people/", accounts.People.as_view({"get": "list", "post": "create"}), name="people"),
    path(
        "people/<int:user_id>/deactivate/",
        accounts.People.as_view({"post": "deactivate"}),
        name="person-deactivate",
    ),
    path(
        "service-accounts/",
        accounts.ServiceAccounts.as_view({"get": "list", "post": "create"}),
        name="service-accounts",
    ),
    path(
        "service-accounts/<int:user_id>/hand-over/",
        accounts.ServiceAccounts.as_view({"post": "hand_over"}),
        name="service-account-hand-over",
    ),
    path("roles/", access.Roles.as_view({"get": "list"}), name="roles"),
    path("grants/", access.Grants.as_view({"get": "list", "post": "create"}), name="grants"),
    path(
        "grants/<uuid:grant_id>/revoke/",
        access.Grants.as_view({"post": "revoke"}),
        name="grant-revoke",
    ),
    path("access/why/", access.Why.as_view({"get": "retrieve"}), name="access-why"),
    path("audit/events/", audit.Events.as_view({"get": "list"}), name="audit-events"),
    path(
        "audit/events/<uuid:event_id>/",
        audit.Events.as_view({"get": "retrieve"}),
        name="audit-event",
    ),
    path(
        "audit/integrity/",
        audit.IntegrityView.as_view({"get": "retrieve"}),
        name="audit-integrity",
    ),
    path("jobs/", jobs.Jobs.as_view({"get": "list", "post": "create"}), name="jobs"),
    path("jobs/<uuid:job_id>/", jobs.Jobs.as_view({"get": "retrieve"}), name="job"),
    path("jobs/<uuid:job_id>/cancel/", jobs.Jobs.as_view({"post": "cancel"}), name="job-cancel"),
    path("jobs/<uuid:job_id>/log/", jobs.Jobs.as_view({"get": "log"}), name="job-log"),
    path("jobs/<uuid:job_id>/attempts/", jobs.Jobs.as_view({"get": "attempts"}), name="attempts"),
    path("queues/", jobs.Jobs.as_view({"get": "queues"}), name="queues"),
    *door("", "registry.api.urls"),
    *door("", "experiments.api.urls"),
    *door("", "deployments.api.urls"),
    *door("", "monitoring.api.urls"),
]
