"""``gatehouse runs``: training runs and the jobs that carry them."""

from __future__ import annotations

from typing import Any

import click

from gatehouse_cli import jobs, output
from gatehouse_cli.client import Client, part
from gatehouse_cli.errors import GatehouseError
from gatehouse_cli.session import Session, with_session


@click.group()
def runs() -> None:
    """Look at runs, read their logs, stop them."""


@runs.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@with_session
def list_runs(session: Session, limit: int) -> None:
    """List runs, newest first."""
    rows = list(session.client.pages("runs", limit=limit))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["run", "name", "experiment", "status", "started", "by"],
        [
            [
                row["run_id"],
                row["name"],
                row["experiment"],
                row["status"].lower(),
                output.moment(row["started_at"]),
                row["user"],
            ]
            for row in rows
        ],
        empty="No runs. Start one with: gatehouse train FOLDER … -- COMMAND",
    )


@runs.command("show")
@click.argument("run_id", metavar="RUN")
@with_session
def show(session: Session, run_id: str) -> None:
    """Show one run with its parameters and newest metrics."""
    run = session.client.get(f"runs/{part(run_id)}")
    if session.as_json:
        output.show_json(run)
        return
    job = run.get("job") or {}
    output.show_record(
        {
            "run": run["run_id"],
            "name": run["name"],
            "experiment": run["experiment"],
            "status": run["status"].lower(),
            "job": job.get("id"),
            "queue": job.get("queue"),
            "job state": output.words(job.get("state", "")),
            "exit code": job.get("exit_code"),
            "error": job.get("error"),
        }
    )
    metrics = {metric["key"]: metric["value"] for metric in run["metrics"]}
    for title, values in (("Parameters", run["params"]), ("Metrics", metrics)):
        if values:
            click.echo(f"\n{title}")
            output.show_record(values)


@runs.command("log")
@click.argument("run_or_job", metavar="RUN|JOB")
@click.option("--follow", is_flag=True, help="Stay until the job has ended.")
@with_session
def log(session: Session, run_or_job: str, follow: bool) -> None:
    """Write a job's log to standard output."""
    job = _job_of(session.client, run_or_job)
    pieces = jobs.log(session.client, job, follow=follow)
    if session.as_json:
        output.show_json({"job": job["id"], "log": "".join(pieces)})
        return
    for piece in pieces:
        click.echo(piece, nl=False)


@runs.command("stop")
@click.argument("run_or_job", metavar="RUN|JOB")
@click.option("--reason", default="", help="Why; it stands in the audit log.")
@with_session
def stop(session: Session, run_or_job: str, reason: str) -> None:
    """Stop a job that waits or runs."""
    job = _job_of(session.client, run_or_job)
    stopped = session.client.post(f"jobs/{part(job['id'])}/cancel", {"reason": reason})
    if session.as_json:
        output.show_json(stopped)
    else:
        click.echo(f"{stopped['name']} is {output.words(stopped['state'])}.")


def _job_of(client: Client, run_or_job: str) -> Any:
    """Return the job of that id, or the job that carries the run of that id."""
    # A job's id is written with hyphens, a run's without.
    if "-" in run_or_job:
        return client.get(f"jobs/{part(run_or_job)}")
    job = client.get(f"runs/{part(run_or_job)}").get("job")
    if not job:
        raise GatehouseError(
            f"Run {run_or_job} was not started by a job of Gatehouse; there is no log of it here."
        )
    return job
