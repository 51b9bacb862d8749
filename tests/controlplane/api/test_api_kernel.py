"""What every REST address has in common: the token, the problem body, repeating, paging."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from controlplane.accounts.models import User, Workspace
from controlplane.api import idempotency
from controlplane.api.idempotency import once_per_key
from controlplane.api.models import AnsweredRequest
from controlplane.api.parsing import valid
from controlplane.audit.models import Event
from controlplane.core.errors import Blocked
from tests import make

BOTH = ["default", "ledger"]
pytestmark = [pytest.mark.django_db(databases=BOTH), pytest.mark.urls(__name__)]
calls: list[str] = []


class NoteBody(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=5)
    tags = serializers.ListField(child=serializers.IntegerField(), required=False)


class Notes(ViewSet):
    open_to_signed_in = frozenset({"create", "refuse", "fall"})

    @once_per_key(hide={"secret"})
    def create(self, request: Request) -> Response:
        body = valid(NoteBody, request)
        calls.append(body["text"])
        make.workspace(f"note-{body['text']}-{len(calls)}")
        return Response({"text": body["text"], "secret": "s3cret"}, status=201)

    @once_per_key()
    def refuse(self, request: Request) -> Response:
        calls.append("refuse")
        make.workspace("half-done")
        raise Blocked("It cannot be done.", reasons=["It cannot be done.", "And late."])

    def fall(self, request: Request) -> Response:
        raise KeyError("the secret is hunter2")

    def closed(self, request: Request) -> Response:
        return Response("nobody reads this")


urlpatterns = [
    path("api/v1/notes/", Notes.as_view({"post": "create", "get": "closed"})),
    path("api/v1/refuse/", Notes.as_view({"post": "refuse"})),
    path("api/v1/fall/", Notes.as_view({"get": "fall"})),
]
handler404 = "controlplane.refused.not_found"


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


@pytest.fixture
def ana(space: Workspace) -> User:
    return make.person("viewer", workspace=space)


@pytest.fixture
def client(ana: User) -> Client:
    return Client(headers=make.bearer(make.token(ana)), raise_request_exception=False)


def post(client: Client, body: Any, key: str = "", path: str = "/api/v1/notes/") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["detail"].endswith((".", "…", "?"))
    return body


def test_without_a_token_one_is_told_how_to_send_it() -> None:
    response = Client().post("/api/v1/notes/")
    body = assert_problem(response, 401, "not_signed_in")
    assert "Authorization: Bearer" in body["detail"]
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Basic YTpi", "no_bearer"),
        ("Bearer", "no_bearer"),
        ("Bearer gh_human_x_y_z", "token_malformed"),
    ],
)
def test_a_wrong_token_is_401_with_the_reason(header: str, code: str) -> None:
    assert_problem(Client().get("/api/v1/notes/", headers={"Authorization": header}), 401, code)


def test_a_session_does_not_open_the_api(ana: User) -> None:
    client = Client()
    client.force_login(ana)
    assert_problem(client.post("/api/v1/notes/"), 401, "not_signed_in")


def test_an_action_that_nobody_opened_is_closed_and_recorded(client: Client, ana: User) -> None:
    assert_problem(client.get("/api/v1/notes/"), 403, "closed")
    event = Event.objects.using("ledger").filter(action="request.refuse", actor=ana.actor_id).get()
    assert json.loads(event.payload)["object"]["label"] == "GET /api/v1/notes/"


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_an_unlisted_method_is_405_for_everybody(method: str, client: Client) -> None:
    for each in (client, Client()):
        response = getattr(each, method)("/api/v1/notes/")
        assert_problem(response, 405, "method_not_allowed")


def test_another_workspace_is_entered_by_its_key_or_does_not_exist(client: Client) -> None:
    response = client.post("/api/v1/notes/", headers={"Gatehouse-Workspace": make.workspace().key})
    assert_problem(response, 404, "not_found")


def test_every_wrong_field_is_named(client: Client) -> None:
    body = assert_problem(post(client, {"text": "too long", "tags": [1, "x"]}), 400, "invalid")
    assert set(body["fields"]) == {"text", "tags.1"}
    body = assert_problem(post(client, {"text": "a", "colour": 1}), 400, "invalid")
    assert body["fields"] == {"colour": ["unknown"]}
    assert_problem(post(client, ["text"]), 400, "invalid")


def test_a_body_that_is_no_json_is_400(client: Client) -> None:
    response = client.post("/api/v1/notes/", "{", content_type="application/json")
    assert_problem(response, 400, "invalid")
    response = client.post("/api/v1/notes/", "x", content_type="text/plain")
    assert_problem(response, 415, "unsupported_media_type")


def test_a_fault_tells_nothing_of_itself(client: Client) -> None:
    response = client.get("/api/v1/fall/")
    body = assert_problem(response, 500, "internal_error")
    assert "hunter2" not in response.content.decode()
    assert "KeyError" not in response.content.decode()
    assert "request id" in body["detail"]


def test_an_address_that_does_not_exist_is_a_problem_too(client: Client) -> None:
    assert_problem(client.get("/api/v1/nothing/"), 404, "not_found")


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-1.2:3_4", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("<x>", False)],
)
def test_a_harmless_request_id_is_kept(given: str, is_kept: bool, client: Client) -> None:
    response = client.get("/api/v1/nothing/", headers={"X-Request-Id": given})
    assert (response.headers["X-Request-Id"] == given) is is_kept
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


def test_the_same_key_acts_once_and_answers_again(client: Client) -> None:
    first, second = post(client, {"text": "a"}, "k1"), post(client, {"text": "a"}, "k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert calls == ["a"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.json()["secret"] == "s3cret"
    assert second.json() == {"text": "a", "secret": None}
    assert "s3cret" not in str(AnsweredRequest.objects.values().get())


def test_the_same_key_for_another_body_is_refused(client: Client) -> None:
    post(client, {"text": "a"}, "k1")
    assert_problem(post(client, {"text": "b"}, "k1"), 409, "idempotency_key_reused")
    assert calls == ["a"]


def test_a_key_belongs_to_one_caller(client: Client, space: Workspace) -> None:
    other = Client(headers=make.bearer(make.token(make.person("viewer", workspace=space))))
    assert post(client, {"text": "a"}, "k1").status_code == 201
    assert post(other, {"text": "b"}, "k1").status_code == 201


def test_a_refused_request_leaves_its_key_free_and_nothing_half_done(client: Client) -> None:
    for _ in range(2):
        body = assert_problem(post(client, {}, "k2", "/api/v1/refuse/"), 409, "blocked")
        assert body["reasons"] == ["It cannot be done.", "And late."]
    assert calls == ["refuse", "refuse"]
    assert not AnsweredRequest.objects.exists()
    assert not Workspace.objects.filter(key="half-done").exists()


def test_a_key_is_forgotten_after_a_day(client: Client) -> None:
    post(client, {"text": "a"}, "k1")
    AnsweredRequest.objects.update(created_at="2020-01-01T00:00:00Z")
    assert idempotency.forget_old() == 1
    post(client, {"text": "a"}, "k1")
    AnsweredRequest.objects.update(created_at="2020-01-01T00:00:00Z")
    post(client, {"text": "b"}, "k1")
    assert calls == ["a", "a", "b"]


@pytest.mark.parametrize("key", ["a b", "é", "x" * 101])
def test_a_key_is_visible_ascii(key: str, client: Client) -> None:
    assert_problem(post(client, {"text": "a"}, key), 400, "invalid")


@pytest.mark.django_db(databases=BOTH, transaction=True)
def test_two_requests_with_one_key_at_the_same_time_act_once(client: Client) -> None:
    answers: list[int] = []

    def send() -> None:
        try:
            answers.append(post(client, {"text": "a"}, "k1").status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201] * 4
    assert calls == ["a"]
