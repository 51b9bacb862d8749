"""Models, versions, aliases and stages, by the stock client against a running server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from tests.experiments.mlflow.conftest import Account, signed_in


def log_model(name: str, *, depth: int = 1) -> Any:
    """Train a small model in a run of its own and register it."""
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, labels = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=100 + depth).fit(features, labels)
    mlflow.set_experiment("models")
    with mlflow.start_run():
        mlflow.log_metric("depth", depth)
        return mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(features, model.predict(features)),
            pip_requirements=["scikit-learn"],
            registered_model_name=name,
        )


def test_a_registered_model_is_loaded_by_number_and_alias_and_predicts(
    client: MlflowClient,
) -> None:
    import mlflow
    from sklearn.datasets import load_iris

    log_model("iris")
    version = client.get_model_version("iris", "1")
    assert version.status == "READY"
    assert version.current_stage == "None"
    client.set_registered_model_alias("iris", "favourite", "1")
    features, labels = load_iris(return_X_y=True, as_frame=True)
    for address in ("models:/iris/1", "models:/iris@favourite", "models:/iris@latest"):
        loaded = mlflow.pyfunc.load_model(address)
        assert (loaded.predict(features) == labels).mean() > 0.9
    assert client.get_model_version_by_alias("iris", "favourite").aliases == ["favourite"]
    assert client.get_registered_model("iris").aliases == {"favourite": "1"}
    client.delete_registered_model_alias("iris", "favourite")
    with pytest.raises(RestException) as unknown:
        client.get_model_version_by_alias("iris", "favourite")
    assert unknown.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_version_is_sealed_with_files_signature_run_and_lineage(
    client: MlflowClient, workspace: Any
) -> None:
    from registry.models import ModelVersion

    info = log_model("sealed-facts")
    version = ModelVersion.objects.get(model__workspace=workspace, model__name="sealed-facts")
    assert version.state == "sealed"
    assert {item["path"] for item in version.manifest} >= {"MLmodel", "requirements.txt"}
    assert len(version.signature["inputs"]) == 4
    assert "sklearn" in version.flavours
    assert version.run_id == info.run_id
    assert version.logged_model_id == info.model_id
    logged = client.get_logged_model(info.model_id)
    # The first entry is the server's, with a number; the client adds its own after it.
    lineage = json.loads(logged.tags["mlflow.modelVersions"])
    assert lineage[0] == {"name": "sealed-facts", "version": 1}


def test_nobody_changes_what_a_version_is_made_of(client: MlflowClient) -> None:
    import httpx

    info = log_model("untouchable")
    run_id, model_id = info.run_id, info.model_id
    place = client.get_model_version_download_uri("untouchable", "1").removeprefix(
        "mlflow-artifacts:/"
    )
    for attempt in (
        lambda: client.log_metric(run_id, "accuracy", 1.0),
        lambda: client.log_param(run_id, "late", 1),
        lambda: client.set_terminated(run_id, end_time=1),
        lambda: client.delete_run(run_id),
        lambda: client.delete_logged_model(model_id),
        lambda: client.delete_experiment(client.get_run(run_id).info.experiment_id),
    ):
        with pytest.raises(RestException, match="sealed by untouchable/1") as refused:
            attempt()
        assert refused.value.error_code == "PERMISSION_DENIED"
    door = client.tracking_uri
    headers = {"Authorization": f"Bearer {_token()}"}
    files = f"{door}/api/2.0/mlflow-artifacts/artifacts/{place}"
    for method, path in (("PUT", "MLmodel"), ("PUT", "new.txt"), ("DELETE", "MLmodel")):
        answer = httpx.request(
            method,
            f"{files}/{path}",
            headers=headers,
            content=b"changed" if method == "PUT" else None,
        )
        assert answer.status_code == 403
        assert "sealed by untouchable/1" in answer.json()["message"]
    client.set_tag(run_id, "note", "tags stay free")
    client.set_logged_model_tags(model_id, {"note": "tags stay free"})
    assert client.get_run(run_id).data.tags["note"] == "tags stay free"


def test_metrics_can_be_logged_until_the_run_of_a_version_ends(client: MlflowClient) -> None:
    import mlflow
    from sklearn.dummy import DummyClassifier

    mlflow.set_experiment("still-running")
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            DummyClassifier().fit([[0], [1]], [0, 1]),
            name="model",
            pip_requirements=["scikit-learn"],
            registered_model_name="still-running",
        )
        mlflow.log_metric("accuracy", 0.5)
        mlflow.log_text("a plot", "plots/plot.txt")
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.5}


def test_a_guarded_alias_opens_one_request_and_names_it_again(
    client: MlflowClient, workspace: Any
) -> None:
    log_model("guarded")
    answers = []
    for _ in range(2):
        with pytest.raises(RestException) as refused:
            client.set_registered_model_alias("guarded", "production", "1")
        answers.append(refused.value)
    first, second = answers
    assert first.error_code == "PERMISSION_DENIED"
    request = first.json["promotion_request_id"]
    assert request.startswith("PR-")
    assert first.json["promotion_url"].endswith(
        f"/w/{workspace.key}/promotions/{request.removeprefix('PR-')}/"
    )
    assert first.json["message"] == (
        f"Alias 'production' of 'guarded' is guarded. Promotion request {request} is open and "
        f"needs approval: {first.json['promotion_url']}"
    )
    assert second.json["promotion_request_id"] == request
    with pytest.raises(RestException) as deleted:
        client.delete_registered_model_alias("guarded", "production")
    assert deleted.value.error_code == "PERMISSION_DENIED"
    log_model("guarded", depth=2)
    with pytest.raises(RestException, match=f"{request} .version 1. asks for guarded"):
        client.set_registered_model_alias("guarded", "production", "2")


def test_a_stage_is_refused_like_the_alias_it_stands_for(client: MlflowClient) -> None:
    log_model("staged")
    requests = set()
    for stage in ("Production", "production"):
        with pytest.raises(RestException) as refused:
            client.transition_model_version_stage("staged", "1", stage)
        assert refused.value.error_code == "PERMISSION_DENIED"
        requests.add(refused.value.json["promotion_request_id"])
    assert len(requests) == 1
    with pytest.raises(RestException) as unknown:
        client.transition_model_version_stage("staged", "1", "Elsewhere")
    assert unknown.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.transition_model_version_stage("staged", "1", "None").current_stage == "None"


def test_who_may_not_propose_opens_no_request(
    client: MlflowClient,
    account: Callable[..., Account],
    workspace: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from registry.models import PromotionRequest

    log_model("watched-only")
    with signed_in(account("viewer", workspace=workspace), monkeypatch) as viewer:
        with pytest.raises(RestException, match="may not propose") as refused:
            viewer.set_registered_model_alias("watched-only", "production", "1")
        assert refused.value.error_code == "PERMISSION_DENIED"
        with pytest.raises(RestException) as free:
            viewer.set_registered_model_alias("watched-only", "favourite", "1")
        assert free.value.error_code == "PERMISSION_DENIED"
    assert not PromotionRequest.objects.filter(model__workspace=workspace).exists()


def test_the_live_version_answers_to_the_guarded_alias_and_shows_its_stage(
    client: MlflowClient, workspace: Any
) -> None:
    from django.utils import timezone

    from registry.models import Environment, ModelVersion, VersionUse

    log_model("live")
    version = ModelVersion.objects.get(model__workspace=workspace, model__name="live")
    VersionUse.objects.create(
        model=version.model,
        version=version,
        environment=Environment.objects.get(workspace=workspace, key="production"),
        use="live",
        since=timezone.now(),
    )
    found = client.get_model_version_by_alias("live", "production")
    assert (found.version, found.current_stage, found.aliases) == (
        "1",
        "Production",
        ["production"],
    )
    client.set_registered_model_alias("live", "production", "1")
    assert client.get_latest_versions("live", stages=["Production"])[0].version == "1"
    for attempt in (
        lambda: client.delete_model_version("live", "1"),
        lambda: client.delete_registered_model("live"),
        lambda: client.rename_registered_model("live", "other"),
    ):
        with pytest.raises(RestException) as refused:
            attempt()
        assert refused.value.error_code == "PERMISSION_DENIED"


def test_archiving_keeps_a_version_readable_and_deleting_hides_it(client: MlflowClient) -> None:
    log_model("retiring")
    log_model("retiring", depth=2)
    archived = client.transition_model_version_stage("retiring", "1", "Archived")
    assert archived.current_stage == "Archived"
    assert client.get_model_version("retiring", "1").current_stage == "Archived"
    client.delete_model_version("retiring", "2")
    with pytest.raises(RestException) as gone:
        client.get_model_version("retiring", "2")
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    client.delete_registered_model("retiring")
    with pytest.raises(RestException) as gone:
        client.get_registered_model("retiring")
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_versions_are_found_page_by_page_with_every_operator(client: MlflowClient) -> None:
    log_model("searched-a")
    for number in range(2, 8):
        client.copy_model_version("models:/searched-a/1", "searched-b")
        client.set_model_version_tag("searched-b", str(number - 1), "tier", f"t{number % 2}")

    def numbers(condition: str, **more: Any) -> list[str]:
        return [item.version for item in client.search_model_versions(condition, **more)]

    newest = ["version_number DESC"]
    only = "name = 'searched-b'"
    assert numbers(only, order_by=newest) == ["6", "5", "4", "3", "2", "1"]
    assert numbers(f"{only} AND version_number >= 3 AND version_number < 5", order_by=newest) == [
        "4",
        "3",
    ]
    assert numbers(f"{only} AND version_number != 1 AND version_number <= 2") == ["2"]
    assert numbers(f"{only} AND tags.tier = 't1'", order_by=newest) == ["6", "4", "2"]
    assert numbers(f"{only} AND tags.tier != 't1'", order_by=newest) == ["5", "3", "1"]
    assert numbers(f"{only} AND tags.`tier` LIKE 't%' AND version_number = 6") == ["6"]
    assert numbers(f"{only} AND tags.tier ILIKE 'T1'", order_by=newest) == ["6", "4", "2"]
    assert len(numbers("name IN ('searched-a', 'searched-b')")) == 7
    assert numbers("name NOT IN ('searched-b') AND name LIKE 'searched%'") == ["1"]
    assert len(numbers("name ILIKE 'SEARCHED%' AND source_path LIKE 'models:/searched-a%'")) == 6
    run_id = client.get_model_version("searched-a", "1").run_id
    assert len(numbers(f"run_id = '{run_id}'")) == 7
    seen, token = [], None
    for _ in range(3):
        page = client.search_model_versions(
            only, max_results=2, order_by=["version_number ASC"], page_token=token
        )
        seen += [item.version for item in page]
        token = page.token
    assert seen == ["1", "2", "3", "4", "5", "6"]
    assert not token
    for bad in (
        "name = x",
        "stage = 'a'",
        "name = 'a' OR name = 'b'",
        "version_number LIKE '1'",
        "source_path IN ('a')",
        "params.a = 'b'",
        "tags.a = 1",
        "name = 'a'; name = 'b'",
    ):
        with pytest.raises(RestException) as refused:
            client.search_model_versions(bad)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_models_are_found_by_name_and_tag(client: MlflowClient) -> None:
    for name in ("alpha", "beta", "gamma"):
        client.create_registered_model(name, tags={"team": name[0]}, description=f"The {name}")

    def names(condition: str = "", **more: Any) -> list[str]:
        return [item.name for item in client.search_registered_models(condition, **more)]

    assert names() == ["alpha", "beta", "gamma"]
    assert names("name LIKE '%a%' AND tags.team = 'b'") == ["beta"]
    assert names(order_by=["creation_timestamp DESC"]) == ["gamma", "beta", "alpha"]
    first = client.search_registered_models(max_results=2)
    assert [item.name for item in first] == ["alpha", "beta"]
    assert names(max_results=2, page_token=first.token) == ["gamma"]
    with pytest.raises(RestException):
        client.search_registered_models(page_token="not-a-token")
    client.update_registered_model("beta", "Another description")
    client.set_registered_model_tag("beta", "stage", "production")
    kept = client.get_registered_model("beta")
    assert kept.description == "Another description"
    assert kept.tags == {"team": "b", "stage": "production"}
    client.delete_registered_model_tag("beta", "stage")
    client.rename_registered_model("beta", "delta")
    assert names() == ["alpha", "delta", "gamma"]
    with pytest.raises(RestException) as again:
        client.create_registered_model("alpha")
    assert again.value.error_code == "RESOURCE_ALREADY_EXISTS"


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "file:///etc",
        "s3://bucket/model",
        "models:/m-00000000000000000000000000000000",
        "runs:/00000000000000000000000000000000/model",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/%2e%2e/%2e%2e/etc",
        "mlflow-artifacts:/workspaces/other/1/0123/artifacts/model",
    ],
)
def test_a_version_comes_from_nowhere_but_its_own_run(client: MlflowClient, source: str) -> None:
    from mlflow.protos.model_registry_pb2 import CreateModelVersion

    client.create_registered_model("sourced")
    run_id = client.create_run(client.create_experiment("sources")).info.run_id
    with pytest.raises(RestException) as refused:
        client._get_registry_client().store._call_endpoint(
            CreateModelVersion,
            json.dumps({"name": "sourced", "source": source, "run_id": run_id}),
        )
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.search_model_versions("name = 'sourced'") == []


def test_a_folder_without_a_readable_model_is_not_registered(client: MlflowClient) -> None:
    run_id = client.create_run(client.create_experiment("unreadable")).info.run_id
    client.create_registered_model("unreadable")
    client.log_text(run_id, "no model", "notes/readme.txt")
    client.log_text(run_id, "flavors: [", "broken/MLmodel")
    reasons = {"notes": "no file MLmodel", "broken": "cannot be read", "empty": "MLmodel"}
    for path, why in reasons.items():
        with pytest.raises(RestException, match=why):
            client.create_model_version("unreadable", f"runs:/{run_id}/{path}", run_id=run_id)


def test_another_workspaces_models_do_not_exist(
    client: MlflowClient, account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import make

    log_model("private")
    stranger = account("ml_engineer", workspace=make.workspace())
    with signed_in(stranger, monkeypatch) as other:
        for attempt in (
            lambda: other.get_registered_model("private"),
            lambda: other.get_model_version("private", "1"),
            lambda: other.set_registered_model_alias("private", "mine", "1"),
            lambda: other.set_model_version_tag("private", "1", "a", "b"),
            lambda: other.delete_registered_model("private"),
        ):
            with pytest.raises(MlflowException) as hidden:
                attempt()
            assert hidden.value.error_code == "RESOURCE_DOES_NOT_EXIST"
            assert "private" in str(hidden.value)
        assert other.search_registered_models() == []
        assert other.search_model_versions("") == []
        other.create_registered_model("private")


def _token() -> str:
    import os

    return os.environ["MLFLOW_TRACKING_TOKEN"]
