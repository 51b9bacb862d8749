"""Runs that the portal itself starts and ends, in the transaction of the job they belong to.

MLflow's tables are written here and nowhere else outside MLflow: a job, its run and the event are
one change, which another connection could not promise. The rows are those of MLflow's own
``create_run`` (a test compares), at the revision that the server refuses to start without.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from django.db import connection, transaction

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound
from experiments import queries
from experiments.queries import ENDED, Metric, Run
from experiments.services.sealing import CREATOR_TAG

ARTIFACT_ROOT = "mlflow-artifacts:/workspaces"
LINEAGE_TAG = "mlflow.modelVersions"
_UPSERT_TAG = (
    "INSERT INTO mlflow.tags (key, value, run_uuid) VALUES (%s, %s, %s) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)


@transaction.atomic
def create(
    *,
    workspace: Workspace,
    experiment_name: str,
    run_name: str,
    actor: Actor,
    tags: Mapping[str, str] | None = None,
) -> str:
    """The experiment exists and has one more run, RUNNING; return the run's id.

    Raises:
        NotPermitted: the actor may not contribute to the workspace.
        Invalid: a name is empty or too long, or the experiment was deleted.
    """
    access.require(actor, "contribute", workspace)
    if not experiment_name.strip() or len(experiment_name) > 256 or len(run_name) > 250:
        raise Invalid("An experiment needs a name of up to 256 characters, a run one of up to 250.")
    experiment_id, root = _experiment(workspace, experiment_name, actor)
    run_id = uuid.uuid4().hex
    user = actor.label or actor.id
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO mlflow.runs (run_uuid, name, source_type, source_name, entry_point_name, "
            "user_id, status, start_time, source_version, lifecycle_stage, artifact_uri, "
            "experiment_id) "
            "VALUES (%s, %s, 'UNKNOWN', '', '', %s, 'RUNNING', %s, '', 'active', %s, %s)",
            [run_id, run_name, user, _milliseconds(), f"{root}/{run_id}/artifacts", experiment_id],
        )
        own = {"mlflow.runName": run_name, "mlflow.user": user, CREATOR_TAG: actor.id}
        cursor.executemany(
            _UPSERT_TAG, [(key, value, run_id) for key, value in {**(tags or {}), **own}.items()]
        )
    audit.record(
        "run.create",
        actor=actor,
        obj=audit.ObjectRef("run", run_id, run_name or run_id, workspace.pk),
        after={"name": run_name, "experiment_id": str(experiment_id)},
    )
    return run_id


@transaction.atomic
def finish(run_id: str, status: str, *, actor: Actor) -> None:
    """The run has ended with ``status`` (FINISHED, FAILED or KILLED); one that has stays as it is.

    Raises:
        Invalid: the status is no end. NotFound: there is no such run.
    """
    if status not in ENDED:
        raise Invalid(f"A run ends FINISHED, FAILED or KILLED, not {status}.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.status, r.name, w.id FROM mlflow.runs r "
            "JOIN mlflow.experiments e USING (experiment_id) "
            "JOIN accounts_workspace w ON w.key = e.workspace "
            "WHERE r.run_uuid = %s FOR UPDATE OF r",
            [run_id],
        )
        row = cursor.fetchone()
        if row is None:
            raise NotFound(f"Run with id={run_id} not found")
        before, name, workspace_id = row
        if before in ENDED:
            return
        cursor.execute(
            "UPDATE mlflow.runs SET status = %s, end_time = %s WHERE run_uuid = %s",
            [status, _milliseconds(), run_id],
        )
    audit.record(
        "run.finish",
        actor=actor,
        obj=audit.ObjectRef("run", run_id, name or run_id, workspace_id),
        before={"status": before},
        after={"status": status},
    )


def get(run_id: str, *, actor: Actor, workspace: Workspace) -> Run:
    """Return one run with parameters, tags and newest metrics.

    Raises:
        NotFound: there is none that the actor may see.
    """
    access.require(actor, "view", workspace)
    found = queries.run(run_id, workspace=workspace.key)
    if found is None:
        raise NotFound(f"Run with id={run_id} not found")
    return found


def page(
    *,
    actor: Actor,
    workspace: Workspace,
    experiment_id: int | None = None,
    before: tuple[int, str] | None = None,
    limit: int = 50,
) -> list[Run]:
    """Return the newest runs after the position ``before`` (start in milliseconds, id)."""
    access.require(actor, "view", workspace)
    return queries.runs(
        workspace=workspace.key, experiment_id=experiment_id, before=before, limit=limit
    )


def metrics(run_id: str, *, actor: Actor, workspace: Workspace) -> dict[str, list[Metric]]:
    """Return the history of every metric of a run, in the order of the steps.

    Raises:
        NotFound: there is no such run that the actor may see.
    """
    found = get(run_id, actor=actor, workspace=workspace)
    return {item.key: queries.metric_history(run_id, item.key) for item in found.metrics}


def metric_history(run_id: str, key: str, *, actor: Actor, workspace: Workspace) -> list[Metric]:
    """Return one metric's values in the order of the steps."""
    get(run_id, actor=actor, workspace=workspace)
    return queries.metric_history(run_id, key)


