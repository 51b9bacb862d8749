"""Tokens at the door, and what is answered without a good one."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from tests.experiments.mlflow.conftest import Account, signed_in

SEARCH = "/api/2.0/mlflow/registered-models/search"


def ask(door: str, header: str | None) -> httpx.Response:
    headers = {} if header is None else {"Authorization": header}
    return httpx.get(f"{door}{SEARCH}", headers=headers, follow_redirects=False, timeout=30)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_a_token_is_accepted_as_bearer_and_as_password(engineer: Account) -> None:
    assert ask(engineer.address, f"Bearer {engineer.token}").status_code == 200
    assert ask(engineer.address, basic(engineer.username, engineer.token)).status_code == 200


def test_the_stock_client_signs_in_with_a_user_name(
    engineer: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signed_in(engineer, monkeypatch) as client:
        monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", engineer.username)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", engineer.token)
        assert client.search_registered_models() == []


def test_without_a_good_token_the_answer_says_what_to_set(door: str, engineer: Account) -> None:
    from tests.make import PASSWORD

    cut = engineer.token[:-1]
    for header in (
        None,
        "Bearer",
        "Bearer nonsense",
        f"Bearer {cut}",
        f"Bearer {engineer.token}x",
        basic(engineer.username, PASSWORD),
        "Basic %%%",
        "Digest abc",
    ):
        answer = ask(door, header)
        assert answer.status_code == 401, header
        assert answer.json()["error_code"] == "UNAUTHENTICATED"
        assert "token" in answer.json()["message"].lower()


def test_an_expired_and_a_revoked_token_are_told_apart(
    engineer: Account, account: Callable[..., Account], workspace: Any
) -> None:
    from controlplane.accounts.models import ApiToken
    from controlplane.accounts.tokens import digest, revoke
    from tests import make

    expired = account("ml_engineer", workspace=workspace)
    token = ApiToken.objects.get(sha256=digest(expired.token))
    ApiToken.objects.filter(pk=token.pk).update(expires_at=token.created_at - timedelta(days=1))
    answer = ask(expired.address, f"Bearer {expired.token}")
    assert (answer.status_code, "expired" in answer.json()["message"]) == (401, True)

    revoked = ApiToken.objects.get(sha256=digest(engineer.token))
    revoke(revoked.pk, actor=_owner(revoked, make.setup()), reason="test")
    answer = ask(engineer.address, f"Bearer {engineer.token}")
    assert (answer.status_code, "revoked" in answer.json()["message"]) == (401, True)


def test_a_workspace_is_chosen_by_header_and_only_ones_own(
    engineer: Account, account: Callable[..., Account], workspace: Any
) -> None:
    from tests import make

    other = make.workspace()
    with engineer.http() as http:
        http.post("/api/2.0/mlflow/registered-models/create", json={"name": "here"})
        own = http.get(SEARCH, headers={"X-MLFLOW-WORKSPACE": workspace.key})
        assert [item["name"] for item in own.json()["registered_models"]] == ["here"]
        for key in (other.key, "never-was"):
            answer = http.get(SEARCH, headers={"X-MLFLOW-WORKSPACE": key})
            assert answer.status_code == 404
            assert answer.json()["message"].replace(key, "") == (
                "There is no workspace  that you belong to."
            )


def test_health_is_open_and_the_rest_is_not(door: str, engineer: Account) -> None:
    assert httpx.get(f"{door}/health").text == "OK"
    assert httpx.get(f"{door}/version").status_code == 401
    with engineer.http() as http:
        assert http.get("/version").text == "3.17.2"
        info = http.get("/api/3.0/mlflow/server-info").json()
    assert info["workspaces_enabled"] is True
    assert info["multipart_uploads_enabled"] is False
    assert info["features_enabled"] == {"gateway": False}


def test_the_client_sees_the_refusal_as_an_exception_of_its_own(
    door: str, engineer: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import RestException

    with signed_in(Account(door, "gh_none", "x"), monkeypatch):
        with pytest.raises(RestException) as refused:
            MlflowClient().search_experiments()
        assert refused.value.error_code == "UNAUTHENTICATED"


def _owner(token: Any, setup: Any) -> Any:
    from controlplane.core.actor import Actor, ActorKind

    return Actor(
        id=token.user.actor_id,
        kind=ActorKind.HUMAN,
        user_id=token.user_id,
        workspace_id=token.workspace_id,
    )
