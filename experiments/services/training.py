"""Training: code, lock, command and data go in; a run with its metrics and versions comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid
from controlplane.jobs import environments, states
from controlplane.jobs import services as jobs
from controlplane.jobs.kinds import Kind, Preparation
from controlplane.jobs.models import Job
from controlplane.jobs.spec import Input, JobSpec, TarSource
from experiments.services import runs
from registry import blobs
from registry.models import DatasetVersion
from registry.services import datasets

KIND = "training"
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """What the portal itself knows of a run: the lock it ran under, and the data it was given."""

    lock_sha256: str
    datasets: tuple[tuple[DatasetVersion, str], ...]
    owner_id: str


def start(
    *,
    actor: Actor,
    workspace: Workspace,
    spec: JobSpec,
    name: str,
    experiment: str,
    queue: str = "cpu",
    priority: int = 0,
) -> Job:
    """A training job waits on its queue, and its MLflow run exists.

    Raises:
        Invalid, NotFound, Conflict: the specification, or a dataset in it, cannot be used.
    """
    described = replace(spec, extra={**spec.extra, "experiment": experiment})
    return jobs.submit(
        actor=actor,
        workspace=workspace,
        kind=KIND,
        queue=queue,
        spec=described,
        name=name,
        priority=priority,
        max_attempts=MAX_ATTEMPTS,
    )


def origin_of(run_id: str) -> Origin | None:
    """Return where a run came from, if a training job of ours made it.

    Read from the job, not from the run's tags: those are anybody's to set.
    """
    job = Job.objects.filter(run_id=run_id, kind=KIND).select_related("workspace").first()
    if job is None:
        return None
    used = tuple(
        (_dataset(job.workspace, item["dataset"], item["version"]), str(item["name"]))
        for item in job.spec["inputs"]
    )
    return Origin(environments.digest_of(job.spec["lock"]), used, f"user:{job.owner_id}")


def submitted(job: Job, spec: JobSpec, *, actor: Actor) -> Mapping[str, Any]:
    """Refuse what cannot run; otherwise make the run in the same transaction."""
    if spec.source is None:
        raise Invalid(
            "A training job needs its source: a tar of the folder with the script.",
            fields={"source": ["missing"]},
        )
    if not blobs.path(job.workspace.key, spec.source.sha256).exists():
        raise Invalid(
            f"The source {spec.source.sha256[:12]}… was not uploaded to this workspace.",
            fields={"source": ["not uploaded"]},
        )
    for item in spec.inputs:
        datasets.require_sealed(
            datasets.get_version(
                f"{item.dataset}@{item.version}", actor=actor, workspace_id=job.workspace_id
            )
        )
    # The version keeps the lock by its digest, so the text is kept as the digest's bytes.
    blobs.put_bytes(job.workspace.key, environments.normalised(spec.lock).encode())
    experiment = str(spec.extra.get("experiment") or "Default jobs")
    run_id = runs.create(
        workspace=job.workspace,
        experiment_name=experiment,
        run_name=job.name,
        actor=actor,
        tags={"gatehouse.job": str(job.pk)},
    )
    return {"run_id": run_id}


def prepare(job: Job, spec: JobSpec) -> Preparation:
    """Return the source and the files of each input, at ``<path>/<file name>``."""
    if spec.source is None:
        raise Invalid("The job has no source.")
    return Preparation(
        source=blobs.path(job.workspace.key, spec.source.sha256),
        files=input_files(job.workspace, spec.inputs),
    )


def settled(job: Job) -> None:
    """The run ends as its job did."""
    status = {states.SUCCEEDED: "FINISHED", states.CANCELLED: "KILLED"}.get(job.state, "FAILED")
    if job.run_id:
        runs.finish(job.run_id, status, actor=Actor.system("jobs", workspace_id=job.workspace_id))


def input_files(workspace: Workspace, inputs: tuple[Input, ...]) -> dict[str, Path]:
    """Return where each file of the inputs is seen, and which blob it is."""
    return {
        f"{item.path}/{file.path}": blobs.path(workspace.key, file.sha256)
        for item in inputs
        for file in datasets.files_of(_dataset(workspace, item.dataset, item.version))
    }


def upload_source(workspace: Workspace, chunks: Any, *, limit_bytes: int) -> TarSource:
    """Keep an uploaded tar under its digest."""
    return TarSource(blobs.put(workspace.key, chunks, limit_bytes=limit_bytes).sha256)


def _dataset(workspace: Workspace, name: str, number: int) -> DatasetVersion:
    return DatasetVersion.objects.select_related("dataset").get(
        dataset__workspace=workspace, dataset__name=name, number=number
    )


TRAINING = Kind(name=KIND, submitted=submitted, prepare=prepare, settled=settled, is_open=True)
