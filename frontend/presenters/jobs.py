"""Jobs as the queue's board shows them: what runs, what waits and why, what ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.jobs import queries, states
from controlplane.jobs.models import Job, Worker
from frontend import words

SHOWN = 50
ENDED_SHOWN = 8


@dataclass(frozen=True)
class JobRow:
    id: UUID
    name: str
    url: str
    kind: str
    queue: str
    state: str
    priority: int
    who: str
    worker: str
    attempt: int
    max_attempts: int
    waited: timedelta
    since_words: str
    why: str
    words: str
    at: datetime


@dataclass(frozen=True)
class QueueRow:
    name: str
    words: str


@dataclass(frozen=True)
class Board:
    summary: str
    running: list[JobRow]
    waiting: list[JobRow]
    finished: list[JobRow]
    queues: list[QueueRow]
    idle_words: str


def board(actor: Actor, *, workspace_key: str) -> Board:
    """Return the board of the jobs that the reader may see; five queries."""
    jobs = queries.visible_to(actor)
    running = list(jobs.filter(state__in=states.HELD).order_by("started_at", "id")[:SHOWN])
    waiting = list(
        jobs.filter(state__in=[states.QUEUED, states.LOST]).order_by("-priority", "id")[:SHOWN]
    )
    finished = list(jobs.filter(state__in=states.FINAL).order_by("-finished_at")[:ENDED_SHOWN])
    standings = queries.standing(actor)
    workers = list({worker.name: worker for each in standings for worker in each.workers}.values())
    return Board(
        summary=f"{words.plural(len(running), 'job')} running, {len(waiting)} waiting",
        running=[row(job, workspace_key) for job in running],
        waiting=[row(job, workspace_key, why=_why(job, workers, running)) for job in waiting],
        finished=[row(job, workspace_key) for job in finished],
        queues=[_queue(each) for each in standings],
        idle_words=f"{words.plural(len(workers), 'worker')} listening."
        if workers
        else "No worker has reported within the last half minute. Jobs wait until one does.",
    )


def row(job: Job, workspace_key: str, *, why: str = "") -> JobRow:
    """Return a job as lists show it."""
    now = clock.now()
    began = job.started_at
    ended = job.finished_at
    took = words.duration(ended - began) if ended and began else ""
    if job.state == states.SUCCEEDED:
        said = f"took {took}"
    elif job.error:
        said = job.error.splitlines()[0][:140]
    else:
        said = words.look_of(job.state, "job").text
    return JobRow(
        id=job.pk,
        name=job.name,
        url=reverse("pages:job", args=[workspace_key, job.pk]),
        kind=job.kind,
        queue=job.queue,
        state=job.state,
        priority=job.priority,
        who=str(job.owner),
        worker=job.worker,
        attempt=max(1, job.attempt),
        max_attempts=job.max_attempts,
        waited=timedelta(seconds=round((now - job.created_at).total_seconds())),
        since_words=f"for {words.duration(now - began)}" if began else "starting",
        why=why,
        words=said,
        at=ended or began or job.created_at,
    )


def _why(job: Job, workers: list[Worker], running: list[Job]) -> str:
    """Say what a waiting job waits for."""
    if job.state == states.LOST:
        return "its worker was lost; it is queued again"
    mine = [worker for worker in workers if job.queue in worker.queues]
    if not mine:
        return f"no worker takes the queue {job.queue} now"
    if job.memory_mb > max(worker.memory_mb for worker in mine):
        return f"needs {job.memory_mb:,} MB, more than any worker has"
    if job.gpus > max(worker.gpus for worker in mine):
        return f"needs {job.gpus} GPUs, more than any worker has"
    slots = sum(worker.slots for worker in mine)
    busy = sum(1 for other in running if other.worker in {worker.name for worker in mine})
    if busy >= slots:
        return "the only place is taken" if slots == 1 else f"all {slots} places are taken"
    return f"attempt {job.attempt + 1} is about to start" if job.attempt else "about to start"


def _queue(found: queries.QueueStanding) -> QueueRow:
    who = words.plural(len(found.workers), "worker") if found.workers else "no worker listens"
    return QueueRow(found.name, f"{who}, {found.running} running, {found.waiting} waiting")


def local_day(moment: datetime) -> str:
    return words.moment(timezone.localtime(moment))