def note_registration(logged_model_id: str, model_name: str, number: int) -> None:
    """The logged model says that it became this version, as MLflow's server makes it say.

    Belongs in the transaction that registers the version.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.experiment_id, t.tag_value FROM mlflow.logged_models m "
            "LEFT JOIN mlflow.logged_model_tags t "
            "ON t.model_id = m.model_id AND t.tag_key = %s WHERE m.model_id = %s",
            [LINEAGE_TAG, logged_model_id],
        )
        row = cursor.fetchone()
        if row is None:
            return
        experiment_id, present = row
        known = json.loads(present) if present else []
        mine = {"name": model_name, "version": number}
        if mine in known:
            return
        cursor.execute(
            "INSERT INTO mlflow.logged_model_tags (model_id, experiment_id, tag_key, tag_value) "
            "VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (model_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value",
            [logged_model_id, experiment_id, LINEAGE_TAG, json.dumps([*known, mine])],
        )


def _experiment(workspace: Workspace, name: str, actor: Actor) -> tuple[int, str]:
    """Return id and artifact root of the experiment, made now if it is not there."""
    now = _milliseconds()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO mlflow.experiments (name, lifecycle_stage, workspace, creation_time, "
            "last_update_time) VALUES (%s, 'active', %s, %s, %s) "
            "ON CONFLICT (workspace, name) DO NOTHING RETURNING experiment_id",
            [name, workspace.key, now, now],
        )
        made = cursor.fetchone()
        if made is None:
            cursor.execute(
                "SELECT experiment_id, artifact_location, lifecycle_stage FROM mlflow.experiments "
                "WHERE workspace = %s AND name = %s",
                [workspace.key, name],
            )
            experiment_id, root, stage = cursor.fetchone()
            if stage != "active":
                raise Invalid(f"The experiment {name!r} was deleted. Restore it, or name another.")
            return experiment_id, root
        experiment_id = made[0]
        root = f"{ARTIFACT_ROOT}/{workspace.key}/{experiment_id}"
        cursor.execute(
            "UPDATE mlflow.experiments SET artifact_location = %s WHERE experiment_id = %s",
            [root, experiment_id],
        )
        cursor.execute(
            "INSERT INTO mlflow.experiment_tags (key, value, experiment_id) VALUES (%s, %s, %s)",
            [CREATOR_TAG, actor.id, experiment_id],
        )
    audit.record(
        "experiment.create",
        actor=actor,
        obj=audit.ObjectRef("experiment", str(experiment_id), name, workspace.pk),
        after={"name": name},
    )
    return experiment_id, root


def _milliseconds() -> int:
    return int(clock.now().timestamp() * 1000)
