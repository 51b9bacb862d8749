"""Reads of MLflow's own tables, in plain SQL: they are alembic's, not Django's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connection

ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
_OWNERS = {
    "experiment": (
        "SELECT experiment_id::text, workspace FROM mlflow.experiments "
        "WHERE experiment_id = ANY(%s::int[])"
    ),
    "run": (
        "SELECT r.run_uuid, e.workspace FROM mlflow.runs r "
        "JOIN mlflow.experiments e USING (experiment_id) WHERE r.run_uuid = ANY(%s)"
    ),
    "logged_model": (
        "SELECT m.model_id, e.workspace FROM mlflow.logged_models m "
        "JOIN mlflow.experiments e USING (experiment_id) WHERE m.model_id = ANY(%s)"
    ),
    "trace": (
        "SELECT t.request_id, e.workspace FROM mlflow.trace_info t "
        "JOIN mlflow.experiments e USING (experiment_id) WHERE t.request_id = ANY(%s)"
    ),
    "evaluation_dataset": (
        "SELECT dataset_id, workspace FROM mlflow.evaluation_datasets WHERE dataset_id = ANY(%s)"
    ),
}
_EXPERIMENT_OF = {
    "run": (
        "SELECT r.experiment_id FROM mlflow.runs r JOIN mlflow.experiments e "
        "USING (experiment_id) WHERE r.run_uuid = %s AND e.workspace = %s"
    ),
    "logged_model": (
        "SELECT m.experiment_id FROM mlflow.logged_models m JOIN mlflow.experiments e "
        "USING (experiment_id) WHERE m.model_id = %s AND e.workspace = %s"
    ),
    "trace": (
        "SELECT t.experiment_id FROM mlflow.trace_info t JOIN mlflow.experiments e "
        "USING (experiment_id) WHERE t.request_id = %s AND e.workspace = %s"
    ),
}
_RUN = (
    "SELECT r.run_uuid, r.name, e.workspace, r.experiment_id, e.name, r.user_id, r.status, "
    "r.start_time, r.end_time, r.lifecycle_stage, r.artifact_uri "
    "FROM mlflow.runs r JOIN mlflow.experiments e USING (experiment_id) "
)


@dataclass(frozen=True, slots=True)
class Metric:
    """The newest value of one metric; None where MLflow keeps "not a number"."""

    key: str
    value: float | None
    step: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One MLflow run, as pages and rules read it. ``workspace`` is the workspace's key."""

    id: str
    name: str
    workspace: str
    experiment_id: int
    experiment: str
    user: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    is_deleted: bool
    artifact_root: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class LoggedModel:
    id: str
    name: str
    workspace: str
    experiment_id: int
    run_id: str
    artifact_root: str


def workspaces_of(kind: str, ids: Collection[str]) -> dict[str, str]:
    """Return the workspace's key of each of these that exists, whoever may see it."""
    if kind == "experiment":
        # An id beyond a 32-bit integer cannot exist, and would be an error instead of no row.
        ids = [item for item in ids if item.isdecimal() and int(item) < 2**31]
    return dict(_rows(_OWNERS[kind], [list(ids)])) if ids else {}


def experiment_of(kind: str, owner_id: str, *, workspace: str) -> int | None:
    """Return the experiment that a run, logged model or trace of this workspace belongs to."""
    rows = _rows(_EXPERIMENT_OF[kind], [owner_id, workspace])
    return int(rows[0][0]) if rows else None


def run(run_id: str, *, workspace: str) -> Run | None:
    """Return the run with its parameters, tags and newest metrics, or None."""
    found = _runs(_RUN + "WHERE r.run_uuid = %s AND e.workspace = %s", [run_id, workspace])
    return _filled(found)[0] if found else None


def runs(
    *,
    workspace: str,
    experiment_id: int | None = None,
    before: tuple[int, str] | None = None,
    limit: int = 50,
) -> list[Run]:
    """Return the newest runs that are not deleted, after the position ``before``.

    A position is (start in milliseconds, id) of the last run seen.
    """
    conditions, values = ["e.workspace = %s", "r.lifecycle_stage = 'active'"], [workspace]
    parameters: list[Any] = [*values]
    if experiment_id is not None:
        conditions.append("r.experiment_id = %s")
        parameters.append(experiment_id)
    if before is not None:
        conditions.append("(COALESCE(r.start_time, 0), r.run_uuid) < (%s, %s)")
        parameters.extend(before)
    where = " AND ".join(conditions)
    order = "ORDER BY COALESCE(r.start_time, 0) DESC, r.run_uuid DESC LIMIT %s"
    return _filled(_runs(f"{_RUN} WHERE {where} {order}", [*parameters, limit]))


