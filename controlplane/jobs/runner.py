"""Stay with one claimed job until it has ended: prepare, launch, watch, record.

The program's exit code is on disk before anybody records it. Who claims a job that was lost in
between finds it there and records it, and the program does not run twice.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import IO

from django.conf import settings
from django.db import DatabaseError, connection

from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError
from controlplane.jobs import (
    archives,
    environments,
    folders,
    gpus,
    kinds,
    leases,
    preparation,
    sandbox,
)
from controlplane.jobs import spec as specs
from controlplane.jobs.folders import AttemptFolder
from controlplane.jobs.lease_keeper import LeaseKeeper
from controlplane.jobs.leases import Ending, LeaseLost
from controlplane.jobs.models import Job

logger = logging.getLogger(__name__)
# Waits for ever at a named point (claimed, running, finished): tests kill the worker there.
PAUSE_VARIABLE = "GATEHOUSE_TEST_PAUSE_AT"
_LOOK_MILLISECONDS = 500
_RETRY_SECONDS = 1.0


class _Stopped(Exception):
    """The worker is asked to leave; the job goes on elsewhere."""


def run(job: Job, *, leaving: threading.Event, actor: Actor) -> None:
    """Carry a claimed job to its end, or let go of it when it is another's."""
    folder = folders.of(job.pk, job.attempt)
    try:
        with LeaseKeeper(job) as keeper:
            _pause_at("claimed")
            _run(job, folder, keeper, leaving, actor)
    except LeaseLost:
        logger.info("job_let_go job=%s attempt=%s", job.pk, job.attempt)
    except (_Stopped, gpus.NoneFree):
        _give_back(job, actor)
    else:
        folders.clean(job.pk)
        return
    if folder.exit_code() is None:
        # Else somebody records this attempt's result later, and needs what lies there.
        folder.clean()


def _run(
    job: Job, folder: AttemptFolder, keeper: LeaseKeeper, leaving: threading.Event, actor: Actor
) -> None:
    folder.make()
    with folder.log.open("ab", buffering=0) as log, gpus.lend(job.gpus) as lent:
        earlier = folders.unrecorded(job.pk, before=job.attempt)
        if earlier is not None:
            _note(log, "An earlier attempt has ended already; its result is recorded now.")
            leases.start(job, actor=actor)
            code = earlier.exit_code()
            _record(job, earlier, _ending(0 if code is None else code, earlier), keeper, actor)
            return
        try:
            ready = preparation.prepare(
                job,
                specs.parse(job.spec),
                folder,
                lent_gpus=lent,
                note=lambda line: _note(log, line),
                actor=actor,
            )
            keeper.require()
            leases.start(job, actor=actor)
            process = sandbox.launch(ready, stdout=log, stderr=subprocess.STDOUT)
        except LeaseLost:
            raise
        except (
            *(DomainError, archives.ArchiveRefused, sandbox.SandboxError),
            environments.EnvironmentUnbuildable,
        ) as error:
            _note(log, str(error))
            _record(job, folder, Ending("fail", error=str(error)), keeper, actor)
            return
        _pause_at("running")
        ending = _watch(job, process, folder, keeper, leaving, log)
        _pause_at("finished")
        _record(job, folder, ending, keeper, actor)


def _watch(
    job: Job,
    process: sandbox.SandboxedProcess,
    folder: AttemptFolder,
    keeper: LeaseKeeper,
    leaving: threading.Event,
    log: IO[bytes],
) -> Ending:
    """Return how the program ended, by itself or by us.

    Raises:
        LeaseLost, _Stopped: it was ended because it is not, or not to stay, with this worker.
    """
    deadline = time.monotonic() + job.timeout_seconds
    ended = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    try:
        while not poll.poll(_LOOK_MILLISECONDS):
            if keeper.is_lost:
                _stop(process, folder, poll)
                raise LeaseLost(f"The job {job} is no longer held by attempt {job.attempt}.")
            if leaving.is_set():
                _stop(process, folder, poll)
                raise _Stopped
            if time.monotonic() > deadline:
                _stop(process, folder, poll)
                limit = timedelta(seconds=job.timeout_seconds)
                error = f"It was stopped because it ran longer than {limit} (h:mm:ss)."
                _note(log, error)
                return Ending("time_out", error=error, last_lines=folder.last_lines())
            if folder.log.stat().st_size > settings.JOB_LOG_BYTES:
                _stop(process, folder, poll)
                limit_bytes = f"{settings.JOB_LOG_BYTES:,} bytes"
                error = f"It was stopped because its log is larger than {limit_bytes}."
                return Ending("fail", error=error, last_lines=folder.last_lines())
    finally:
        os.close(ended)
        if sys.exc_info()[0] is not None:
            process.kill()
            process.wait()
    return _ending(process.wait(), folder)


def _stop(process: sandbox.SandboxedProcess, folder: AttemptFolder, poll: select.poll) -> None:
    """Ask the program to stop, and end it when it has had its time."""
    folder.stopped_marker.touch()
    process.terminate()
    if not poll.poll(settings.JOB_GRACE_SECONDS * 1000):
        process.kill()
    process.wait()


def _ending(code: int, folder: AttemptFolder) -> Ending:
    if code == 0:
        return Ending("succeed", exit_code=0)
    if code > 128 and code - 128 in {item.value for item in signal.Signals}:
        name = signal.Signals(code - 128).name
        error = f"The command was ended by the signal {name}."
    elif code < 0:
        error = "The sandbox was ended from outside, perhaps because memory ran out."
        code = 128 - code
    else:
        error = f"The command ended with exit code {code}."
    return Ending("fail", exit_code=code, error=error, last_lines=folder.last_lines())


def _record(
    job: Job, folder: AttemptFolder, ending: Ending, keeper: LeaseKeeper, actor: Actor
) -> None:
    """Record the end, and what the job's kind makes of it, for as long as the lease holds.

    Raises:
        LeaseLost: somebody else has the job; the exit code stays on disk for them.
    """
    while True:
        try:
            write = None
            finish = kinds.named(job.kind).finish
            if ending.step == "succeed" and finish is not None:
                write = finish(job, kinds.Result(folder.work))
            leases.end(job, ending, actor=actor, write=write)
            return
        except LeaseLost:
            raise
        except DomainError as error:
            if ending.step != "succeed":
                raise
            ending = Ending(
                "fail",
                exit_code=ending.exit_code,
                error=error.message,
                last_lines=folder.last_lines(),
            )
        except DatabaseError:
            logger.exception("job_not_recorded job=%s", job.pk)
            connection.close()
            keeper.require()
            time.sleep(_RETRY_SECONDS)


def _give_back(job: Job, actor: Actor) -> None:
    try:
        leases.give_back(job, actor=actor, reason="The worker that ran it was stopped.")
    except LeaseLost:
        return


def _note(log: IO[bytes], line: str) -> None:
    log.write(f"[gatehouse] {line}\n".encode())


def _pause_at(point: str) -> None:
    if os.environ.get(PAUSE_VARIABLE) == point:
        logger.warning("job_paused_for_test point=%s", point)
        threading.Event().wait()
