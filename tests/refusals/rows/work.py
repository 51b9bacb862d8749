"""Models, training, jobs and evaluations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from controlplane.jobs.models import Job
from tests.controlplane.jobs.job_tools import WorkerProcess, until_over
from tests.refusals.scene import Scene
from tests.refusals.table import ABSENT, SUCCESS, UNREAD, Answer, Ask, Row, refused

# The uploaded source: bytes under their own digest, to which nothing refers.
_SOURCE = {"files": 1}
_CRASH = "print('reading labels', flush=True)\nraise SystemExit(3)\n"


def _model(**body: Any) -> Ask:
    return lambda scene: scene.rest("engineer", "POST", "models/", body)


def _train(**changes: Any) -> Ask:
    script = f"print({sorted(changes.items())})"
    return lambda scene: scene.upload("engineer", "training/", **scene.training(script, **changes))


def _job(**changes: Any) -> Ask:
    body = {"name": "fit", "spec": {"command": ["true"]}, **changes}
    return lambda scene: scene.rest("engineer", "POST", "jobs/", body)


def _evaluate(model: str, number: int = 1, **body: Any) -> Ask:
    path = f"models/{model}/versions/{number}/evaluations/"
    asked = {"dataset": "rows@1", "label": "label", **body}
    return lambda scene: scene.rest("engineer", "POST", path, asked)


def _crashed(scene: Scene) -> Answer:
    """Train with a script that ends badly, on a real worker, and read what the job says."""
    started = scene.upload("engineer", "training/", **scene.training(_CRASH))
    assert started.status == 202, started
    job = Job.objects.get(name="fit")
    log = scene.folder / "worker.log"
    worker = _worker(log)
    try:
        until_over(job, seconds=60, log=log)
    finally:
        worker.stop()
    shown = scene.rest("viewer", "GET", f"jobs/{job.pk}/")
    job.refresh_from_db()
    assert job.exit_code == 3
    assert job.last_lines.splitlines()[-1] == "reading labels", job.last_lines
    _wait_for_run(job)
    return Answer(shown.status, job.state, job.error)


def _worker(log: Path) -> WorkerProcess:
    return WorkerProcess(log, "crash", queues="cpu").wait_until_ready()


def _wait_for_run(job: Job) -> None:
    from experiments import queries

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        run = queries.run(job.run_id, workspace=job.workspace.key)
        if run is not None and run.status == "FAILED":
            return
        time.sleep(0.05)
    raise AssertionError("the run did not end with its job")


ROWS = [
    Row(
        "a model name with a slash",
        _model(name="a/b"),
        *(400, "invalid", "a/b"),
        refused("model.create"),
    ),
    Row(
        "a model without a name",
        _model(name=""),
        *(400, "invalid", "name: This field may not be blank."),
        UNREAD,
    ),
    Row(
        "a model name that is taken",
        _model(name="reader"),
        *(409, "conflict", "There is a model named 'reader' already."),
        refused("model.create"),
    ),
    Row(
        "an unknown risk tier",
        _model(name="new", risk_tier="huge"),
        *(400, "invalid", "huge"),
        UNREAD,
    ),
    Row(
        "a lower risk tier",
        lambda scene: scene.rest("engineer", "PATCH", "models/reader/", {"risk_tier": "low"}),
        *(409, "blocked", "Lowering it to low needs two people"),
        refused("model.update"),
    ),
    Row(
        "a model that does not exist",
        lambda scene: scene.rest("viewer", "GET", "models/nowhere/"),
        *(404, "not_found", "There is no model named 'nowhere'."),
        ABSENT,
    ),
    Row(
        "a version that does not exist",
        lambda scene: scene.rest("viewer", "GET", "models/reader/versions/99/"),
        *(404, "not_found", "'reader' has no version 99."),
        ABSENT,
    ),
    Row(
        "a lock without hashes",
        _train(lock=b"numpy==2.0.0\n"),
        *(400, "invalid", "The lock has no hash for 'numpy==2.0.0'."),
        UNREAD,
    ),
    Row(
        "a lock with an option",
        _train(lock=b"--index-url https://elsewhere.example/\n"),
        *(400, "invalid", "requirements only, not the option '--index-url"),
        UNREAD,
    ),
    Row(
        "a training without its source",
        lambda scene: scene.upload("engineer", "training/", spec="{}"),
        *(400, "invalid", "Send the file “source”."),
        UNREAD,
    ),
    Row(
        "a training whose spec is no JSON",
        lambda scene: scene.upload("engineer", "training/", spec="name: fit"),
        *(400, "invalid", "The field “spec” must hold a JSON object."),
        UNREAD,
    ),
    Row(
        "a training on an unknown field",
        _train(colour="blue"),
        *(400, "invalid", "There is no field 'colour' in a job's spec."),
        UNREAD,
    ),
    Row(
        "a training on an unknown queue",
        _train(queue="express"),
        *(400, "invalid", "express"),
        refused("job.submit"),
        leaves=_SOURCE,
    ),
    Row(
        "a training on a dataset that does not exist",
        _train(inputs=[{"name": "train", "dataset": "nowhere@1"}]),
        *(404, "not_found", "There is no dataset version 'nowhere@1'."),
        refused("job.submit"),
        leaves=_SOURCE,
    ),
    Row(
        "a training on a dataset that is not sealed",
        _train(inputs=[{"name": "train", "dataset": "fresh@1"}]),
        *(409, "conflict", "fresh@1 is registering; only a sealed dataset version can be used."),
        refused("job.submit"),
        leaves=_SOURCE,
        given=lambda scene: scene.fresh,
    ),
    Row(
        "a job of an unknown kind",
        _job(kind="mining"),
        *(400, "invalid", "mining"),
        UNREAD,
    ),
    Row(
        "a job that only Gatehouse starts",
        _job(kind="evaluation"),
        *(400, "invalid", "is started by Gatehouse itself"),
        UNREAD,
    ),
    Row(
        "a job with an empty command",
        _job(spec={"command": []}),
        *(400, "invalid", "The command is a list of words"),
        UNREAD,
    ),
    Row(
        "a job that sets a variable of ours",
        _job(spec={"command": ["true"], "environment": {"MLFLOW_RUN_ID": "x"}}),
        *(400, "invalid", "The variable MLFLOW_RUN_ID is set by Gatehouse."),
        UNREAD,
    ),
    Row(
        "a job whose source was never uploaded",
        _job(spec={"command": ["true"], "source": {"kind": "tar", "sha256": "0" * 64}}),
        *(400, "invalid", "was not uploaded to this workspace"),
        refused("job.submit"),
    ),
    Row(
        "a script that crashes",
        _crashed,
        *(200, "failed", "The command ended with exit code 3."),
        (
            ("job.submit", SUCCESS),
            ("experiment.create", SUCCESS),
            ("run.create", SUCCESS),
            ("job.dispatch", SUCCESS),
            ("token.issue", SUCCESS),
            ("job.start", SUCCESS),
            ("job.fail", SUCCESS),
            ("token.revoke", SUCCESS),
            ("run.finish", SUCCESS),
        ),
        leaves={
            "jobs_job": 1,
            "jobs_jobattempt": 1,
            "accounts_apitoken": 1,
            "mlflow.experiments": 1,
            "mlflow.experiment_tags": 1,
            "mlflow.runs": 1,
            "mlflow.tags": 4,
            "files": 2,
        },
        needs_processes=True,
    ),
    Row(
        "an evaluation of a version whose environment is not known",
        _evaluate("reader"),
        *(409, "blocked", "The environment of reader 1 is not known"),
        refused("evaluation.request"),
        given=lambda scene: scene.rows,
    ),
    Row(
        "an evaluation of a retired version",
        lambda scene: _evaluate("reader", scene.retired.number)(scene),
        *(409, "blocked", "is retired; only a sealed version can be evaluated."),
        refused("evaluation.request"),
        given=lambda scene: (scene.rows, scene.retired),
    ),
    Row(
        "an evaluation without the label's column",
        _evaluate("trained", label="truth"),
        *(400, "invalid", "rows@1 has no column 'truth'."),
        refused("evaluation.request"),
        given=lambda scene: (scene.rows, scene.trained),
    ),
    Row(
        "an evaluation on a dataset that does not exist",
        _evaluate("trained", dataset="nowhere@1"),
        *(404, "not_found", "There is no dataset version 'nowhere@1'."),
        ABSENT,
        given=lambda scene: scene.trained,
    ),
    Row(
        "an evaluation on a dataset that is not sealed",
        _evaluate("trained", dataset="fresh@1"),
        *(409, "conflict", "fresh@1 is registering; only a sealed dataset version can be used."),
        refused("evaluation.request"),
        given=lambda scene: (scene.trained, scene.fresh),
    ),
    Row(
        "an evaluation for an environment that does not exist",
        _evaluate("trained", environment="moon"),
        *(404, "not_found", "There is no environment 'moon'; there are staging, production."),
        ABSENT,
        given=lambda scene: (scene.rows, scene.trained),
    ),
]
