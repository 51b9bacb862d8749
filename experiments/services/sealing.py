"""What a registered version forbids: its files, and in the end its run's numbers, stay as they are.

Files are sealed from the registration on. Parameters and metrics are sealed when the run ends
after that, or 24 hours after the end of a run that was registered later; tags stay free. The run
of a job is not over before its job: a second attempt may write again, and only with its own token.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from controlplane.accounts.models import Workspace
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import NotPermitted
from controlplane.jobs.models import Job
from experiments import queries
from experiments.services import sources
from registry.models import ModelVersion

# Tags that only the portal writes: which job a run belongs to, who made an experiment.
RESERVED_TAG_PREFIX = "gatehouse."
CREATOR_TAG = "gatehouse.created_by"
GRACE = timedelta(hours=24)
_NUMBERS = ("metrics", "params")


def check(
    what: str,
    *,
    actor: Actor,
    workspace: Workspace,
    run_id: str,
    logged_model_id: str,
    experiment_id: str,
    message: Any,
) -> None:
    """Return when no sealed version stands against the write.

    Raises:
        NotPermitted: one does; the sentence names it.
    """
    if what == "logged_model":
        _refuse("This logged model is", _versions(workspace, logged_model_id=logged_model_id))
    elif what == "run":
        _refuse("This run is", _versions(workspace, run_id=run_id))
    elif what == "experiment":
        _refuse("A run of this experiment is", _of_experiment(workspace, experiment_id))
    elif _touches_numbers(what, message):
        _check_numbers(actor, workspace, run_id)


def refuse_file(workspace: Workspace, owner_type: str, owner_id: str, path: str) -> None:
    """Return when the file belongs to no version.

    Raises:
        NotPermitted: it lies among the files of a sealed version.
    """
    _refuse(f"{path!r} is", versions_holding(workspace, owner_type, owner_id, path))


def versions_holding(
    workspace: Workspace, owner_type: str, owner_id: str, path: str
) -> list[ModelVersion]:
    """Return the versions in whose folder this file of a run or logged model lies."""
    field = {"run": "run_id", "logged_model": "logged_model_id"}.get(owner_type)
    if field is None:
        return []
    holding = []
    for version in _versions(workspace, **{field: owner_id}):
        folder = sources.folder_of(version)
        if folder is None or (folder.owner_type, folder.owner_id) != (owner_type, owner_id):
            continue
        if not folder.path or path == folder.path or path.startswith(f"{folder.path}/"):
            holding.append(version)
    return holding


def made_experiment(experiment_id: str, actor: Actor) -> bool:
    """Say whether the experiment was made by this actor, or by one that it answers for."""
    if not experiment_id.isdecimal():
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT value FROM mlflow.experiment_tags WHERE experiment_id = %s AND key = %s",
            [int(experiment_id), CREATOR_TAG],
        )
        row = cursor.fetchone()
    return bool(row) and row[0] in {actor.id, actor.accountable_id}


def _check_numbers(actor: Actor, workspace: Workspace, run_id: str) -> None:
    versions = _versions(workspace, run_id=run_id)
    if not versions:
        return
    run = queries.run(run_id, workspace=workspace.key)
    if run is None or run.ended_at is None or _is_own_job(actor, run_id):
        return
    over = run.ended_at + GRACE <= clock.now()
    sealing = [item for item in versions if over or run.ended_at >= item.created_at]
    _refuse("The parameters and metrics of this run are", sealing)


def _refuse(what: str, versions: list[ModelVersion]) -> None:
    if versions:
        named = f"{versions[0].model.name}/{versions[0].number}"
        raise NotPermitted(f"{what} sealed by {named}. Tags can still be set.", code="sealed")


def _versions(workspace: Workspace, **wanted: str) -> list[ModelVersion]:
    if not all(wanted.values()):
        return []
    return list(
        ModelVersion.objects.filter(model__workspace=workspace, **wanted)
        .exclude(state=ModelVersion.State.FAILED)
        .select_related("model")
        .order_by("number")
    )


def _of_experiment(workspace: Workspace, experiment_id: str) -> list[ModelVersion]:
    if not experiment_id.isdecimal():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_uuid FROM mlflow.runs WHERE experiment_id = %s", [int(experiment_id)]
        )
        run_ids = [row[0] for row in cursor.fetchall()]
    return list(
        ModelVersion.objects.filter(model__workspace=workspace, run_id__in=run_ids)
        .exclude(state__in=[ModelVersion.State.FAILED, ModelVersion.State.RETIRED])
        .select_related("model")[:1]
    )


def _touches_numbers(what: str, message: Any) -> bool:
    """Say whether a write changes more of a run than its name and tags."""
    if what == "run_status":
        return bool(message.HasField("status") or message.HasField("end_time"))
    is_batch = hasattr(message, "params")
    return not is_batch or any(len(getattr(message, name)) for name in _NUMBERS)


def _is_own_job(actor: Actor, run_id: str) -> bool:
    return actor.job_id is not None and (
        Job.objects.filter(pk=UUID(actor.job_id), run_id=run_id).exists()
    )
