"""Accounts, tokens, grants, "ask why" and the ledger, over REST."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.audit.models import Event
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])


class Caller:
    """A client with a user's token; bodies are JSON."""

    def __init__(self, user: User, **token: Any) -> None:
        self.user = user
        self.client = Client(headers=make.bearer(make.token(user, **token)))

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        response = self.client.get(f"/api/v1/{path}", query)
        assert response.status_code == status, response.content
        return response.json()

    def post(self, path: str, status: int, **body: Any) -> Any:
        response = self.client.post(
            f"/api/v1/{path}", json.dumps(body), content_type="application/json"
        )
        assert response.status_code == status, response.content
        return response.json() if response.content else None


@pytest.fixture
def space() -> Workspace:
    return make.workspace(name="Nordhaven")


@pytest.fixture
def admin(space: Workspace) -> Caller:
    return Caller(make.person("workspace_admin", workspace=space))


@pytest.fixture
def engineer(space: Workspace) -> Caller:
    return Caller(make.person("ml_engineer", workspace=space))


def test_me_says_who_where_and_what(engineer: Caller, space: Workspace) -> None:
    me = engineer.get("me/")
    assert me["user"]["username"] == engineer.user.username
    assert me["workspace"]["key"] == space.key
    assert me["verbs"] == ["contribute", "propose", "view"]
    assert me["scopes"] is None
    narrow = Caller(engineer.user, scopes=["view"])
    assert narrow.get("me/")["verbs"] == ["view"]


def test_a_token_is_issued_used_listed_and_revoked(engineer: Caller) -> None:
    issued = engineer.post("tokens/", 201, name="laptop", days=7, scopes=["view"])
    client = Client(headers=make.bearer(issued["secret"]))
    assert client.get("/api/v1/me/").json()["scopes"] == ["view"]
    listed = engineer.get("tokens/")["results"]
    assert issued["id"] in {token["id"] for token in listed}
    assert all("secret" not in token for token in listed)
    engineer.post(f"tokens/{issued['id']}/revoke/", 200, reason="done")
    assert client.get("/api/v1/me/").status_code == 401


def test_a_repeated_request_for_a_token_does_not_repeat_the_secret(engineer: Caller) -> None:
    def send() -> Any:
        return engineer.client.post(
            "/api/v1/tokens/",
            json.dumps({"name": "once"}),
            content_type="application/json",
            headers={"Idempotency-Key": "token-1"},
        ).json()

    first, second = send(), send()
    assert first["id"] == second["id"]
    assert first["secret"].startswith("gh_human_")
    assert second["secret"] is None
    assert ApiToken.objects.filter(user=engineer.user, name="once").count() == 1


def test_people_and_service_accounts_are_made_by_administrators(
    admin: Caller, engineer: Caller, space: Workspace
) -> None:
    body = {"username": make.a_name("ana"), "display_name": "Ana", "password": make.PASSWORD}
    assert engineer.post("people/", 403, **body)["verb"] == "admin_access"
    ana = admin.post("people/", 201, **body)
    assert "password" not in ana
    robot = admin.post(
        "service-accounts/",
        201,
        username=make.a_name("ci"),
        display_name="CI",
        owner=ana["id"],
    )
    assert robot["owner"]["username"] == ana["username"]
    assert ana["id"] in {person["id"] for person in engineer.get("people/")["results"]}
    token = admin.post("tokens/", 201, name="pipeline", user=robot["id"])
    assert token["kind"] == "service"
    refused = admin.post(f"people/{ana['id']}/deactivate/", 409, reason="left")
    assert "hand it over first" in refused["reasons"][0]
    admin.post(
        f"service-accounts/{robot['id']}/hand-over/", 200, owner=admin.user.pk, reason="left"
    )
    assert admin.post(f"people/{ana['id']}/deactivate/", 200, reason="left")["is_active"] is False


