"""Experiments, runs and logged models, by the stock client against a running server."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient


def test_a_run_keeps_what_was_logged(client: MlflowClient) -> None:
    import mlflow

    mlflow.set_experiment("churn")
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        mlflow.log_metric("accuracy", 0.5, step=1)
        mlflow.log_metric("accuracy", 0.75, step=2)
        mlflow.set_tag("team", "risk")
        mlflow.log_text("hello", "notes/hello.txt")
    kept = client.get_run(run.info.run_id)
    assert kept.data.params == {"depth": "3", "rate": "0.1"}
    assert kept.data.metrics == {"accuracy": 0.75}
    assert kept.data.tags["team"] == "risk"
    assert kept.info.status == "FINISHED"
    assert [m.value for m in client.get_metric_history(run.info.run_id, "accuracy")] == [0.5, 0.75]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/hello.txt") == "hello"
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["notes"]
    assert [item.path for item in client.list_artifacts(run.info.run_id, "notes")] == [
        "notes/hello.txt"
    ]


def test_a_figure_and_a_table_are_kept_as_files(client: MlflowClient) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import mlflow
    from matplotlib import pyplot

    with mlflow.start_run() as run:
        figure, axes = pyplot.subplots()
        axes.plot([1, 2, 3])
        mlflow.log_figure(figure, "curve.png")
        mlflow.log_dict({"a": 1}, "facts.json")
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {
        "curve.png",
        "facts.json",
    }
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/facts.json") == {"a": 1}


def test_autologging_keeps_parameters_metrics_and_the_model(client: MlflowClient) -> None:
    import mlflow
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    mlflow.set_experiment("autologged")
    mlflow.sklearn.autolog(log_input_examples=False, silent=True)
    try:
        features, labels = load_iris(return_X_y=True)
        with mlflow.start_run() as run:
            LogisticRegression(max_iter=200).fit(features, labels)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    kept = client.get_run(run.info.run_id)
    assert kept.data.params["max_iter"] == "200"
    assert kept.data.metrics["training_accuracy_score"] > 0.9
    assert kept.outputs is not None
    assert len(kept.outputs.model_outputs) == 1
    assert kept.inputs is not None
    assert kept.inputs.dataset_inputs[0].dataset.digest


def test_a_run_without_an_experiment_goes_to_the_workspaces_own_default(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_run("0")
    other = client.create_run("0")
    assert run.info.experiment_id == other.info.experiment_id != "0"
    assert client.get_experiment("0").name == "Default"
    assert {item.info.run_id for item in client.search_runs(["0"])} == {
        run.info.run_id,
        other.info.run_id,
    }


def test_nested_runs_know_their_parent(client: MlflowClient) -> None:
    import mlflow

    mlflow.set_experiment("nested")
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        mlflow.log_metric("loss", 1.0)
    kept = client.get_run(child.info.run_id)
    assert kept.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_eight_threads_log_to_one_run_and_nothing_is_lost(client: MlflowClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    run_id = client.create_run(client.create_experiment("threads")).info.run_id

    def log(number: int) -> None:
        for step in range(10):
            client.log_metric(run_id, f"m{number}", float(step), step=step)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log, range(8)))
    for number in range(8):
        assert len(client.get_metric_history(run_id, f"m{number}")) == 10


def test_who_ran_it_is_said_by_the_token_and_not_by_the_client(
    client: MlflowClient, engineer: Any
) -> None:
    experiment = client.create_experiment("users")
    run = client.create_run(experiment, tags={"mlflow.user": "somebody-else"})
    assert run.data.tags["mlflow.user"] != "somebody-else"
    assert run.data.tags["mlflow.client_user"] == "somebody-else"
    client.set_tag(run.info.run_id, "mlflow.user", "a-third")
    kept = client.get_run(run.info.run_id)
    assert kept.data.tags["mlflow.user"] == run.data.tags["mlflow.user"] == kept.info.user_id
    assert kept.data.tags["mlflow.client_user"] == "a-third"


def test_runs_are_found_by_metrics_parameters_and_tags_page_by_page(client: MlflowClient) -> None:
    experiment = client.create_experiment("searched")
    for number in range(7):
        run_id = client.create_run(experiment, tags={"team": "risk"}).info.run_id
        client.log_metric(run_id, "score", number / 10)
        client.log_param(run_id, "depth", number)
    found = client.search_runs(
        [experiment],
        "metrics.score >= 0.2 and params.depth != '6' and tags.team = 'risk'",
        order_by=["metrics.score DESC"],
    )
    assert [run.data.params["depth"] for run in found] == ["5", "4", "3", "2"]
    first = client.search_runs([experiment], max_results=3)
    second = client.search_runs([experiment], max_results=3, page_token=first.token)
    third = client.search_runs([experiment], max_results=3, page_token=second.token)
    assert (len(first), len(second), len(third), third.token) == (3, 3, 1, None)


def test_tags_of_the_portal_cannot_be_written_by_clients(client: MlflowClient) -> None:
    from mlflow.exceptions import RestException

    experiment = client.create_experiment("reserved")
    run_id = client.create_run(experiment).info.run_id
    for attempt in (
        lambda: client.set_tag(run_id, "gatehouse.datasets", "{}"),
        lambda: client.delete_tag(run_id, "gatehouse.created_by"),
        lambda: client.create_run(experiment, tags={"gatehouse.created_by": "user:1"}),
        lambda: client.set_experiment_tag(experiment, "gatehouse.created_by", "user:1"),
        lambda: client.create_registered_model("reserved", tags={"gatehouse.deleted": "true"}),
    ):
        with pytest.raises(RestException, match="are written by Gatehouse") as refused:
            attempt()
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_an_artifact_location_of_the_clients_own_is_refused(client: MlflowClient) -> None:
    from mlflow.exceptions import RestException

    with pytest.raises(RestException) as refused:
        client.create_experiment("elsewhere", artifact_location="s3://bucket/place")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_an_experiment_is_deleted_by_who_made_it_or_by_an_administrator(
    client: MlflowClient, account: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import RestException

    from tests.experiments.mlflow.conftest import signed_in

    mine, other = client.create_experiment("mine"), client.create_experiment("other")
    colleague = account("ml_engineer", workspace=workspace)
    with signed_in(colleague, monkeypatch) as theirs:
        with pytest.raises(RestException) as refused:
            theirs.delete_experiment(mine)
        assert refused.value.error_code == "PERMISSION_DENIED"
    administrator = account("workspace_admin", "ml_engineer", workspace=workspace)
    with signed_in(administrator, monkeypatch) as powerful:
        powerful.delete_experiment(other)
        assert powerful.get_experiment(other).lifecycle_stage == "deleted"
        powerful.restore_experiment(other)


def test_an_error_says_what_happened_without_any_sql(client: MlflowClient) -> None:
    from mlflow.exceptions import RestException

    client.create_experiment("twice")
    with pytest.raises(RestException) as refused:
        client.create_experiment("twice")
    assert refused.value.error_code == "RESOURCE_ALREADY_EXISTS"
    assert refused.value.json["message"] == "Experiment(name=twice) already exists."
