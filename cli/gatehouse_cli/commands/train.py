"""``gatehouse train`` and ``evaluate``: work for the queue."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gatehouse_cli import jobs, output
from gatehouse_cli.commands.models import show_evidence
from gatehouse_cli.errors import Exit, UsageError
from gatehouse_cli.session import Session, model_version, with_session

_WAIT = click.option("--wait", is_flag=True, help="Stay until the job has ended.")
_TIMEOUT = click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0),
    default=24 * 3600,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most this long, then end with status 15; the job goes on.",
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--lock",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Requirements with hashes; the environment is built from exactly these.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DATASET@N",
    help="A dataset version, seen at inputs/NAME/ in the working folder. Repeatable.",
)
@click.option(
    "--experiment", default="", help="The experiment of the run. [default: FOLDER's name]"
)
@click.option("--name", default="", help="The name of the run. [default: the experiment's]")
@click.option("--queue", default="cpu", show_default=True)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="KEY=VALUE",
    help="A variable of the job's environment. Repeatable.",
)
@click.option(
    "--limit",
    "limit_seconds",
    type=click.IntRange(1),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="The job is stopped after this long.",
)
@click.option("--follow", is_flag=True, help="Show the log live; stay until the job has ended.")
@_WAIT
@_TIMEOUT
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@with_session
def train(
    session: Session,
    folder: Path,
    lock: Path,
    inputs: tuple[str, ...],
    experiment: str,
    name: str,
    queue: str,
    variables: tuple[str, ...],
    limit_seconds: int,
    follow: bool,
    wait: bool,
    timeout_seconds: float,
    command: tuple[str, ...],
) -> None:
    """Train on the queue: upload FOLDER and run COMMAND in an environment built from the lock.

    With --follow or --wait the exit status is the job's.

    \b
    gatehouse train examples/digits --lock examples/digits/requirements.lock \\
      --input train=digits-train@1 --follow -- \\
      python train.py --data inputs/train/train.csv
    """
    experiment = experiment or folder.resolve().name
    training = jobs.Training(
        name=name or experiment,
        experiment=experiment,
        command=command,
        inputs=[_pair(item, "--input", "NAME=DATASET@N") for item in inputs],
        queue=queue,
        environment=dict(_pair(item, "--env", "KEY=VALUE") for item in variables),
        timeout_seconds=limit_seconds,
    )
    started = jobs.train(session.client, folder, lock, training)
    output.note(f"Run {started['run_id']} waits on queue {queue}: {started['url']}")
    job = started["job"]
    if follow or wait:
        job = _stay(session, job, follow=follow, timeout_seconds=timeout_seconds)
    if session.as_json:
        output.show_json({**started, "job": job})
    if follow or wait:
        _end(job, shows_log=not follow and not session.as_json)
    elif not session.as_json:
        click.echo(f"Follow it with: gatehouse runs log {started['run_id']} --follow")


@click.command()
@click.argument("reference", metavar="MODEL@VERSION")
@click.option(
    "--on",
    "dataset",
    required=True,
    metavar="DATASET@N",
    help="The sealed holdout; its labels are never shown to the model.",
)
@click.option("--label", required=True, help="The column that holds the truth.")
@click.option("--slice", "slice_column", default="", help="Also score each value of this column.")
@click.option(
    "--against",
    "environment",
    default="production",
    show_default=True,
    help="The environment whose live version it is compared with.",
)
@_WAIT
@_TIMEOUT
@with_session
def evaluate(
    session: Session,
    reference: str,
    dataset: str,
    label: str,
    slice_column: str,
    environment: str,
    wait: bool,
    timeout_seconds: float,
) -> None:
    """Score a version on a holdout, beside the live one; the result is kept as evidence."""
    model, version = model_version(reference)
    client = session.client
    job = jobs.evaluate(
        client,
        model,
        version,
        dataset=dataset,
        label=label,
        slice_column=slice_column,
        environment=environment,
    )
    if not wait:
        if session.as_json:
            output.show_json(job)
        else:
            click.echo(f"{job['name']} is {output.words(job['state'])}: job {job['id']}")
        return
    job = _stay(session, job, follow=False, timeout_seconds=timeout_seconds)
    evidence = jobs.evidence_of(client, model, version, job)
    if session.as_json:
        output.show_json({"job": job, "evidence": evidence})
    elif evidence:
        show_evidence(evidence)
    _end(job, shows_log=not session.as_json)


def _stay(session: Session, job: jobs.Job, *, follow: bool, timeout_seconds: float) -> jobs.Job:
    """Return the job at its end; an interruption leaves it running and says so."""
    deadline = time.monotonic() + timeout_seconds
    try:
        if follow:
            for piece in jobs.log(session.client, job, follow=True, deadline=deadline):
                # With --json, stdout is for the answer alone.
                click.echo(piece, nl=False, err=session.as_json)
        return jobs.wait(
            session.client,
            session.client.get(f"jobs/{job['id']}"),
            timeout_seconds=max(0.0, deadline - time.monotonic()),
            changed=lambda now: output.note(
                f"{time.strftime('%H:%M:%S')}  {now['name']} {output.words(now['state'])}"
            ),
        )
    except KeyboardInterrupt:
        output.note(f"The job goes on without us. Stop it with: gatehouse runs stop {job['id']}")
        raise SystemExit(130) from None


def _end(job: jobs.Job, *, shows_log: bool) -> None:
    """Leave with the job's status; what a failed job said last is shown before, if wanted."""
    if shows_log and job["state"] in jobs.FINAL and job["state"] != "succeeded":
        for line in str(job.get("last_lines") or "").splitlines():
            output.note(f"  {line}")
    jobs.require_success(job)
    raise SystemExit(int(Exit.DONE))


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"{option} {text!r} is not of the form {form}.")
    return name, value