def test_a_grant_is_given_listed_explained_and_ended(admin: Caller, space: Workspace) -> None:
    newcomer = Caller(make.person(workspace=space))
    newcomer.get("people/", 404)
    made = admin.post("grants/", 201, user=newcomer.user.pk, role="operator", reason="on call")
    entry = next(
        item for item in admin.get("grants/")["results"] if item["grant_id"] == made["grant_id"]
    )
    assert entry["role"] == "operator"
    assert entry["object_label"] == "Nordhaven"
    assert entry["granted_by"] == str(admin.user)
    why = newcomer.get("access/why/", verb="operate")
    assert why == {
        "allowed": True,
        "reason": "By the role Operator on the workspace.",
        "role": "operator",
        "grant_id": made["grant_id"],
    }
    assert admin.get("access/why/", verb="configure", user=newcomer.user.pk)["allowed"] is False
    admin.post(f"grants/{made['grant_id']}/revoke/", 204, reason="off call")
    assert newcomer.get("access/why/", 404, verb="operate")["code"] == "not_found"


def test_one_sees_ones_own_grants_and_administrators_see_all(
    admin: Caller, engineer: Caller, space: Workspace
) -> None:
    own = engineer.get("grants/")["results"]
    assert {item["holder_id"] for item in own} == {engineer.user.pk}
    engineer.get("grants/", 403, user=admin.user.pk)
    engineer.get("access/why/", 403, verb="view", user=admin.user.pk)
    everyone = {item["holder_id"] for item in admin.get("grants/")["results"]}
    assert {admin.user.pk, engineer.user.pk} <= everyone


def test_grants_come_page_by_page(admin: Caller, space: Workspace) -> None:
    for _ in range(5):
        make.person("viewer", workspace=space)
    seen: list[str] = []
    page = admin.get("grants/", limit=2)
    while True:
        seen += [item["grant_id"] for item in page["results"]]
        if page["next"] is None:
            break
        page = admin.client.get(page["next"]).json()
    assert len(seen) == len(set(seen)) == 6
    assert seen == sorted(seen, reverse=True)
    for wrong in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "x"}):
        assert admin.get("grants/", 400, **wrong)["code"] == "invalid"


@pytest.mark.parametrize("on", ["planet", "model", "model:x", "workspace:x"])
def test_a_grant_stands_on_something_that_carries_grants(on: str, admin: Caller) -> None:
    body = admin.post("grants/", 400, user=admin.user.pk, role="viewer", on=on, reason="x")
    assert "on" in body["fields"]


def test_from_one_workspace_nothing_of_another_can_be_told_from_what_does_not_exist(
    admin: Caller,
) -> None:
    from registry.models import Model

    foreign_space = make.workspace()
    foreign_admin = make.person("workspace_admin", workspace=foreign_space)
    grant_id = make.give(foreign_admin, "viewer", foreign_space)
    make.token(foreign_admin)
    token = ApiToken.objects.filter(user=foreign_admin).first()
    assert token is not None
    model = Model.objects.create(workspace=foreign_space, name="secret", owner=foreign_admin)
    event = Event.objects.filter(workspace=foreign_space.pk).first()
    assert event is not None
    missing = "00000000-0000-7000-8000-000000000000"

    def answer(method: str, path: str, **body: Any) -> tuple[int, Any]:
        address = f"/api/v1/{path}"
        if method == "get":
            response = admin.client.get(address)
        else:
            response = admin.client.post(address, json.dumps(body), content_type="application/json")
        content = response.json()
        content.pop("request_id")
        return response.status_code, json.loads(
            json.dumps(content)
            .replace(str(event.id), missing)
            .replace(foreign_space.key, "nowhere")
        )

    pairs: list[tuple[str, str, Any, Any, dict[str, Any]]] = [
        ("post", "people/{}/deactivate/", foreign_admin.pk, 10**9, {"reason": "x"}),
        (
            "post",
            "service-accounts/{}/hand-over/",
            foreign_admin.pk,
            10**9,
            {"reason": "x", "owner": admin.user.pk},
        ),
        ("post", "tokens/{}/revoke/", token.pk, missing, {"reason": "x"}),
        ("post", "grants/{}/revoke/", grant_id, missing, {"reason": "x"}),
        ("get", "audit/events/{}/", event.id, missing, {}),
        ("get", "access/why/?verb=view&user={}", foreign_admin.pk, 10**9, {}),
        ("get", "access/why/?verb=view&on=model:{}", model.pk, 10**9, {}),
        ("get", "grants/?on=model:{}", model.pk, 10**9, {}),
    ]
    for method, path, foreign, absent, body in pairs:
        there, nowhere = (answer(method, path.format(each), **body) for each in (foreign, absent))
        assert there == nowhere, path
        assert there[0] == 404, path
    for user in (foreign_admin.pk, 10**9):
        assert answer("post", "grants/", user=user, role="viewer", reason="x")[0] == 404
    elsewhere = [
        admin.client.get("/api/v1/me/", headers={"Gatehouse-Workspace": key}).json()["detail"]
        for key in (foreign_space.key, "nowhere")
    ]
    assert elsewhere[0].replace(foreign_space.key, "nowhere") == elsewhere[1]
    for path in ("people/", "service-accounts/", "grants/", "tokens/", "audit/events/?limit=200"):
        text = json.dumps(admin.get(path))
        assert foreign_admin.username not in text, path
        assert foreign_space.key not in text, path


