"""Signing in to the pages, and what ends a session."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path

from controlplane.accounts import services as accounts
from controlplane.accounts import sessions, throttle
from controlplane.accounts.models import User, Workspace
from controlplane.audit.models import Event
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError
from tests import make

pytestmark = [
    pytest.mark.django_db(databases=["default", "ledger"]),
    pytest.mark.urls(__name__),
]


def who(request: HttpRequest, **_: Any) -> HttpResponse:
    actor = Actor.from_request(request)
    workspace = request.workspace  # type: ignore[attr-defined]
    return JsonResponse(
        {
            "id": actor.id,
            "workspace": actor.workspace_id,
            "key": workspace.key if workspace else None,
            "auth": actor.auth,
            "request_id": actor.request_id,
        }
    )


def enter(request: HttpRequest) -> HttpResponse:
    try:
        sessions.sign_in(request, username=request.POST["u"], password=request.POST["p"])
    except DomainError as error:
        return JsonResponse({"code": error.error_code}, status=error.status)
    return who(request)


def leave(request: HttpRequest) -> HttpResponse:
    sessions.sign_out(request)
    return who(request)


urlpatterns = [
    path("who/", who),
    path("w/<slug:key>/who/", who),
    path("api/v1/who/", who),
    path("enter/", enter),
    path("leave/", leave),
]


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


@pytest.fixture
def ana(space: Workspace) -> User:
    return make.person("viewer", workspace=space)


def sign_in(client: Client, user: User, password: str = make.PASSWORD) -> Any:
    return client.post("/enter/", {"u": user.username, "p": password})


def test_a_right_password_starts_a_session(client: Client, ana: User, space: Workspace) -> None:
    assert client.get("/who/").json()["id"] == "anonymous"
    assert sign_in(client, ana).json()["id"] == ana.actor_id
    response = client.get("/who/")
    body = response.json()
    assert (body["id"], body["workspace"], body["auth"]) == (ana.actor_id, space.pk, "session")
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert Event.objects.filter(action="session.sign_in", actor=ana.actor_id).count() == 1


def test_wrong_names_and_wrong_passwords_look_the_same(client: Client, ana: User) -> None:
    wrong = sign_in(client, ana, "wrong")
    unknown = client.post("/enter/", {"u": "nobody", "p": "wrong"})
    assert (wrong.status_code, wrong.json()) == (unknown.status_code, unknown.json())
    assert wrong.json() == {"code": "wrong_password"}
    refused = Event.objects.using("ledger").filter(action="session.sign_in_failed")
    assert refused.filter(outcome="refused").exists()


def test_a_service_account_has_no_way_in(client: Client, ana: User, space: Workspace) -> None:
    robot = make.service_account(workspace=space, owner=ana)
    robot.set_password(make.PASSWORD)
    robot.save()
    assert sign_in(client, robot).status_code == 401


def test_guessing_is_slowed_down(client: Client, ana: User) -> None:
    for _ in range(throttle.WRONG_ALLOWED):
        sign_in(client, ana, "wrong")
    assert sign_in(client, ana).status_code == 429
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert sign_in(elsewhere, ana).status_code == 200


def test_signing_out_ends_the_session(client: Client, ana: User) -> None:
    sign_in(client, ana)
    assert client.post("/leave/").json()["id"] == "anonymous"
    assert client.get("/who/").json()["id"] == "anonymous"
    assert Event.objects.filter(action="session.sign_out", actor=ana.actor_id).count() == 1


@pytest.mark.parametrize(
    ("key", "seconds", "is_in"),
    [
        (sessions.SEEN_AT, 1790, True),
        (sessions.SEEN_AT, 1810, False),
        (sessions.BEGAN_AT, 12 * 3600 - 10, True),
        (sessions.BEGAN_AT, 12 * 3600 + 10, False),
    ],
)
def test_a_session_ends_half_an_hour_after_the_last_request_and_after_twelve_hours(
    key: str, seconds: int, is_in: bool, client: Client, ana: User
) -> None:
    sign_in(client, ana)
    session = client.session
    session[key] = int(time.time()) - seconds
    session.save()
    assert (client.get("/who/").json()["id"] == ana.actor_id) is is_in
    assert Session.objects.filter(pk=session.session_key).exists() is is_in


def test_a_new_password_ends_the_other_sessions(client: Client, ana: User) -> None:
    sign_in(client, ana)
    accounts.change_password(actor=make.acting(ana), old=make.PASSWORD, new="another-long-one-1")
    assert client.get("/who/").json()["id"] == "anonymous"


def test_a_deactivated_person_is_out_at_once(client: Client, ana: User, space: Workspace) -> None:
    sign_in(client, ana)
    admin = make.person("workspace_admin", workspace=space)
    accounts.deactivate(ana.pk, actor=make.acting(admin), reason="left")
    assert client.get("/who/").json()["id"] == "anonymous"


def test_the_workspace_is_the_one_in_the_address_then_the_one_used_last(
    client: Client, ana: User, space: Workspace
) -> None:
    second = make.workspace()
    ana.memberships.create(workspace=second)
    sign_in(client, ana)
    assert client.get("/who/").json()["key"] == space.key
    assert client.get(f"/w/{second.key}/who/").json()["key"] == second.key
    assert client.get("/who/").json()["key"] == second.key


def test_a_foreign_workspace_is_no_workspace(client: Client, ana: User) -> None:
    sign_in(client, ana)
    for key in (make.workspace().key, "nowhere"):
        body = client.get(f"/w/{key}/who/").json()
        assert (body["workspace"], body["key"]) == (None, None)


def test_a_session_is_nobody_at_the_api(client: Client, ana: User) -> None:
    sign_in(client, ana)
    assert client.get("/api/v1/who/").json()["id"] == "anonymous"
