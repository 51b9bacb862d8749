"""Evaluation: a version's own environment predicts from features; the labels are ours.

The sandboxed process sees the holdout without its label and slice columns. What it predicts is
read back as data and scored here, against the labels and against the live version's predictions
for the same rows.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from controlplane.access import services as access
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound
from controlplane.jobs import environments, queues, sandbox
from controlplane.jobs import services as jobs
from controlplane.jobs.kinds import Kind, OutputRefused, Preparation, Result
from controlplane.jobs.models import Job
from controlplane.jobs.spec import JobSpec, Resources
from controlplane.workflow import services as workflow
from experiments.scoring import (
    ClassOutput,
    ScoringError,
    SliceColumn,
    score_classification,
    score_regression,
)
from registry import blobs, tabular
from registry.models import ArtifactBlob, DatasetVersion, Environment, ModelVersion
from registry.services import datasets, evidence

KIND = "evaluation"
SEED = 20
LARGEST_OUTPUT_BYTES = 64 * 2**20
TIMEOUT_SECONDS = 900
MEMORY_MB = 4096
FEATURES, OUTPUT, MODEL, SCORER = "features.csv", "predictions.json", "model", "score.py"
# Above this many different values a numeric label is a quantity, not a class.
MOST_CLASSES = 50
# The file that serves versions also scores them, so that both predict in the same way. It is read
# as a file, never imported.
_SCORER_FILE = Path(__file__).resolve().parents[2] / "deployments" / "worker" / "main.py"


def request(
    version: ModelVersion,
    dataset_version: DatasetVersion,
    *,
    actor: Actor,
    label: str,
    slice_column: str = "",
    environment: Environment | None = None,
) -> Job:
    """A job is queued that will attach evidence to the version.

    It is paired with what is live in ``environment`` now, if anything is.

    Raises:
        Blocked: the version is not sealed or its environment is not known.
        Invalid: the dataset lacks the label, the slice column, or an input of the model.
        Conflict: the dataset version is not sealed.
    """
    with workflow.refusals("evaluation.request", actor=actor, obj=version):
        access.require(actor, "contribute", version)
        datasets.require_sealed(dataset_version)
        _require_scorable(version)
        _require_columns(version, dataset_version, label, slice_column)
        live = evidence.live_version(version.model_id, environment) if environment else None
        baseline = live if live and live.pk != version.pk else None
        if baseline:
            _require_scorable(baseline)
    workspace = version.model.workspace
    spec = JobSpec(
        command=(
            "python",
            SCORER,
            "--score",
            "--model",
            MODEL,
            "--features",
            FEATURES,
            "--output",
            OUTPUT,
        ),
        lock=_lock_of(version),
        resources=Resources(memory_mb=MEMORY_MB, timeout_seconds=TIMEOUT_SECONDS),
        extra={
            "version": version.pk,
            "dataset_version": dataset_version.pk,
            "baseline": baseline.pk if baseline else None,
            "label": label,
            "slice": slice_column,
        },
    )
    return jobs.submit(
        actor=actor,
        workspace=workspace,
        kind=KIND,
        queue=queues.EVALUATION,
        spec=spec,
        name=f"Evaluate {version} on {dataset_version}",
    )


def prepare(job: Job, spec: JobSpec) -> Preparation:
    """Return the model's files and the features; what is live is scored first where needed."""
    subject = _Subject(spec.extra)
    features = subject.features()
    if subject.baseline is not None:
        _predictions_of(subject.baseline, subject, features)
    return Preparation(files=_shown(subject.version, features), door=False)


def finish(job: Job, result: Result) -> Callable[[], None]:
    """Return what attaches the evidence; the scoring itself is done here, outside a transaction.

    Raises:
        OutputRefused: the predictions are missing, or are not what was asked for.
    """
    subject = _Subject(job.spec["extra"])
    content = result.read(OUTPUT, limit_bytes=LARGEST_OUTPUT_BYTES)
    candidate = _parsed(content, subject.rows)
    live = None
    if subject.baseline is not None:
        live = _parsed(_predictions_of(subject.baseline, subject, subject.features()), subject.rows)
    body = _score(subject, candidate, live)
    stored = blobs.put_bytes(subject.key, content)

    def attach() -> None:
        _keep(subject.version, subject.dataset_version, stored)
        evidence.attach(
            subject.version.pk,
            actor=Actor.system("evaluator", workspace_id=job.workspace_id),
            body=body,
            dataset_version=subject.dataset_version,
            baseline=subject.baseline,
            job_id=job.pk,
        )

    return attach


