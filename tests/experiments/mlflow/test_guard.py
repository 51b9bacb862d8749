"""Every mounted route of MLflow's, one by one, for everybody who must not pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from experiments.mlflow_api import guard, mount
from tests.experiments.mlflow.conftest import Account


def routes() -> list[tuple[str, str, str]]:
    """Return (method, path, handler), one for every rule; both prefixes lead to one function."""
    chosen: dict[str, tuple[str, str, str]] = {}
    for path, handler, methods in sorted(mount.served_routes(), key=lambda route: route[0]):
        chosen[handler.__name__] = (methods[0], path, handler.__name__)
    return list(chosen.values())


class Things:
    """One of everything in a workspace, and a body that names it wherever MLflow could look."""

    def __init__(self, client: MlflowClient, suffix: str) -> None:
        self.experiment = client.create_experiment(f"guarded-{suffix}")
        self.run = client.create_run(self.experiment).info.run_id
        self.model = client.create_logged_model(self.experiment, name="m").model_id
        self.trace = f"tr-{suffix:0>32}"[-35:]

    def path(self, path: str) -> str:
        values = {
            "model_id": self.model,
            "request_id": self.trace,
            "trace_id": self.trace,
            "dataset_id": "d-" + "0" * 32,
        }
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda name: values.get(name[1], "any"), path)

    def body(self) -> dict[str, Any]:
        return {
            "experiment_id": self.experiment,
            "run_id": self.run,
            "run_uuid": self.run,
            "model_id": self.model,
            "experiment_ids": [self.experiment],
            "run_ids": [self.run],
            "name": "anything",
            "new_name": "anything-else",
            "experiment_name": "guarded-nowhere",
            "key": "k",
            "value": "1",
            "timestamp": 1,
            "metric_key": "loss",
            "status": "FINISHED",
            "source_run_id": self.run,
        }


def send(
    account: Account | None, door: str, method: str, path: str, things: Things
) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    if account:
        headers["Authorization"] = f"Bearer {account.token}"
    body = things.body()
    return httpx.request(
        method,
        f"{door}{things.path(path)}",
        headers=headers,
        params=body if method == "GET" else None,
        content=None if method == "GET" else json.dumps(body),
        timeout=60,
    )


@pytest.fixture
def things(client: MlflowClient) -> Things:
    return Things(client, "one")


def test_the_table_has_a_rule_for_every_route_and_a_route_for_every_rule() -> None:
    served = {name for _, _, name in routes()}
    assert served == set(guard.TABLE)
    assert len(served) > 60
    assert all(rule.verb == "view" for rule in guard.TABLE.values() if not rule.writes)
    assert all(rule.verb == "contribute" for rule in guard.TABLE.values() if rule.writes)


def test_every_message_of_the_table_is_one_of_mlflows() -> None:
    from mlflow.server import handlers

    for name, rule in guard.TABLE.items():
        assert not rule.message or hasattr(handlers, rule.message), name


def test_nobody_passes_without_a_token(door: str, things: Things) -> None:
    for method, path, name in routes():
        answer = send(None, door, method, path, things)
        assert answer.status_code == 401, (method, path, name)
        assert answer.json()["error_code"] == "UNAUTHENTICATED"


def test_a_viewer_reads_and_writes_nothing(
    things: Things, account: Callable[..., Account], workspace: Any, client: MlflowClient
) -> None:
    viewer = account("viewer", workspace=workspace)
    for method, path, name in routes():
        answer = send(viewer, viewer.address, method, path, things)
        if guard.TABLE[name].writes:
            assert answer.status_code == 403, (method, path, name, answer.text)
            assert answer.json()["error_code"] == "PERMISSION_DENIED"
        else:
            assert answer.status_code != 403, (method, path, name, answer.text)
            assert answer.status_code < 500, (method, path, name, answer.text)
    kept = client.get_run(things.run)
    assert (kept.info.status, kept.data.metrics, kept.data.params) == ("RUNNING", {}, {})


def test_a_member_without_a_role_sees_nothing(
    things: Things, account: Callable[..., Account], workspace: Any
) -> None:
    outsider = account(workspace=workspace)
    for method, path, name in routes():
        answer = send(outsider, outsider.address, method, path, things)
        assert answer.status_code == 404, (method, path, name, answer.text)


def test_what_belongs_to_another_workspace_is_answered_like_what_does_not_exist(
    things: Things, account: Callable[..., Account], door: str
) -> None:
    from tests import make

    stranger = account("ml_engineer", workspace=make.workspace())
    nothing = Things.__new__(Things)
    nothing.experiment, nothing.run = "99999999", "f" * 32
    nothing.model, nothing.trace = "m-" + "f" * 32, "tr-" + "f" * 32
    for method, path, name in routes():
        if name in {"_create_experiment", "_create_dataset_handler", "_get_experiment_by_name"}:
            continue  # these name nothing that exists; see the isolation test below
        foreign = send(stranger, door, method, path, things)
        unknown = send(stranger, door, method, path, nothing)
        assert foreign.status_code == unknown.status_code, (method, path, name, foreign.text)
        assert _anonymous(foreign.text, things) == _anonymous(unknown.text, nothing), (path, name)
        if guard.TABLE[name].writes:
            assert foreign.status_code >= 400, (method, path, name, foreign.text)


def test_names_are_free_in_every_workspace(
    client: MlflowClient, things: Things, account: Callable[..., Account], door: str
) -> None:
    from tests import make

    name = client.get_experiment(things.experiment).name
    stranger = account("ml_engineer", workspace=make.workspace())
    with stranger.http() as http:
        unknown = http.get(
            "/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name}
        )
        assert unknown.status_code == 404
        made = http.post("/api/2.0/mlflow/experiments/create", json={"name": name})
        assert made.status_code == 200
        assert made.json()["experiment_id"] != things.experiment
        found = http.post(
            "/api/2.0/mlflow/runs/search", json={"experiment_ids": [things.experiment]}
        )
        assert found.json().get("runs", []) == []


@pytest.mark.parametrize(
    "body",
    [
        {"runId": "{run}", "key": "loss", "value": 1, "timestamp": 1},
        {"run_uuid": "{run}", "key": "loss", "value": 1, "timestamp": 1},
        {"run_id": "{run}", "runId": "{other}", "key": "loss", "value": 1, "timestamp": 1},
    ],
)
def test_no_spelling_of_an_identifier_gets_past(
    client: MlflowClient,
    things: Things,
    account: Callable[..., Account],
    body: dict[str, Any],
) -> None:
    from tests import make

    stranger = account("ml_engineer", workspace=make.workspace())
    written = json.dumps(body).replace("{run}", things.run).replace("{other}", "f" * 32)
    with stranger.http() as http:
        for content in (written, json.dumps(written)):
            answer = http.post(
                "/api/2.0/mlflow/runs/log-metric",
                content=content,
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code in {400, 404}, answer.text
        batch = {
            "run_id": things.run,
            "metrics": [{"key": "loss", "value": 1, "timestamp": 1, "model_id": things.model}],
        }
        assert http.post("/api/2.0/mlflow/runs/log-batch", json=batch).status_code == 404
    assert client.get_run(things.run).data.metrics == {}


def test_the_body_of_a_logged_models_request_does_not_overrule_its_path(
    client: MlflowClient, things: Things, account: Callable[..., Account], engineer: Account
) -> None:
    """MLflow's handler finalises the model named in the body, whatever the path says."""
    from tests import make

    stranger = account("ml_engineer", workspace=make.workspace())
    with stranger.http() as http:
        own = http.post("/api/2.0/mlflow/experiments/create", json={"name": "own"}).json()
        model = http.post("/api/2.0/mlflow/logged-models", json=own).json()["model"]["info"]
        answer = http.patch(
            f"/api/2.0/mlflow/logged-models/{model['model_id']}",
            json={"model_id": things.model, "status": 3},
        )
    assert answer.status_code == 404
    assert client.get_logged_model(things.model).status == "PENDING"


def _anonymous(answer: str, things: Things) -> str:
    for value in (things.model, things.trace, things.run, things.experiment):
        answer = answer.replace(value, "…")
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", answer)
