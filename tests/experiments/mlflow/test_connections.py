"""One connection carries many requests, whatever was answered before."""

from __future__ import annotations

from tests.experiments.mlflow.conftest import Account


def test_a_refusal_before_the_body_was_read_leaves_the_connection_usable(
    engineer: Account,
) -> None:
    unread = b"x" * 20_000
    with engineer.http() as http:
        for path, status in (
            ("/api/2.0/mlflow/runs/log-metric", 400),
            ("/api/2.0/mlflow/webhooks", 501),
            ("/api/2.0/mlflow/registered-models/create", 400),
            ("/api/2.0/mlflow/something-new", 501),
        ):
            for _ in range(5):
                assert http.post(path, content=unread).status_code == status, path
                assert http.get("/version").status_code == 200
        stranger = {"Authorization": "Bearer nonsense"}
        for _ in range(5):
            answer = http.post("/api/2.0/mlflow/runs/create", content=unread, headers=stranger)
            assert answer.status_code == 401