EVALUATION = Kind(name=KIND, prepare=prepare, finish=finish)


class _Subject:
    """What one evaluation is about, with the holdout read once."""

    def __init__(self, extra: Mapping[str, Any]) -> None:
        related = ModelVersion.objects.select_related("model__workspace")
        self.version = related.get(pk=extra["version"])
        self.baseline = related.filter(pk=extra["baseline"]).first()
        self.dataset_version = DatasetVersion.objects.select_related("dataset").get(
            pk=extra["dataset_version"]
        )
        self.label = str(extra["label"])
        self.slice = str(extra["slice"] or "")
        self.key = self.version.model.workspace.key
        table = tabular.joined(
            [
                tabular.read(file.path, blobs.path(self.key, file.sha256))
                for file in datasets.files_of(self.dataset_version)
            ]
        )
        self.columns: dict[str, list[Any]] = table.to_pydict()
        self.rows = int(table.num_rows)

    def features(self) -> bytes:
        """Return the holdout as CSV without what the model must not see."""
        hidden = {self.label, self.slice}
        names = [name for name in self.columns if name not in hidden]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows(zip(*(self.columns[name] for name in names), strict=True))
        return text.getvalue().encode()


def _score(
    subject: _Subject, candidate: dict[str, Any], live: dict[str, Any] | None
) -> dict[str, Any]:
    labels = subject.columns[subject.label]
    slices = (SliceColumn(subject.slice, subject.columns[subject.slice]),) if subject.slice else ()
    try:
        if _is_quantity(labels, candidate):
            card = score_regression(
                labels,
                candidate["predictions"],
                live["predictions"] if live else None,
                seed=SEED,
                slices=slices,
            )
        else:
            card = score_classification(
                labels,
                _output(candidate),
                _output(live) if live else None,
                seed=SEED,
                slices=slices,
            )
    except ScoringError as error:
        raise OutputRefused(str(error)) from None
    return card.to_json()


def _is_quantity(labels: list[Any], candidate: dict[str, Any]) -> bool:
    if candidate["classes"] is not None:
        return False
    numbers = all(isinstance(label, int | float) for label in labels)
    return numbers and (
        any(isinstance(label, float) and not label.is_integer() for label in labels)
        or len(set(labels)) > MOST_CLASSES
    )


def _output(scores: dict[str, Any]) -> ClassOutput:
    return ClassOutput(
        predictions=scores["predictions"],
        probabilities=scores["probabilities"],
        classes=scores["classes"],
    )


def _parsed(content: bytes, rows: int) -> dict[str, Any]:
    """Return what a sandboxed process wrote, checked as far as scoring relies on it."""
    try:
        scores = json.loads(content)
        predictions = scores["predictions"]
        probabilities, classes = scores["probabilities"], scores["classes"]
    except (ValueError, KeyError, TypeError):
        raise OutputRefused("The predictions are not the JSON that was asked for.") from None
    if not isinstance(predictions, list) or len(predictions) != rows:
        raise OutputRefused(f"The model did not give one prediction for each of {rows} rows.")
    return {"predictions": predictions, "probabilities": probabilities, "classes": classes}


def _predictions_of(version: ModelVersion, subject: _Subject, features: bytes) -> bytes:
    """Return the version's predictions for the holdout, made now in a sandbox if never before."""
    kept = ArtifactBlob.objects.filter(
        owner_type=ArtifactBlob.OwnerType.EVIDENCE,
        owner_id=_owner_id(version, subject.dataset_version),
        path=OUTPUT,
    ).first()
    if kept:
        return blobs.read_bytes(subject.key, kept.sha256)
    content = _score_in_sandbox(version, features)
    _keep(version, subject.dataset_version, blobs.put_bytes(subject.key, content))
    return content


