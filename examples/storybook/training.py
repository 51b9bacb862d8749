"""The data is registered and three versions are trained from it, as jobs on the queue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gatehouse_cli import jobs
from gatehouse_cli.commands import data
from gatehouse_cli.errors import Problem

from storybook.cast import Cast
from storybook.narrator import StoryError, wait_for
from storybook.scanners import Digit, read

DIGITS = Path(__file__).resolve().parents[1] / "digits"
MODEL = "digit-reader"
TRAINING_DATA, HOLDOUT = "digits-train", "digits-holdout"
# In the order in which the story needs them; each becomes one version.
KINDS = ("linear", "curves", "kernel")
_EXPERIMENT = "digits"
_SCORE = "cross_validated_accuracy"
# An empty package cache makes the first environment slow.
_TRAINING_SECONDS = 150


def register_data(cast: Cast, folder: Path) -> list[Digit]:
    """Register training data and holdout; return the digits that are kept for live requests."""
    sys.path.insert(0, str(DIGITS))
    import data as digits

    engineer = cast.engineer
    paths = digits.write(folder)
    pushed = [
        data.push_files(engineer.call, name, (paths[part],), note=note)
        for name, part, note in (
            (TRAINING_DATA, "train", "700 handwritten digits of the first scanner"),
            (HOLDOUT, "holdout", "450 others, with how much ink each has"),
        )
    ]
    for version in pushed:
        sealed = data.wait_until_sealed(engineer.call, version, timeout_seconds=30)
        if sealed["state"] != "sealed":
            raise StoryError(f"{sealed['reference']} is {sealed['state']}: {sealed['note']}")
        engineer.says(f"{sealed['reference']} is sealed: {sealed['rows']} rows")
    _make_model(cast)
    return read(paths["requests"])


def version_of(cast: Cast, kind: str) -> int | None:
    """Return the number of the sealed version that a run of this kind registered."""
    try:
        rows = list(cast.engineer.call.pages(f"models/{MODEL}/versions"))
    except Problem as problem:
        if problem.status == 404:
            return None
        raise
    for row in rows:
        if row["state"] == "sealed" and row["run_id"]:
            run = cast.engineer.call.get(f"runs/{row['run_id']}")
            if run["params"].get("model") == kind:
                return int(row["number"])
    return None


def train(cast: Cast, kind: str) -> int:
    """Return the version of this kind, trained now unless it is there."""
    present = version_of(cast, kind)
    return present if present else _finish(cast, kind, _start(cast, kind))


def train_side_by_side(cast: Cast, second: str, third: str) -> tuple[int, int]:
    """Return the versions of both kinds. The third starts when the second is well under way, so
    that the two are registered in this order."""
    numbers = version_of(cast, second), version_of(cast, third)
    if numbers[0] and numbers[1]:
        return numbers[0], numbers[1]
    if numbers[0]:
        return numbers[0], train(cast, third)
    started = _start(cast, second)
    wait_for(f"the first figures of {second}", lambda: _figures(cast, started), seconds=60)
    following = None if numbers[1] else _start(cast, third)
    number = _finish(cast, second, started)
    return number, numbers[1] or _finish(cast, third, following or started)


def _make_model(cast: Cast) -> None:
    try:
        cast.engineer.call.create(
            "models",
            {
                "name": MODEL,
                "description": "Reads handwritten digits of 8 × 8 pixels.",
                "risk_tier": "low",
            },
        )
    except Problem as problem:
        if problem.status != 409:  # it is there from an interrupted story
            raise


def _start(cast: Cast, kind: str) -> Any:
    """Return the training that was started now, or that an interrupted story left running."""
    name = f"{MODEL}-{kind}"
    for run in cast.engineer.call.pages("runs", limit=20):
        if run["name"] == name and run["status"] == "RUNNING":
            job = cast.engineer.call.get(f"runs/{run['run_id']}")["job"]
            if job and job["state"] not in jobs.FINAL:
                return {"run_id": run["run_id"], "job": job}
    started = jobs.train(
        cast.engineer.call,
        DIGITS,
        DIGITS / "requirements.lock",
        jobs.Training(
            name=name,
            experiment=_EXPERIMENT,
            command=["python", "train.py", "--data", "inputs/train/train.csv", "--model", kind],
            inputs=[("train", f"{TRAINING_DATA}@1")],
        ),
    )
    cast.engineer.says(f"training “{kind}” waits on queue cpu")
    return started


def _finish(cast: Cast, kind: str, started: Any) -> int:
    call = cast.engineer.call
    job = jobs.wait(call, started["job"], timeout_seconds=_TRAINING_SECONDS, poll_seconds=0.4)
    if job["state"] != "succeeded":
        said = str(job.get("last_lines") or "").splitlines()[-1:]
        raise StoryError(
            f"Training {kind} ended as {job['state']}: {job['error']} {' '.join(said)}"
        )
    number = wait_for(
        f"the version that {kind} registered", lambda: version_of(cast, kind), seconds=15
    )
    run = call.get(f"runs/{started['run_id']}")
    accuracy = {metric["key"]: metric["value"] for metric in run["metrics"]}[_SCORE]
    cast.engineer.says(f"{MODEL}@{number} is “{kind}”: {accuracy:.3f} in cross-validation")
    return number


def _figures(cast: Cast, started: Any) -> bool | None:
    """Return True once the run has logged a metric, or its job has ended."""
    run = cast.engineer.call.get(f"runs/{started['run_id']}")
    job = run.get("job") or {}
    return bool(run["metrics"]) or job.get("state") in jobs.FINAL or None
