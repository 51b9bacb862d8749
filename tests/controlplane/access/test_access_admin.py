"""The admin writes through the services or not at all."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from controlplane.access.admin_site import GatehouseAdminSite
from controlplane.access.models import WorkspaceUserGrant
from controlplane.access.service_admin import ServiceAdmin
from controlplane.accounts import sessions, tokens
from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.audit.models import Event
from controlplane.core.clock import now
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


@pytest.fixture
def root(space: Workspace) -> User:
    return make.person("workspace_admin", workspace=space)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    session = client.session
    moment = int(now().timestamp())
    session[sessions.BEGAN_AT] = session[sessions.SEEN_AT] = moment
    session.save()
    return client


@pytest.fixture
def browser(root: User) -> Client:
    return signed_in(root)


def test_every_page_of_the_admin_belongs_to_a_service_admin_and_writes_nothing_itself(
    root: User,
) -> None:
    assert isinstance(admin.site, GatehouseAdminSite)
    request: Any = RequestFactory().get("/")
    request.user, request.actor = root, make.acting(root)
    assert admin.site._registry
    for model, page in admin.site._registry.items():
        assert isinstance(page, ServiceAdmin), model
        assert not page.has_add_permission(request), model
        assert not page.has_change_permission(request), model
        assert not page.has_delete_permission(request), model
        assert "delete_selected" not in page.get_actions(request), model
        names = {url.name or "" for url in page.get_urls()}
        assert not any(name.endswith(("_add", "_delete", "_history")) for name in names), model
        for addition in page.additions:
            assert callable(addition.service), model
        for act in page.acts:
            assert callable(act.service), model


def test_the_list_of_a_kind_and_one_record_are_shown(browser: Client, root: User) -> None:
    make.token(root)
    for model, page in admin.site._registry.items():
        opts = model._meta
        base = f"admin:{opts.app_label}_{opts.model_name}"
        assert browser.get(reverse(f"{base}_changelist")).status_code == 200, model
        request: Any = RequestFactory().get("/")
        request.actor = make.acting(root)
        row = page.get_queryset(request).first()
        if row is not None:
            assert browser.get(reverse(f"{base}_change", args=[row.pk])).status_code == 200, model
    assert browser.get(reverse("admin:index")).status_code == 200


def test_nothing_is_written_by_posting_to_djangos_own_pages(browser: Client, root: User) -> None:
    change = reverse("admin:accounts_user_change", args=[root.pk])
    assert browser.post(change, {"username": "king"}).status_code == 405
    for end in ("add/", f"{root.pk}/delete/"):
        response = browser.post(reverse("admin:accounts_user_changelist") + end, {"post": "yes"})
        assert response.status_code in {404, 405}, end
    everybody = reverse("admin:accounts_user_changelist")
    chosen = {"action": "delete_selected", "_selected_action": [root.pk], "post": "yes"}
    assert browser.post(everybody, chosen).status_code == 405
    root.refresh_from_db()
    assert root.username != "king"


def test_strangers_are_led_to_the_sign_in_page() -> None:
    response = Client().get(reverse("admin:index"))
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/admin/login/")
    response = Client().get(response.headers["Location"])
    assert response.headers["Location"] == "/login/?next=%2Fadmin%2F"


@pytest.mark.parametrize("role", ["viewer", "ml_engineer", "operator", "reviewer_ml", "auditor"])
def test_only_administrators_of_access_come_in(role: str, space: Workspace) -> None:
    user = make.person(role, workspace=space)
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    response = signed_in(user).get(reverse("admin:index"), follow=True)
    assert response.status_code == 403


def test_people_and_service_accounts_are_added_and_deactivated(
    browser: Client, root: User, space: Workspace
) -> None:
    name = make.a_name("ana")
    form = {"username": name, "display_name": "Ana", "password": "short"}
    add = reverse("admin:accounts_user_person")
    refused = browser.post(add, form)
    assert refused.status_code == 422
    assert "too weak" in refused.content.decode()
    browser.post(add, {**form, "password": make.PASSWORD})
    ana = User.objects.get(username=name)
    assert ana.check_password(make.PASSWORD)
    robot = make.a_name("ci")
    browser.post(
        reverse("admin:accounts_user_service-account"),
        {"username": robot, "display_name": "CI", "owner": root.pk},
    )
    assert User.objects.get(username=robot).owner == root
    browser.post(reverse("admin:accounts_user_deactivate", args=[ana.pk]), {"reason": "left"})
    ana.refresh_from_db()
    assert not ana.is_active
    assert Event.objects.filter(action="person.deactivate", object_id=str(ana.pk)).count() == 1


def test_a_grant_is_given_and_revoked(browser: Client, space: Workspace) -> None:
    user = make.person(workspace=space)
    browser.post(
        reverse("admin:access_workspaceusergrant_give"),
        {"user": user.pk, "role": "operator", "reason": "on call"},
    )
    rows = WorkspaceUserGrant.objects.filter(user=user)
    assert {row.permission.codename for row in rows} == {
        "view",
        "propose",
        "operate",
        "audit_read",
    }
    shown = rows.get(permission__codename="view")
    end = reverse("admin:access_workspaceusergrant_revoke", args=[shown.pk])
    assert browser.post(end, {"reason": ""}).status_code == 422
    browser.post(end, {"reason": "off call"})
    assert not rows.all().exists()


def test_a_token_is_shown_once_and_revoked(browser: Client, space: Workspace, root: User) -> None:
    robot = make.service_account("ci", workspace=space, owner=root)
    response = browser.post(
        reverse("admin:accounts_apitoken_issue"), {"user": robot.pk, "name": "ci", "days": 7}
    )
    found = re.search(r"gh_service_\w+", response.content.decode())
    assert found is not None
    assert tokens.authenticate(found[0]).user_id == robot.pk
    token = ApiToken.objects.get(user=robot)
    assert timedelta(days=6) < token.expires_at - now() < timedelta(days=8)
    page = browser.get(reverse("admin:accounts_apitoken_change", args=[token.pk]))
    assert found[0] not in page.content.decode()
    browser.post(reverse("admin:accounts_apitoken_revoke", args=[token.pk]), {"reason": "leak"})
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_other_workspaces_do_not_exist_in_the_admin(browser: Client) -> None:
    foreign_space = make.workspace()
    stranger = make.person("viewer", workspace=foreign_space)
    make.token(stranger)
    grant = WorkspaceUserGrant.objects.filter(user=stranger).first()
    token = ApiToken.objects.get(user=stranger)
    assert grant is not None
    for name, key in (
        ("accounts_user", stranger.pk),
        ("access_workspaceusergrant", grant.pk),
        ("accounts_apitoken", token.pk),
    ):
        page = browser.get(reverse(f"admin:{name}_changelist")).content.decode()
        assert stranger.username not in page
        # Django's answer for a key that does not exist: back to the index.
        assert browser.get(reverse(f"admin:{name}_change", args=[key])).status_code == 302
    end = reverse("admin:accounts_user_deactivate", args=[stranger.pk])
    assert browser.post(end, {"reason": "x"}).status_code == 404


def test_pages_of_the_admin_have_no_inline_script_or_style(browser: Client) -> None:
    for name in ("index", "accounts_user_changelist", "accounts_user_person"):
        page = browser.get(reverse(f"admin:{name}")).content.decode()
        assert "<style" not in page
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", page), name
        assert not re.search(r"\sstyle=", page), name