def _score_in_sandbox(version: ModelVersion, features: bytes) -> bytes:
    python = environments.ensure(_lock_of(version), root=Path(settings.ENVIRONMENT_DIR))
    Path(settings.JOB_DIR).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.JOB_DIR) as name:
        folder = Path(name)
        folder.chmod(0o755)
        work = folder / "work"
        work.mkdir()
        for path, source in _shown(version, features).items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o444)
        process = sandbox.launch(
            sandbox.SandboxSpec(
                argv=(
                    str(python),
                    str(work / SCORER),
                    "--score",
                    "--model",
                    str(work / MODEL),
                    "--features",
                    str(work / FEATURES),
                    "--output",
                    str(work / OUTPUT),
                ),
                cwd=work,
                env={
                    "PATH": f"{python.parent}:/usr/bin:/bin",
                    "HOME": str(work),
                    "LANG": "C.UTF-8",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "OMP_NUM_THREADS": "1",
                },
                writable=(work,),
                network="none",
                limits=sandbox.Limits(memory_bytes=MEMORY_MB * 2**20),
            )
        )
        try:
            code = process.wait(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
            process.wait()
        if code != 0:
            raise OutputRefused(
                f"{version}, which is live, could not be scored (exit code {code})."
            )
        return Result(work).read(OUTPUT, limit_bytes=LARGEST_OUTPUT_BYTES)


def _shown(version: ModelVersion, features: bytes) -> dict[str, Path]:
    """Return the files that a scoring process sees, by their path in its folder."""
    key = version.model.workspace.key
    files = {
        f"{MODEL}/{item['path']}": blobs.path(key, item["sha256"]) for item in version.manifest
    }
    files[FEATURES] = blobs.path(key, blobs.put_bytes(key, features).sha256)
    files[SCORER] = _SCORER_FILE
    return files


def _keep(version: ModelVersion, dataset_version: DatasetVersion, stored: blobs.StoredBlob) -> None:
    ArtifactBlob.objects.get_or_create(
        owner_type=ArtifactBlob.OwnerType.EVIDENCE,
        owner_id=_owner_id(version, dataset_version),
        path=OUTPUT,
        defaults={
            "workspace": version.model.workspace,
            "size": stored.size,
            "sha256": stored.sha256,
            "actor_id": "system:evaluator",
        },
    )


def _owner_id(version: ModelVersion, dataset_version: DatasetVersion) -> str:
    return f"{version.pk}-{dataset_version.pk}"


def _lock_of(version: ModelVersion) -> str:
    return blobs.read_bytes(version.model.workspace.key, version.lock_sha256).decode()


def _require_scorable(version: ModelVersion) -> None:
    if version.state != ModelVersion.State.SEALED:
        raise Blocked(f"{version} is {version.state}; only a sealed version can be evaluated.")
    if not version.lock_sha256:
        raise Blocked(
            f"The environment of {version} is not known, so it cannot be run here. Train it as a "
            "job with a lock, or register it from such a run."
        )
    try:
        _lock_of(version)
    except NotFound:
        raise Conflict(f"The lock of {version} is no longer stored here.") from None


def _require_columns(
    version: ModelVersion, dataset_version: DatasetVersion, label: str, slice_column: str
) -> None:
    names = [column["name"] for column in dataset_version.schema]
    for field, wanted in (("label", label), ("slice", slice_column)):
        if wanted and wanted not in names:
            raise Invalid(
                f"{dataset_version} has no column {wanted!r}.", fields={field: ["no such column"]}
            )
    if not label:
        raise Invalid("Say which column is the label.", fields={"label": ["missing"]})
    inputs = version.signature.get("inputs") or []
    missing = [
        str(item.get("name"))
        for item in inputs
        if item.get("name") and item.get("required", True) and item["name"] not in names
    ]
    if missing:
        raise Invalid(
            f"{dataset_version} lacks {len(missing)} of the model's inputs, the first is "
            f"{missing[0]!r}.",
            fields={"dataset": ["lacks inputs of the model"]},
        )