def experiments(*, workspace: str) -> list[tuple[int, str]]:
    """Return id and name of every experiment that is not deleted."""
    return _rows(
        "SELECT experiment_id, name FROM mlflow.experiments "
        "WHERE workspace = %s AND lifecycle_stage = 'active' ORDER BY name",
        [workspace],
    )


def logged_model(model_id: str, *, workspace: str) -> LoggedModel | None:
    rows = _rows(
        "SELECT m.model_id, m.name, e.workspace, m.experiment_id, COALESCE(m.source_run_id, ''), "
        "m.artifact_location FROM mlflow.logged_models m "
        "JOIN mlflow.experiments e USING (experiment_id) "
        "WHERE m.model_id = %s AND e.workspace = %s",
        [model_id, workspace],
    )
    return LoggedModel(*rows[0]) if rows else None


def metric_history(run_id: str, key: str, *, limit: int = 10_000) -> list[Metric]:
    """Return one metric's values in the order of their steps."""
    rows = _rows(
        "SELECT key, value, is_nan, step, timestamp FROM mlflow.metrics "
        "WHERE run_uuid = %s AND key = %s ORDER BY step, timestamp LIMIT %s",
        [run_id, key, limit],
    )
    return [_metric(*row) for row in rows]


def dataset_inputs(run_id: str) -> list[tuple[str, str, str]]:
    """Return (name, digest, context) of the datasets that the client says went into a run."""
    return _rows(
        "SELECT d.name, d.digest, COALESCE(t.value, '') FROM mlflow.inputs i "
        "JOIN mlflow.datasets d ON d.dataset_uuid = i.source_id "
        "LEFT JOIN mlflow.input_tags t "
        "ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' "
        "WHERE i.destination_type = 'RUN' AND i.destination_id = %s ORDER BY d.name",
        [run_id],
    )


def has_numbers(run_id: str) -> bool:
    """Say whether a parameter or metric of the run has been written."""
    rows = _rows(
        "SELECT EXISTS (SELECT 1 FROM mlflow.params WHERE run_uuid = %s) "
        "OR EXISTS (SELECT 1 FROM mlflow.latest_metrics WHERE run_uuid = %s)",
        [run_id, run_id],
    )
    return bool(rows[0][0])


def _filled(found: list[Run]) -> list[Run]:
    """Add parameters, tags and newest metrics, in three statements for all runs together."""
    if not found:
        return []
    ids = [item.id for item in found]
    params = _by_run(
        _rows("SELECT run_uuid, key, value FROM mlflow.params WHERE run_uuid = ANY(%s)", [ids])
    )
    tags = _by_run(
        _rows("SELECT run_uuid, key, value FROM mlflow.tags WHERE run_uuid = ANY(%s)", [ids])
    )
    metrics: dict[str, list[Metric]] = {}
    for run_id, *values in _rows(
        "SELECT run_uuid, key, value, is_nan, step, timestamp FROM mlflow.latest_metrics "
        "WHERE run_uuid = ANY(%s) ORDER BY key",
        [ids],
    ):
        metrics.setdefault(run_id, []).append(_metric(*values))
    return [
        Run(
            id=item.id,
            name=item.name,
            workspace=item.workspace,
            experiment_id=item.experiment_id,
            experiment=item.experiment,
            user=item.user,
            status=item.status,
            started_at=item.started_at,
            ended_at=item.ended_at,
            is_deleted=item.is_deleted,
            artifact_root=item.artifact_root,
            params=params.get(item.id, {}),
            tags=tags.get(item.id, {}),
            metrics=tuple(metrics.get(item.id, [])),
        )
        for item in found
    ]


def _runs(statement: str, parameters: list[Any]) -> list[Run]:
    return [
        Run(
            id=row[0],
            name=row[1] or "",
            workspace=row[2],
            experiment_id=row[3],
            experiment=row[4],
            user=row[5] or "",
            status=row[6],
            started_at=_time(row[7]),
            ended_at=_time(row[8]),
            is_deleted=row[9] != "active",
            artifact_root=row[10] or "",
        )
        for row in _rows(statement, parameters)
    ]


def _by_run(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run_id, key, value in rows:
        found.setdefault(run_id, {})[key] = value
    return found


def _metric(key: str, value: float, is_nan: bool, step: int, timestamp: int) -> Metric:
    moment = _time(timestamp) or datetime.fromtimestamp(0, UTC)
    return Metric(key, None if is_nan else float(value), step, moment)


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _rows(statement: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[Any] = cursor.fetchall()
    return found
