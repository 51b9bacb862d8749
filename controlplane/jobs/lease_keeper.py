"""Keep a lease alive beside the work, and notice within a second when it is gone."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, connections

from controlplane.jobs import leases
from controlplane.jobs.models import Job

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


class LeaseKeeper:
    """While the block runs the lease is extended; ``is_lost`` turns true when it cannot be.

    Without the database it is kept only as long as the last extension is surely good: after
    that another worker may have the job, and this one must have stopped.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{job.pk}", daemon=True)

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    def require(self) -> None:
        """
        Raises:
            LeaseLost: the job is another's, or may be.
        """
        if self.is_lost:
            raise leases.LeaseLost(f"The job {self._job} is no longer held by this worker.")

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        # The claim gave the longer of the two; the shorter is surely good.
        good_until = time.monotonic() + min(
            settings.JOB_LEASE_SECONDS, settings.JOB_DISPATCH_SECONDS
        )
        extend_at = time.monotonic() + settings.JOB_HEARTBEAT_SECONDS
        try:
            while not self._done.wait(min(_LOOK_SECONDS, settings.JOB_HEARTBEAT_SECONDS)):
                asked_at = time.monotonic()
                try:
                    is_due = asked_at >= extend_at
                    is_held = (leases.heartbeat if is_due else leases.is_held)(self._job)
                except DatabaseError as problem:
                    logger.warning("lease_unsure job=%s error=%s", self._job.pk, problem)
                    connections.close_all()
                    if time.monotonic() >= good_until:
                        self._lost.set()
                        return
                    continue
                if not is_held:
                    self._lost.set()
                    return
                if is_due:
                    good_until = asked_at + settings.JOB_LEASE_SECONDS
                    extend_at = asked_at + settings.JOB_HEARTBEAT_SECONDS
        finally:
            connections.close_all()
