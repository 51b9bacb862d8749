"""The part of a Celery worker that runs jobs: a few slots, each a thread that stays with a job.

Celery's own threads only pass the hint on, so that long jobs never hold up short tasks.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from functools import lru_cache

from django.conf import settings
from django.db import DatabaseError, connections

from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.jobs import gpus, leases, queues, recovery, runner, sandbox
from controlplane.jobs.models import Worker

logger = logging.getLogger(__name__)


class JobWorker:
    """Runs jobs of the queues that this process serves, ``slots`` at a time."""

    def __init__(self, name: str, *, slots: int) -> None:
        self.name = name
        self.slots = slots
        self.actor = Actor.system("worker")
        self.leaving = threading.Event()
        self.listens_to: set[str] = set()
        self.queues: set[str] = set()
        self._free = threading.Semaphore(slots)
        self._called = threading.Event()
        self._started_at = now()

    def serve(self, names: set[str]) -> None:
        """Say which queues this process listens to. Jobs for graphics processors run only where
        there are some."""
        self.listens_to = {name for name in names if name in queues.OF_JOBS}
        self.queues = self.listens_to - (set() if gpus.identifiers() else {queues.GPU})
        threading.Thread(target=self._beat, name="worker-beat", daemon=True).start()

    def take(self) -> bool:
        """Start on the best waiting job if a slot is free; return at once."""
        if self.leaving.is_set() or not self.queues:
            return False
        if not self._free.acquire(blocking=False):
            # Whoever frees a slot looks again.
            self._called.set()
            return False
        # Not a daemon: the process waits for it, so that a job is given back in good order.
        threading.Thread(target=self._work, name="job-slot").start()
        return True

    def leave(self) -> None:
        """Take no more jobs, and give back those that run."""
        self.leaving.set()

    def _work(self) -> None:
        try:
            while not self.leaving.is_set() and self._run_one():
                pass
        finally:
            connections.close_all()
            self._free.release()
        if self._called.is_set():
            self._called.clear()
            self.take()

    def _run_one(self) -> bool:
        """Run one job to its end; False if none waits."""
        job = None
        try:
            job = leases.claim(
                self.queues,
                worker=self.name,
                free_gpus=gpus.count_free(),
                memory_mb=recovery.memory_of_machine_mb(),
                actor=self.actor,
            )
            if job is None:
                return False
            runner.run(job, leaving=self.leaving, actor=self.actor)
        except DatabaseError:
            logger.exception("job_slot_without_database job=%s", job and job.pk)
            return False
        except Exception:
            # A fault of ours: its lease ends and another attempt is made, a counted number of
            # times. This slot must live on.
            logger.exception("job_slot_failed job=%s", job and job.pk)
            return job is not None
        return True

    def _beat(self) -> None:
        while True:
            try:
                self._say_alive()
            except DatabaseError as problem:
                logger.warning("worker_beat_failed error=%s", problem)
                connections.close_all()
            if self.leaving.wait(recovery.WORKER_BEAT.total_seconds()):
                break
        Worker.objects.filter(pk=self.name).delete()
        connections.close_all()

    def _say_alive(self) -> None:
        level = sandbox.probe()
        is_allowed = level.is_sandboxed or settings.ALLOW_UNSANDBOXED_JOBS
        Worker.objects.update_or_create(
            name=self.name,
            defaults={
                "queues": sorted(self.listens_to),
                "slots": self.slots,
                "gpus": len(gpus.identifiers()),
                "memory_mb": recovery.memory_of_machine_mb(),
                "sandbox": level.level
                if level.is_sandboxed
                else ("open" if is_allowed else "none"),
                "started_at": self._started_at,
                "seen_at": now(),
            },
        )


@lru_cache(maxsize=1)
def this_process() -> JobWorker:
    """Return the one job worker of this process."""
    return JobWorker(f"{socket.gethostname()}:{os.getpid()}", slots=settings.JOB_SLOTS)
