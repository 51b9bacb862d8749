"""The portal's own runs are rows that MLflow's store cannot tell from its own."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from mlflow import MlflowClient

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound
from experiments.services import runs


@pytest.fixture
def portal(workspace: Workspace) -> Actor:
    return Actor.system("jobs", workspace_id=workspace.pk)


def row(run_id: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM mlflow.runs WHERE run_uuid = %s", [run_id])
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, cursor.fetchone(), strict=True))


def test_a_run_made_by_the_portal_is_a_run_as_mlflow_makes_it(
    client: MlflowClient, workspace: Workspace, portal: Actor
) -> None:
    theirs = client.create_run(client.create_experiment("compared"), run_name="same")
    ours = runs.create(
        workspace=workspace, experiment_name="compared", run_name="same", actor=portal
    )
    expected, found = row(theirs.info.run_id), row(ours)
    for differing in ("run_uuid", "start_time", "user_id", "artifact_uri"):
        expected.pop(differing)
        found.pop(differing)
    assert found == expected
    kept, other = client.get_run(ours), client.get_run(theirs.info.run_id)
    assert set(kept.data.tags) == set(other.data.tags)
    assert str(kept.info.artifact_uri).replace(ours, theirs.info.run_id) == other.info.artifact_uri


def test_an_experiment_made_by_the_portal_is_one_as_mlflow_makes_it(
    client: MlflowClient, workspace: Workspace, portal: Actor
) -> None:
    run_id = runs.create(workspace=workspace, experiment_name="portal", run_name="r", actor=portal)
    ours = client.get_experiment_by_name("portal")
    theirs = client.get_experiment(client.create_experiment("theirs"))
    assert ours is not None
    assert ours.lifecycle_stage == theirs.lifecycle_stage == "active"
    place = f"mlflow-artifacts:/workspaces/{workspace.key}"
    assert ours.artifact_location == f"{place}/{ours.experiment_id}"
    assert theirs.artifact_location == f"{place}/{theirs.experiment_id}"
    assert set(ours.tags) == set(theirs.tags)
    client.log_metric(run_id, "loss", 0.5)
    client.log_text(run_id, "hello", "a.txt")
    assert client.get_run(run_id).data.metrics == {"loss": 0.5}


def test_a_run_ends_once(client: MlflowClient, workspace: Workspace, portal: Actor) -> None:
    run_id = runs.create(workspace=workspace, experiment_name="ending", run_name="r", actor=portal)
    runs.finish(run_id, "FAILED", actor=portal)
    runs.finish(run_id, "FINISHED", actor=portal)
    assert client.get_run(run_id).info.status == "FAILED"
    with pytest.raises(Invalid, match="not RUNNING"):
        runs.finish(run_id, "RUNNING", actor=portal)
    with pytest.raises(NotFound):
        runs.finish("f" * 32, "FAILED", actor=portal)


def test_runs_are_read_page_by_page_with_their_numbers(
    client: MlflowClient, workspace: Workspace, portal: Actor
) -> None:
    experiment = client.create_experiment("read")
    made = [
        client.create_run(experiment, start_time=1_000 + number).info.run_id for number in range(5)
    ]
    client.log_metric(made[-1], "loss", 0.5, step=1)
    client.log_metric(made[-1], "loss", 0.25, step=2)
    client.log_param(made[-1], "depth", 3)
    first = runs.page(actor=portal, workspace=workspace, experiment_id=int(experiment), limit=3)
    assert [item.id for item in first] == [made[4], made[3], made[2]]
    assert first[0].params == {"depth": "3"}
    assert [(item.key, item.value) for item in first[0].metrics] == [("loss", 0.25)]
    assert first[2].started_at is not None
    position = (int(first[2].started_at.timestamp() * 1000), first[2].id)
    second = runs.page(
        actor=portal, workspace=workspace, experiment_id=int(experiment), before=position
    )
    assert [item.id for item in second] == [made[1], made[0]]
    history = runs.metrics(made[4], actor=portal, workspace=workspace)
    assert [item.value for item in history["loss"]] == [0.5, 0.25]
    with pytest.raises(NotFound):
        runs.get("f" * 32, actor=portal, workspace=workspace)
