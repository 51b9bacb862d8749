"""What the ledger keeps of tracking, and that nothing is kept which it does not know of."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from mlflow import MlflowClient

from tests.experiments.mlflow.conftest import Account


def events_of(object_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (action, outcome, after) of every event about an object, oldest first."""
    import json

    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM ledger.event ORDER BY at, id")
        rows = [json.loads(row[0]) for row in cursor.fetchall()]
    return [
        (row["action"], row["outcome"], row["after"])
        for row in rows
        if row["object"]["id"] == object_id
    ]


def test_a_run_leaves_its_start_its_first_number_and_its_end(client: MlflowClient) -> None:
    run_id = client.create_run(client.create_experiment("audited")).info.run_id
    for step in range(20):
        client.log_metric(run_id, "loss", 1.0 / (step + 1), step=step)
    client.log_param(run_id, "depth", 3)
    client.set_terminated(run_id)
    found = events_of(run_id)
    assert [action for action, _, _ in found] == ["run.create", "run.log", "run.finish"]
    assert found[-1][2] == {
        "status": "FINISHED",
        "params": 1,
        "metrics": 1,
        "metric_values": 20,
    }


def test_a_refused_write_is_recorded_and_a_refused_read_is_not_told_apart(
    client: MlflowClient, account: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import RestException

    from tests.experiments.mlflow.conftest import signed_in

    run_id = client.create_run(client.create_experiment("watched")).info.run_id
    viewer = account("viewer", workspace=workspace)
    with signed_in(viewer, monkeypatch) as reading:
        assert reading.get_run(run_id).info.run_id == run_id
        with pytest.raises(RestException) as refused:
            reading.log_metric(run_id, "loss", 1.0)
    assert refused.value.error_code == "PERMISSION_DENIED"
    assert ("run.log", "refused") in [item[:2] for item in events_of(run_id)]
    assert client.get_run(run_id).data.metrics == {}


def test_a_write_that_cannot_be_recorded_does_not_happen(
    client: MlflowClient, engineer: Account
) -> None:
    """The event and the rows share one transaction: without the one there is no other."""
    experiment = client.create_experiment("all-or-nothing")
    with _ledger_refuses(), engineer.http() as http:
        failed = http.post(
            "/api/2.0/mlflow/runs/create", json={"experiment_id": experiment, "run_name": "never"}
        )
        model = http.post("/api/2.0/mlflow/registered-models/create", json={"name": "never"})
    for answer in (failed, model):
        assert answer.status_code == 500
        assert answer.json()["error_code"] == "INTERNAL_ERROR"
        assert "audit is full" not in answer.text
    assert client.search_runs([experiment]) == []
    assert client.search_registered_models() == []
    assert client.create_run(experiment).info.status == "RUNNING"


class _ledger_refuses:
    """Inside, every append to the ledger fails."""

    def __enter__(self) -> None:
        self._run(
            "CREATE FUNCTION ledger.test_refusal() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit is full'; END $$; "
            "CREATE TRIGGER test_refusal BEFORE INSERT ON ledger.event "
            "FOR EACH ROW EXECUTE FUNCTION ledger.test_refusal()"
        )

    def __exit__(self, *_: object) -> None:
        self._run("DROP TRIGGER test_refusal ON ledger.event; DROP FUNCTION ledger.test_refusal()")

    def _run(self, statement: str) -> None:
        from django.db import connections

        with connections["migrate"].cursor() as cursor:
            cursor.execute("SET ROLE gh_owner")
            cursor.execute(statement)
            cursor.execute("RESET ROLE")
