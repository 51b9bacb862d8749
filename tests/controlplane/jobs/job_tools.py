"""What tests of jobs share: submitting one, and real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.jobs import services, spec
from controlplane.jobs.models import Job

HERE = Path(__file__).parent
ROOM = HERE.parents[2]
# Seconds instead of minutes; the product's own limits otherwise.
FAST = {
    "GATEHOUSE_JOB_LEASE_SECONDS": "3",
    "GATEHOUSE_JOB_HEARTBEAT_SECONDS": "1",
    "GATEHOUSE_JOB_DISPATCH_SECONDS": "3",
    "GATEHOUSE_JOB_GRACE_SECONDS": "2",
    "GATEHOUSE_JOB_SLOTS": "1",
}


def submit(
    actor: Actor, workspace: Workspace, script: str, *, queue: str = "cpu", **extra: Any
) -> Job:
    """Queue a job that runs a shell script."""
    resources = extra.pop("resources", {})
    name = extra.pop("name", "a job")
    priority = extra.pop("priority", 0)
    environment = extra.pop("environment", {})
    parsed = spec.parse(
        {
            "command": ["/bin/sh", "-c", script],
            "resources": {"memory_mb": 512, "timeout_seconds": 60, **resources},
            "environment": environment,
            "extra": extra,
        }
    )
    return services.submit(
        actor=actor,
        workspace=workspace,
        kind="bare",
        queue=queue,
        spec=parsed,
        name=name,
        priority=priority,
    )


class WorkerProcess:
    """``celery worker`` as the Procfile starts it, with short limits."""

    def __init__(self, log: Path, name: str, *, queues: str = "evaluation", **env: str) -> None:
        self.log = log
        self.name = name
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", f"{__package__}.job_worker", "worker"),
                    *("--loglevel", "INFO", "--pool", "threads", "--concurrency", "2"),
                    *("--hostname", f"{name}@test", "-Q", queues),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                ],
                stdout=stream,
                stderr=stream,
                cwd=ROOM,
                env={**os.environ, **FAST, **env, "PYTHONPATH": str(ROOM)},
                start_new_session=True,
            )

    def wait_until_ready(self) -> WorkerProcess:
        until(lambda: " ready." in self.log.read_text(), what=self.log, seconds=40)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, *, seconds: float = 15) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def until(condition: Callable[[], object], *, seconds: float = 30, what: object = "It") -> None:
    """Wait for something to become true.

    Raises:
        AssertionError: it did not; a log that is given as ``what`` is shown.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            shown = what.read_text()[-4000:] if isinstance(what, Path) else f"{what} did not happen"
            raise AssertionError(shown)
        time.sleep(0.05)


def until_over(job: Job, *, seconds: float = 40, log: Path | None = None) -> Job:
    """Return the job in its final state."""

    def is_over() -> bool:
        job.refresh_from_db()
        return job.is_final

    until(is_over, seconds=seconds, what=log or f"The end of {job} (now {job.state})")
    return job


def log_of(job: Job, attempt: int | None = None) -> str:
    return services.read_log(job, attempt=attempt).content.decode()