def test_the_ledger_is_read_by_who_may_and_the_reading_is_recorded(
    admin: Caller, engineer: Caller, space: Workspace
) -> None:
    make.person("viewer", workspace=space)
    everyone = {entry["actor_id"] for entry in admin.get("audit/events/")["results"]}
    assert len(everyone) > 1
    newest = admin.get("audit/events/", limit=1)["results"][0]
    assert newest["action"] == "audit.read"
    assert newest["actor_id"] == admin.user.actor_id
    own = engineer.get("audit/events/")["results"]
    assert {entry["actor_id"] for entry in own} <= {engineer.user.actor_id}
    one = admin.get(f"audit/events/{newest['id']}/")
    assert json.loads(one["payload"])["id"] == newest["id"]
    integrity = admin.get("audit/integrity/")
    assert integrity["count"] >= integrity["size"]


def test_the_ledger_is_filtered(admin: Caller) -> None:
    found = admin.get("audit/events/", action="token.*", outcome="success")["results"]
    assert {entry["action"] for entry in found} == {"token.issue"}
    assert admin.get("audit/events/", 400, outcome="maybe")["fields"].keys() == {"outcome"}
    admin.get("audit/events/", 400, object_type="model")


def test_an_auditor_reads_every_workspace_from_outside(space: Workspace) -> None:
    auditor = Caller(make.person("auditor", workspace=make.workspace()))
    headers = {"Gatehouse-Workspace": space.key}
    me = auditor.client.get("/api/v1/me/", headers=headers).json()
    assert me["workspace"]["key"] == space.key
    assert me["verbs"] == ["audit_read", "view"]
    why = auditor.client.get("/api/v1/access/why/?verb=view", headers=headers).json()
    assert why["reason"] == "By the role Auditor in every workspace."
    workspaces = {entry["object_type"] for entry in auditor.get("audit/events/")["results"]}
    assert "workspace" in workspaces


def test_roles_say_their_verbs(engineer: Caller) -> None:
    by_name = {role["name"]: role for role in engineer.get("roles/")}
    assert by_name["operator"]["verbs"] == ["audit_read", "operate", "propose", "view"]
    assert by_name["auditor"]["is_global"] is True


def test_the_description_is_openapi_3_1_and_names_every_address() -> None:
    response = Client().get("/api/v1/schema/?format=json")
    assert response.status_code == 200
    schema = response.json()
    assert schema["openapi"].startswith("3.1")
    assert {"/api/v1/me/", "/api/v1/tokens/", "/api/v1/grants/{grant_id}/revoke/"} <= set(
        schema["paths"]
    )
    refused = schema["paths"]["/api/v1/me/"]["get"]["responses"]["default"]
    assert refused == {"$ref": "#/components/responses/Refused"}
    assert "Problem" in schema["components"]["schemas"]
