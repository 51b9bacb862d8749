"""Send work to the queue, read its log while it is written, and wait for its end."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatehouse_cli import archive
from gatehouse_cli.client import LONGEST_WAIT_SECONDS, Client, part
from gatehouse_cli.errors import Exit, GatehouseError

Job = Mapping[str, Any]
FINAL = frozenset({"succeeded", "failed", "timed_out", "cancelled", "rejected"})
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Training:
    """What a training job is asked to do. ``inputs`` are pairs of name and dataset version."""

    name: str
    experiment: str
    command: Sequence[str]
    inputs: Sequence[tuple[str, str]] = ()
    queue: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 3600


def train(client: Client, folder: Path, lock: Path, training: Training) -> Mapping[str, Any]:
    """Upload the folder and return the answer: ``run_id``, ``job`` and the run's ``url``.

    Raises:
        GatehouseError: the folder cannot be packed, or the lock cannot be read.
    """
    spec = {
        "name": training.name,
        "experiment": training.experiment,
        "command": list(training.command),
        "inputs": [{"name": name, "dataset": dataset} for name, dataset in training.inputs],
        "queue": training.queue,
        "environment": dict(training.environment),
        "timeout_seconds": training.timeout_seconds,
    }
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as place:
        source = Path(place) / "source.tar.gz"
        archive.pack(folder, source)
        answer: Mapping[str, Any] = client.upload(
            "training",
            files=[("source", source), ("lock", lock)],
            fields={"spec": json.dumps(spec)},
        )
        return answer


def evaluate(
    client: Client,
    model: str,
    version: int,
    *,
    dataset: str,
    label: str,
    slice_column: str = "",
    environment: str = "production",
) -> Job:
    """Return the job that scores the version, and the live one beside it, on the dataset."""
    job: Job = client.create(
        f"models/{part(model)}/versions/{version}/evaluations",
        {"dataset": dataset, "label": label, "slice": slice_column, "environment": environment},
    )
    return job


def evidence_of(client: Client, model: str, version: int, job: Job) -> Mapping[str, Any] | None:
    """Return the evidence that the job attached to the version, if it did."""
    address = f"models/{part(model)}/versions/{version}/evidence"
    return next(
        (row for row in client.pages(address, limit=20) if row["job_id"] == job["id"]), None
    )


def wait(
    client: Client,
    job: Job,
    *,
    timeout_seconds: float,
    poll_seconds: float = _POLL_SECONDS,
    changed: Callable[[Job], None] = lambda job: None,
) -> Job:
    """Return the job once it has ended, or as it is when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    changed(job)
    while job["state"] not in FINAL and time.monotonic() < deadline:
        time.sleep(poll_seconds)
        seen = job["state"]
        job = client.get(f"jobs/{part(job['id'])}")
        if job["state"] != seen:
            changed(job)
    return job


def log(client: Client, job: Job, *, follow: bool, deadline: float | None = None) -> Iterator[str]:
    """Yield the log in pieces, from its beginning; with ``follow`` until the job has ended.

    A new attempt begins a new log. ``deadline`` is a moment of the monotonic clock.
    """
    attempt, place = 0, 0
    address = f"jobs/{part(job['id'])}/log"
    while True:
        wait_seconds = LONGEST_WAIT_SECONDS if follow else 0
        if deadline is not None:
            wait_seconds = int(min(wait_seconds, max(0, deadline - time.monotonic())))
        piece = client.get(address, params={"from": place}, wait_seconds=wait_seconds)
        if piece["attempt"] != attempt:
            if attempt:
                yield f"--- attempt {piece['attempt']} ---\n"
                place = 0
                attempt = piece["attempt"]
                continue
            attempt = piece["attempt"]
        if piece["content"]:
            yield piece["content"]
        has_moved = piece["next"] > place
        place = piece["next"]
        if piece["is_complete"] or (not follow and not has_moved):
            return
        if deadline is not None and time.monotonic() >= deadline:
            return
        if not has_moved:
            time.sleep(_POLL_SECONDS)


def exit_status(job: Job) -> int:
    """Return the status with which a program that waited for the job should end.

    That is the job's own where it has one; 1 where it was stopped, refused, lost or took too long;
    15 where it has not ended.
    """
    if job["state"] == "succeeded":
        return int(Exit.DONE)
    if job["state"] not in FINAL:
        return int(Exit.STILL_WAITING)
    code = job.get("exit_code")
    return min(int(code), 255) if code and int(code) > 0 else int(Exit.ERROR)


def require_success(job: Job) -> None:
    """Raise ``GatehouseError`` with the job's own sentence and status unless it succeeded."""
    status = exit_status(job)
    if status == Exit.DONE:
        return
    if status == Exit.STILL_WAITING and job["state"] not in FINAL:
        raise GatehouseError(
            f"{job['name']} is still {job['state']} at the time-out; it goes on without us.",
            exit_code=status,
        )
    why = job.get("error") or f"{job['name']} ended as {job['state'].replace('_', ' ')}."
    raise GatehouseError(why, exit_code=status)
