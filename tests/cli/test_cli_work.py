"""`data`, `train`, `evaluate` and `runs`: what is sent, what is shown, how it ends."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.portal import Asked, Portal, page, refusal

Run = Callable[..., Result]
JOB = "0198c3f2-5f0a-7d3e-9b5c-4a6d2f1e8c77"


def parts(asked: Asked) -> dict[str, Message]:
    """Return the parts of a multipart body by the name of their field."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    whole = BytesParser().parsebytes(head + asked.body)
    found = {}
    for part in whole.get_payload():
        assert isinstance(part, Message)
        found[str(part.get_param("name", header="content-disposition"))] = part
    return found


def content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def job(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": JOB,
        "name": "digits",
        "state": state,
        "queue": "cpu",
        "exit_code": None,
        "error": "",
        "last_lines": "",
        **more,
    }


def dataset(state: str, **more: Any) -> dict[str, Any]:
    return {
        "reference": "digits@1",
        "number": 1,
        "state": state,
        "note": "",
        "rows": None,
        "size_bytes": 12,
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    root.mkdir()
    (root / "train.py").write_text("print(1)\n")
    (root / "requirements.lock").write_text("numpy==2 --hash=sha256:00\n")
    return root


def train(folder: Path, *options: str) -> list[str]:
    lock = str(folder / "requirements.lock")
    return ["train", str(folder), "--lock", lock, *options, "--", "python", "train.py", "--deep"]


def starts(portal: Portal, *states: dict[str, Any]) -> None:
    """The training is accepted, and its job is then found in each of these states."""
    answer = {"run_id": "abc", "job": job("queued"), "url": "http://portal/w/main/runs/abc/"}
    portal.says("POST", "training", (202, answer))
    portal.says("GET", f"jobs/{JOB}", *[(200, state) for state in states])


def test_pushed_files_arrive_with_their_names_and_the_note(
    portal: Portal, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    portal.says("POST", "datasets/digits/versions", (201, dataset("registering")))
    result = run("data", "push", "digits", str(tmp_path / "train.csv"), "--note", "first")
    assert result.stdout == "digits@1 is registering: 12 B.\n"
    [asked] = portal.requests("POST", "datasets/digits/versions")
    sent = parts(asked)
    assert sent["file"].get_filename() == "train.csv"
    assert content(sent["file"]) == b"a,b\n1,2\n"
    assert content(sent["note"]) == b"first"
    assert asked.headers["Idempotency-Key"]


def test_push_waits_for_the_seal(portal: Portal, run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a\n1\n")
    portal.says("POST", "datasets/digits/versions", (201, dataset("registering")))
    portal.says(
        "GET",
        "datasets/digits/versions/1",
        (200, dataset("registering")),
        (200, dataset("sealed", rows=1797)),
    )
    result = run("data", "push", "digits", str(tmp_path / "train.csv"), "--wait")
    assert result.stdout == "digits@1 is sealed: 12 B, 1,797 rows.\n"


def test_a_rejected_version_is_an_error_with_the_reason(
    portal: Portal, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("a\n")
    portal.says("POST", "datasets/digits/versions", (201, dataset("registering")))
    portal.says(
        "GET", "datasets/digits/versions/1", (200, dataset("rejected", note="Line 3 is cut off."))
    )
    result = run("data", "push", "digits", str(tmp_path / "train.csv"), "--wait")
    assert result.exit_code == 1
    assert result.stderr == "digits@1 was rejected: Line 3 is cut off.\n"


def test_training_sends_source_lock_and_specification(
    portal: Portal, run: Run, folder: Path
) -> None:
    starts(portal)
    result = run(
        *train(folder, "--input", "train=digits-train@1", "--env", "DEPTH=3", "--queue", "gpu")
    )
    assert result.exit_code == 0
    [asked] = portal.requests("POST", "training")
    sent = parts(asked)
    assert content(sent["lock"]) == (folder / "requirements.lock").read_bytes()
    assert json.loads(content(sent["spec"])) == {
        "name": "digits",
        "experiment": "digits",
        "command": ["python", "train.py", "--deep"],
        "inputs": [{"name": "train", "dataset": "digits-train@1"}],
        "queue": "gpu",
        "environment": {"DEPTH": "3"},
        "timeout_seconds": 3600,
    }
    with tarfile.open(fileobj=BytesIO(content(sent["source"]))) as tar:
        assert sorted(tar.getnames()) == ["requirements.lock", "train.py"]


def test_the_exit_status_is_the_jobs(portal: Portal, run: Run, folder: Path) -> None:
    failed = job(
        "failed", exit_code=3, error="The program ended with exit code 3.", last_lines="No pixels."
    )
    starts(portal, job("running"), failed)
    result = run(*train(folder, "--wait"))
    assert result.exit_code == 3
    assert result.stderr.endswith("  No pixels.\nThe program ended with exit code 3.\n")


def test_a_job_that_succeeds_ends_with_0(portal: Portal, run: Run, folder: Path) -> None:
    starts(portal, job("succeeded", exit_code=0))
    assert run(*train(folder, "--wait")).exit_code == 0


def test_a_followed_log_is_shown_once_as_it_grows(portal: Portal, run: Run, folder: Path) -> None:
    failed = job("failed", exit_code=2, error="It ended with exit code 2.", last_lines="fold 2")
    starts(portal, failed)

    def part(content: str, place: int, *, ends: bool) -> tuple[int, dict[str, Any]]:
        return 200, {"content": content, "next": place, "is_complete": ends, "attempt": 1}

    portal.says(
        "GET",
        f"jobs/{JOB}/log",
        part("fold 1\n", 7, ends=False),
        part("fold 2\n", 14, ends=True),
    )
    result = run(*train(folder, "--follow"))
    assert result.exit_code == 2
    assert result.stdout == "fold 1\nfold 2\n"
    assert "fold" not in result.stderr
    first, second = portal.requests("GET", f"jobs/{JOB}/log")
    assert (first.path[-7:], second.path[-7:]) == ("?from=0", "?from=7")
    assert first.headers["Prefer"] == "wait=25"


def test_a_second_attempt_begins_a_new_log(portal: Portal, run: Run, folder: Path) -> None:
    starts(portal, job("succeeded", exit_code=0))

    def part(content: str, attempt: int, *, ends: bool) -> tuple[int, dict[str, Any]]:
        size = len(content)
        return 200, {"content": content, "next": size, "is_complete": ends, "attempt": attempt}

    portal.says(
        "GET",
        f"jobs/{JOB}/log",
        part("lost\n", 1, ends=False),
        part("", 2, ends=False),
        part("again\n", 2, ends=True),
    )
    result = run(*train(folder, "--follow"))
    assert result.stdout == "lost\n--- attempt 2 ---\nagain\n"
    assert portal.requests("GET", f"jobs/{JOB}/log")[2].path.endswith("?from=0")


@pytest.mark.parametrize("state", ["cancelled", "timed_out", "rejected"])
def test_a_job_without_an_exit_code_ends_with_1(
    portal: Portal, run: Run, folder: Path, state: str
) -> None:
    starts(portal, job(state))
    result = run(*train(folder, "--wait"))
    assert result.exit_code == 1
    assert f"digits ended as {state.replace('_', ' ')}." in result.stderr


def test_a_job_that_outlasts_the_time_out_ends_with_15(
    portal: Portal, run: Run, folder: Path
) -> None:
    starts(portal, job("running"))
    result = run(*train(folder, "--wait", "--timeout", "0.2"))
    assert result.exit_code == 15
    assert "it goes on without us" in result.stderr


@pytest.mark.parametrize("option", [("--input", "digits@1"), ("--env", "DEPTH"), ("--deep",)])
def test_a_wrong_option_is_wrong_usage_and_uploads_nothing(
    portal: Portal, run: Run, folder: Path, option: tuple[str, ...]
) -> None:
    assert run(*train(folder, *option)).exit_code == 2
    assert portal.asked == []


def test_a_refused_specification_is_told_in_the_servers_words(
    portal: Portal, run: Run, folder: Path
) -> None:
    portal.says("POST", "training", refusal(400, "The lock has a line without a hash: numpy==2."))
    result = run(*train(folder))
    assert result.exit_code == 1
    assert "a line without a hash" in result.stderr


def test_an_evaluation_shows_its_figures_with_intervals(portal: Portal, run: Run) -> None:
    estimate = {"value": "0.9511", "low": "0.9311", "high": "0.9689", "n": 450}
    difference = {"value": "-0.0040", "low": "-0.0200", "high": "0.0100", "n": 450}
    evidence = {
        "job_id": JOB,
        "dataset": "digits-holdout@1",
        "baseline": 1,
        "body": {
            "rows": 450,
            "confidence": "0.95",
            "metrics": [
                {
                    "title": "Accuracy",
                    "candidate": estimate,
                    "live": estimate,
                    "difference": difference,
                }
            ],
            "slices": [],
        },
    }
    portal.says("POST", "models/reader/versions/2/evaluations", (202, job("queued")))
    portal.says("GET", f"jobs/{JOB}", (200, job("succeeded", exit_code=0)))
    portal.says("GET", "models/reader/versions/2/evidence", page(evidence))
    result = run(
        "evaluate",
        "reader@2",
        "--on",
        "digits-holdout@1",
        "--label",
        "label",
        "--slice",
        "ink",
        "--wait",
    )
    assert result.exit_code == 0
    [asked] = portal.requests("POST", "models/reader/versions/2/evaluations")
    assert asked.json == {
        "dataset": "digits-holdout@1",
        "label": "label",
        "slice": "ink",
        "environment": "production",
    }
    assert "on digits-holdout@1, 450 rows, against version 1, 95 % intervals" in result.stdout
    assert "0.9511     0.9311 to 0.9689" in result.stdout
    assert "−0.0040 (−0.0200 to 0.0100)" in result.stdout


def test_a_run_is_stopped_through_its_job(portal: Portal, run: Run) -> None:
    portal.says("GET", "runs/abc", (200, {"run_id": "abc", "job": job("running")}))
    portal.says("POST", f"jobs/{JOB}/cancel", (200, job("cancelled")))
    result = run("runs", "stop", "abc", "--reason", "Wrong data")
    assert result.stdout == "digits is cancelled.\n"
    assert portal.requests("POST", f"jobs/{JOB}/cancel")[0].json == {"reason": "Wrong data"}


def test_a_run_from_elsewhere_has_no_log_here(portal: Portal, run: Run) -> None:
    portal.says("GET", "runs/abc", (200, {"run_id": "abc", "job": None}))
    result = run("runs", "log", "abc")
    assert result.exit_code == 1
    assert "was not started by a job of Gatehouse" in result.stderr
