"""What MLflow has and this door does not: one sentence each, and never a page."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from experiments.mlflow_api import guard
from tests.experiments.mlflow.conftest import Account

REFUSED = [
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/1/2/artifacts/a"),
    ("GET", "/api/2.0/mlflow-artifacts/presigned/1/2/artifacts/a"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url"),
    ("POST", "/api/2.0/mlflow/webhooks"),
    ("GET", "/ajax-api/2.0/mlflow/webhooks/1"),
    ("POST", "/graphql"),
    ("POST", "/api/3.0/mlflow/gateway/secrets/create"),
    ("POST", "/gateway/anything/invocations"),
    ("GET", "/api/3.0/mlflow/workspaces"),
    ("DELETE", "/api/3.0/mlflow/workspaces/default"),
    ("POST", "/api/3.0/mlflow/scorers/register"),
    ("POST", "/ajax-api/3.0/mlflow/scorer/invoke"),
    ("POST", "/ajax-api/3.0/mlflow/genai/evaluate/invoke"),
    ("POST", "/api/3.0/mlflow/issues"),
    ("POST", "/api/3.0/mlflow/review-queues/create"),
    ("POST", "/api/3.0/mlflow/label-schemas/create"),
    ("POST", "/api/3.0/mlflow/prompt-optimization/jobs"),
    ("GET", "/ajax-api/3.0/mlflow/jobs/1"),
    ("GET", "/ajax-api/3.0/jobs/1"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ("POST", "/ajax-api/3.0/mlflow/demo/generate"),
    ("GET", "/ajax-api/3.0/mlflow/ui-telemetry"),
    ("POST", "/mcp"),
    ("GET", "/static-files/index.html"),
    ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
    ("POST", "/v1/traces"),
    ("POST", "/api/2.0/mlflow/something-new"),
    ("GET", "/api/2.0/mlflow/runs/create"),
    ("GET", "/api/2.0/other"),
]


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_what_is_not_served_says_so_and_what_to_use(
    engineer: Account, method: str, path: str
) -> None:
    with engineer.http() as http:
        answer = http.request(method, path)
    assert answer.status_code == 501
    assert answer.json()["error_code"] == "NOT_IMPLEMENTED"
    message = answer.json()["message"]
    assert message.startswith("Gatehouse does not serve MLflow ")
    assert path in message


def test_every_route_of_mlflow_is_served_or_refused_with_a_sentence(engineer: Account) -> None:
    """Walk all routes that MLflow's own server has, so that a new one cannot appear unseen."""
    import re

    from mlflow.server import handlers

    with engineer.http() as http:
        for path, handler, methods in handlers.get_endpoints():
            if handler.__name__ in guard.TABLE:
                continue
            address = re.sub(r"<(?:\w+:)?\w+>", "x", path).replace("2.0mlflow", "2.0/mlflow")
            for method in methods:
                answer = http.request(method, address)
                assert answer.headers["Content-Type"].startswith("application/json"), address
                if answer.status_code != 501:
                    # Ours: the registry, the files and the server's own description.
                    assert re.search(
                        r"registered-models|model-versions|artifacts|server-info"
                        r"|search-datasets",
                        address,
                    ), address
                    assert answer.status_code < 500, (address, answer.text)


def test_the_client_raises_not_implemented_after_one_request(client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="does not serve MLflow webhooks") as refused:
        client.create_webhook("hook", "https://example.com/", ["registered_model.created"])
    assert refused.value.error_code == "NOT_IMPLEMENTED"
